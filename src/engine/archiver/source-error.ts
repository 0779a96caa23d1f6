import { EngineError } from '../error.ts'
import { describeErrno, errnoOf } from '../os/errno.ts'

/**
 * Calls what looks at a file of the source. Whatever the system says of it becomes `SOURCE`, with the fact `errno`: that is
 * a problem of one entry, while an error of the same number from the repository's storage must end the backup.
 */
export function fromSource<T>(path: Buffer, look: () => T): T {
  try {
    return look()
  } catch (cause) {
    if (cause instanceof EngineError) {
      const { errno } = cause.facts
      // UNSUPPORTED without a number: there is no C library to ask, here or at any other file.
      if (cause.code === 'SOURCE' || (cause.code === 'UNSUPPORTED' && errno === undefined)) throw cause
      throw new EngineError('SOURCE', cause.message, {
        facts: { path: path.toString(), errno },
        hint: cause.hint,
        cause,
      })
    }
    const errno = errnoOf(cause)
    if (errno === undefined || typeof (cause as NodeJS.ErrnoException).errno !== 'number') throw cause
    throw new EngineError('SOURCE', `Cannot read ${path}: ${describeErrno(errno)}`, {
      facts: { path: path.toString(), errno },
      cause,
    })
  }
}

/** Whether the entry, or a folder above it, was gone or had become something else when it was looked at. */
export function hasVanished(error: EngineError): boolean {
  return error.facts.errno === 'ENOENT' || error.facts.errno === 'ENOTDIR' || error.facts.errno === 'ESTALE'
}
