import { runStoreWorker } from './store-worker.ts'

runStoreWorker((_path, first) => (first.toString('latin1', 0, 6) === 'secret' ? 'it begins with secret' : undefined))
