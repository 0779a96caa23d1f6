import { threadId } from 'node:worker_threads'
import { runStoreWorker } from './store-worker.ts'

const never = new Int32Array(new SharedArrayBuffer(4))

runStoreWorker(() => {
  Atomics.wait(never, 0, 0, 30)
  return `by thread ${threadId}`
})
