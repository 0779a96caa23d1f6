/**
 * `killable-program.ts`, with `kill-hook.ts` loaded before it: does one operation, told as a line of JSON on its input, and dies,
 * or is asked to end, at the moment that the line says. Prints `ready` when it could begin, and what it counted when it came to its end.
 */
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Worker } from 'node:worker_threads'
import { EXIT } from '../../src/cli/exit-code.ts'
import { processSignals } from '../../src/cli/io.ts'
import { listenForSignals } from '../../src/cli/signals.ts'
import { arm, disarm } from './kill-hook.ts'
import type { KillOrder } from './kill-sweep.ts'
import { killableOperations } from './killable-operations.ts'

writeSync(1, 'ready\n')
const [line] = (await once(createInterface(process.stdin), 'line')) as [string]
const { operation, details, due, milliseconds, ending } = JSON.parse(line) as KillOrder
if (milliseconds > 0) {
  const thread = new Worker(new URL('./killer-thread.ts', import.meta.url), { workerData: { due, milliseconds } })
  await once(thread, 'online')
  thread.unref()
}
const begun = performance.now()
arm(milliseconds > 0 ? 0 : due, ending)
const handlers = { onInterrupt: () => {}, onForcedExit: () => {} }
const { signal } = listenForSignals(processSignals, handlers)
try {
  await killableOperations[operation](details, signal)
} catch (error) {
  if (!signal.aborted) throw error
  process.exit(EXIT.interrupted.code)
}
writeSync(1, `${disarm()} calls in ${Math.round(performance.now() - begun)} ms\n`)
process.exit(0)
