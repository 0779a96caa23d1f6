import { parentPort, workerData } from 'node:worker_threads'
import { CodedError } from '../../error.ts'
import { selfTest } from '../../kernels/self-test.ts'
import type { Veto } from '../file-store.ts'
import { FileStorer } from './file-storer.ts'
import type { FromWorker, ToWorker, WorkerSetUp } from './protocol.ts'

/**
 * What the program of a thread of `StorePool` calls. Functions cannot be handed to a thread: who needs a veto has a
 * program of its own, which imports it. Jobs are done in the order in which they come.
 */
export function runStoreWorker(veto?: Veto): void {
  const port = parentPort!
  const send = (message: FromWorker, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer)
  const fail = (error: unknown) => {
    const coded = error instanceof CodedError ? error : undefined
    send({ kind: 'failed', error: { code: coded?.code, message: (error as Error).message, hint: coded?.hint } })
  }
  let job = -1
  let file = -1
  let storer: FileStorer
  const handle = async (message: ToWorker): Promise<void> => {
    if (message.kind === 'finish') {
      storer.finish()
      send({ kind: 'finished' })
      return
    }
    job = message.job
    const results = []
    for (file = 0; file < message.files.length; file++) results.push(await storer.store(message.files[file]!))
    send({ kind: 'done', job, results })
  }
  try {
    selfTest()
    storer = new FileStorer({
      ...(workerData as WorkerSetUp),
      veto,
      onPack: ({ id, blobs, bytes }) => send({ kind: 'pack', id, blobs, bytes }, [bytes.buffer]),
      onContinue: (next, state) => send({ kind: 'continue', job, file, next, state }),
    })
  } catch (error) {
    fail(error)
    return
  }
  let last: Promise<void> = Promise.resolve()
  port.on('message', (message: ToWorker) => {
    last = last.then(() => handle(message)).catch(fail)
  })
  send({ kind: 'ready' })
}
