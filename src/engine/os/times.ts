import { cFunction, cString, systemCallError } from './c-library.ts'

const utimensat = cFunction<[number, Buffer, BigInt64Array, number]>(
  'int utimensat(int folder, const void *path, const void *times, int flags)',
)
const futimens = cFunction<[number, BigInt64Array]>('int futimens(int fd, const void *times)')

const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const SECOND = 1_000_000_000n

/**
 * Sets both times to the nanosecond, in ns since the epoch (negative before 1970), of the link itself if `path` is one.
 * Node's own `lutimes` goes through a double and loses some 200 ns. A file system that stores less
 * (whole seconds, no years beyond 2038) rounds without an error. Throws as `systemCallError` says.
 */
export function setTimes(path: Buffer, atimeNs: bigint, mtimeNs: bigint): void {
  const result = utimensat(AT_FDCWD, cString(path), timespecs(atimeNs, mtimeNs), AT_SYMLINK_NOFOLLOW)
  if (result < 0) throw systemCallError('set the times of', path, -result)
}

/** As `setTimes`, of an open file; `path` is for the error. */
export function setOpenTimes(fd: number, path: Buffer, atimeNs: bigint, mtimeNs: bigint): void {
  const result = futimens(fd, timespecs(atimeNs, mtimeNs))
  if (result < 0) throw systemCallError('set the times of', path, -result)
}

function timespecs(atimeNs: bigint, mtimeNs: bigint): BigInt64Array {
  return BigInt64Array.of(...timespec(atimeNs), ...timespec(mtimeNs))
}

/** struct timespec: whole seconds rounded down, and nanoseconds from there on, which are never negative. */
function timespec(ns: bigint): [seconds: bigint, nanoseconds: bigint] {
  const nanoseconds = ((ns % SECOND) + SECOND) % SECOND
  return [(ns - nanoseconds) / SECOND, nanoseconds]
}
