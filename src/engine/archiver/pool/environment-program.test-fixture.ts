import { runStoreWorker } from './store-worker.ts'

runStoreWorker(() => `the environment holds ${Object.keys(process.env).length}`)
