import { constants } from 'node:os'
import { getSystemErrorMessage } from 'node:util'
import type { EngineErrorCode } from '../error.ts'

const NAME_OF_ERRNO = new Map<number, string>(Object.entries(constants.errno).map(([name, number]) => [number, name]))

/** `'ENOENT'` for 2. Of two names for one number (EAGAIN and EWOULDBLOCK, ENOTSUP and EOPNOTSUPP) always the same one. */
export function errnoName(errno: number): string {
  if (errno === constants.errno.EOPNOTSUPP) return 'ENOTSUP'
  return NAME_OF_ERRNO.get(errno) ?? `errno ${errno}`
}

/** `'permission denied (EACCES)'` for `'EACCES'`. */
export function describeErrno(name: string): string {
  const number = (constants.errno as Readonly<Record<string, number>>)[name]
  return number === undefined ? name : `${getSystemErrorMessage(-number)} (${name})`
}

/** What an error number says by its nature, whichever call it came from; `undefined` when it depends on the call. */
export function codeOfErrno(name: string | undefined): EngineErrorCode | undefined {
  switch (name) {
    case 'ENOENT':
      return 'NOT_FOUND'
    case 'EEXIST':
      return 'EXISTS'
    case 'ENOTDIR':
      return 'NOT_A_DIRECTORY'
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'PERMISSION'
    case 'ENOSPC':
    case 'EDQUOT':
      return 'NO_SPACE'
    case 'ENOTSUP':
    case 'EOPNOTSUPP':
    case 'ENOSYS':
      return 'UNSUPPORTED'
    default:
      return undefined
  }
}

/**
 * `'ENOENT'` and the like, of an error of Node's own; `undefined` for any other. From its number, because `code` is
 * `Unknown system error -122` for what libuv has no name for, such as a quota that is used up.
 */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  if ('errno' in error && typeof error.errno === 'number' && error.errno < 0) return errnoName(-error.errno)
  return 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
