import { runStoreWorker } from './store-worker.ts'

runStoreWorker(() => {
  throw new TypeError('no such luck')
})
