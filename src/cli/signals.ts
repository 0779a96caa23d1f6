import { EngineError } from '../engine/error.ts'
import type { SignalSource } from './io.ts'

/**
 * A Ctrl-C reaches the whole process group, and launchers and `npm` hand it on besides: what follows this soon is the same
 * press of the key.
 */
const SAME_SIGNAL_MILLISECONDS = 250

export interface SignalHandlers {
  /** The operation has been told to stop and is about to. */
  readonly onInterrupt: (signal: NodeJS.Signals) => void
  /** Last chance to leave the terminal in order: the process ends when this returns. */
  readonly onForcedExit: () => void
  /** Milliseconds of a clock that does not jump. */
  readonly clock?: () => number
}

export interface Interruption extends Disposable {
  /** Aborted by SIGINT or SIGTERM; its reason is an `EngineError` with code `INTERRUPTED`. */
  readonly signal: AbortSignal
}

/**
 * The first SIGINT or SIGTERM aborts, so that locks are removed and temporary files go; a second one ends the process at
 * once, as if nobody had listened (in a shell 130 for SIGINT, 143 for SIGTERM). SIGHUP does nothing until disposed of: restic probes with it whether the holder of a lock is alive, and a backup
 * whose SSH session drops should come to its end.
 */
export function listenForSignals(
  source: SignalSource | undefined,
  { onInterrupt, onForcedExit, clock = () => performance.now() }: SignalHandlers,
): Interruption {
  const controller = new AbortController()
  let interruptedAt: number | undefined
  const interrupt = (name: NodeJS.Signals) => {
    if (interruptedAt === undefined) {
      interruptedAt = clock()
      controller.abort(new EngineError('INTERRUPTED', `Interrupted by ${name}`, { facts: { signal: name } }))
      onInterrupt(name)
    } else if (clock() - interruptedAt >= SAME_SIGNAL_MILLISECONDS) {
      onForcedExit()
      source?.die(name)
    }
  }
  const live = () => {}
  source?.on('SIGINT', interrupt)
  source?.on('SIGTERM', interrupt)
  source?.on('SIGHUP', live)
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      source?.off('SIGINT', interrupt)
      source?.off('SIGTERM', interrupt)
      source?.off('SIGHUP', live)
    },
  }
}
