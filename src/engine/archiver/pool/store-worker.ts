import { parentPort, workerData } from 'node:worker_threads'
import { selfTest } from '../../kernels/self-test.ts'
import { reportFailure } from '../../threads.ts'
import type { Veto } from '../file-store.ts'
import { FileStorer } from './file-storer.ts'
import type { FileResult, FromWorker, ToWorker, WorkerSetUp } from './protocol.ts'

/** Packs that are complete and not stored: with more, the worker waits. Each takes its memory, beside the one being filled. */
const PACKS_UNDER_WAY = 1

/**
 * What the program of a thread of `StorePool` calls. Functions cannot be handed to a thread: who needs a veto has a
 * program of its own, which imports it. Jobs are done in the order in which they come.
 */
export function runStoreWorker(veto?: Veto): void {
  const port = parentPort!
  const send = (message: FromWorker) => port.postMessage(message)
  let job = -1
  let file = -1
  let packs = 0
  let whenPackIsStored: (() => void) | undefined
  let storer: FileStorer
  const handle = async (message: Extract<ToWorker, { kind: 'store' | 'finish' }>): Promise<void> => {
    if (message.kind === 'finish') {
      storer.finish()
      send({ kind: 'finished' })
      return
    }
    job = message.job
    const results: FileResult[] = []
    for (file = 0; file < message.files.length; file++) {
      while (packs > PACKS_UNDER_WAY) {
        await new Promise<void>((resolve) => {
          whenPackIsStored = resolve
        })
      }
      results.push(await storer.store(message.files[file]!))
    }
    send({ kind: 'done', job, results })
  }
  try {
    selfTest()
    storer = new FileStorer({
      ...(workerData as WorkerSetUp),
      veto,
      onPack: ({ id, blobs, bytes }) => {
        packs += 1
        send({ kind: 'pack', id, blobs, bytes })
      },
      onContinue: (next, limit, state) => send({ kind: 'continue', job, file, next, limit, state }),
    })
  } catch (error) {
    reportFailure(error)
    return
  }
  let last: Promise<void> = Promise.resolve()
  port.on('message', (message: ToWorker) => {
    if (message.kind === 'stored') {
      packs -= 1
      storer.reuse(message.buffer)
      whenPackIsStored?.()
    } else last = last.then(() => handle(message)).catch(reportFailure)
  })
  send({ kind: 'ready' })
}
