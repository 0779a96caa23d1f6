import { runRestoreWorker } from './restore-worker.ts'

runRestoreWorker()
