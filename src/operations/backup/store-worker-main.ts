// The program of the threads that store an application's files: functions cannot be handed to threads.

import { runStoreWorker } from '../../engine/archiver/pool/store-worker.ts'
import { vetoOf } from './admission.ts'

runStoreWorker(vetoOf)
