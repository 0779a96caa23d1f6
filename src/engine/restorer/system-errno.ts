import { EngineError } from '../error.ts'
import { errnoOf } from '../os/errno.ts'

/** The error number of a system call that failed, in Node or through the C library. */
export function systemErrno(error: unknown): string | undefined {
  if (!(error instanceof EngineError))
    return typeof (error as NodeJS.ErrnoException).errno === 'number' ? errnoOf(error) : undefined
  return typeof error.facts.errno === 'string' ? error.facts.errno : undefined
}

/** Whether there is no room: every further file would meet the same. */
export function isFull(errno: string): boolean {
  return errno === 'ENOSPC' || errno === 'EDQUOT'
}
