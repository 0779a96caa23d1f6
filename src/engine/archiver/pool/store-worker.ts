import { parentPort } from 'node:worker_threads'
import { selfTest } from '../../kernels/self-test.ts'
import { isEnding, reportFailure, serve } from '../../threads.ts'
import type { Veto } from '../file-store.ts'
import { FileStorer } from './file-storer.ts'
import {
  decodeJobs,
  encodeResults,
  type FileResult,
  type FromWorker,
  type ToWorker,
  type WorkerSetUp,
} from './protocol.ts'

/**
 * What the program of a thread of `StorePool` calls. Functions cannot be handed to a thread: who needs a veto has a
 * program of its own, which imports it. Jobs are done in the order in which they come.
 */
export function runStoreWorker(veto?: Veto): void {
  const port = parentPort!
  const send = (message: FromWorker) => port.postMessage(message)
  let job = -1
  let file = -1
  let storer: FileStorer
  const handle = async (message: ToWorker): Promise<void> => {
    switch (message.kind) {
      case 'set up':
        storer = createStorer(message.setUp)
        send({ kind: 'ready', memory: storer.memory })
        return
      case 'finish':
        storer.finish()
        send({ kind: 'finished' })
        return
      case 'store': {
        job = message.job
        const files = decodeJobs(message.files)
        const results: FileResult[] = []
        for (file = 0; file < files.length; file++) {
          if (isEnding()) return
          const result = storer.store(files[file]!)
          results.push(result instanceof Promise ? await result : result)
        }
        send({ kind: 'done', job, results: encodeResults(results), chunks: storer.takeNoted() })
      }
    }
  }
  const createStorer = (setUp: WorkerSetUp) =>
    new FileStorer({
      ...setUp,
      veto,
      // A copy of the header: it may be part of a pool, which would be cloned with it.
      onPack: ({ id, bytes, header, place }) =>
        send({
          kind: 'pack',
          id,
          header: new Uint8Array(header),
          place,
          offset: bytes.byteOffset,
          length: bytes.length,
        }),
      onContinue: (next, limit, state) => send({ kind: 'continue', job, file, next, limit, state: state.toWords() }),
    })
  try {
    selfTest()
  } catch (error) {
    reportFailure(error)
    return
  }
  serve(handle)
}
