import { EngineError, type EngineErrorCode } from '../error.ts'

const DAMAGED: ReadonlySet<EngineErrorCode> = new Set([
  'CORRUPT',
  'UNAUTHENTIC',
  'UNSUPPORTED',
  'HOSTILE',
  'INVALID_ID',
  'TRUNCATED',
  'NOT_FOUND',
])

const OUT_OF_REACH: ReadonlySet<EngineErrorCode> = new Set(['PERMISSION', 'NOT_A_DIRECTORY', 'STORAGE'])

/** Whether an error says that stored bytes are not what they must be, or not there: asking again cannot help. */
export function isDamage(error: unknown): error is EngineError {
  return error instanceof EngineError && DAMAGED.has(error.code)
}

/**
 * Whether an error is about the one file that was read: it is damaged, or the storage does not hand it out. Others may be
 * fine. An interruption, a lost lock (both come out of a read as the reason of its signal) and a fault of this machine
 * are no such thing, and must never be taken for damage.
 */
export function isFileProblem(error: unknown): error is EngineError {
  return isDamage(error) || (error instanceof EngineError && OUT_OF_REACH.has(error.code))
}
