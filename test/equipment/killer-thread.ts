/** The thread that ends the process some time after a call, where the call itself is not the moment. */
import { workerData } from 'node:worker_threads'
import { killLater } from './kill-hook.ts'

const { due, milliseconds } = workerData as { readonly due: number; readonly milliseconds: number }
killLater(due, milliseconds)
