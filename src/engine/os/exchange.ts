import { cFunction, cString, systemCallError } from './c-library.ts'
import { errnoName } from './errno.ts'

const renameat2 = cFunction<[number, Buffer, number, Buffer, number]>(
  'int renameat2(int fromFolder, const void *from, int toFolder, const void *to, unsigned int flags)',
)

const AT_FDCWD = -100
const RENAME_EXCHANGE = 2

/**
 * Exchanges two existing entries of one file system in one step: at no moment is either name without an entry (rename(2)).
 * False where the file system cannot; then nothing was changed.
 */
export function exchange(a: Buffer, b: Buffer): boolean {
  const result = renameat2(AT_FDCWD, cString(a), AT_FDCWD, cString(b), RENAME_EXCHANGE)
  if (result >= 0) return true
  const name = errnoName(-result)
  if (name === 'EINVAL' || name === 'ENOSYS' || name === 'ENOTSUP' || name === 'EOPNOTSUPP') return false
  throw systemCallError('exchange', a, -result)
}
