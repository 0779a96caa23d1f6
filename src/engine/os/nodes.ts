import { constants as fileConstants } from 'node:fs'
import { constants } from 'node:os'
import { EngineError } from '../error.ts'
import { cFunction, cString, systemCallError } from './c-library.ts'
import { errnoName } from './errno.ts'

const mkfifo = cFunction<[Buffer, number]>('int mkfifo(const void *path, uint32_t mode)')
const mknod = cFunction<[Buffer, number, bigint]>('int mknod(const void *path, uint32_t mode, uint64_t device)')
const lseek = cFunction<[number, number, number]>('int64_t lseek(int fd, int64_t offset, int whence)')

const PERMISSION_BITS = 0o7777

/** `mode` is reduced by the process's umask. An existing name is `EXISTS`; otherwise throws as `systemCallError` says. */
export function makeFifo(path: Buffer, mode: number): void {
  const result = mkfifo(cString(path), mode & PERMISSION_BITS)
  if (result < 0) throw systemCallError('make the named pipe', path, -result)
}

/**
 * `device` is `st_rdev` as `lstat` with `bigint` gives it; needs root. `mode` is reduced by the process's umask. An existing name
 * is `EXISTS`, a number that Linux has no room for `SYSTEM` with EINVAL; otherwise throws as `systemCallError` says, and
 * `UNSUPPORTED` with a C library that has no `mknod` (glibc before 2.33).
 */
export function makeDevice(path: Buffer, kind: 'block' | 'char', mode: number, device: bigint): void {
  // Anything wider would be cut to 64 bits on its way and make some other device.
  if (BigInt.asUintN(64, device) !== device) throw systemCallError('make the device', path, constants.errno.EINVAL)
  const type = kind === 'block' ? fileConstants.S_IFBLK : fileConstants.S_IFCHR
  const result = mknod(cString(path), type | (mode & PERMISSION_BITS), device)
  if (result < 0) throw systemCallError('make the device', path, -result)
}

export interface DataExtent {
  readonly offset: number
  readonly length: number
}

// lseek(2); not among Node's constants.
const SEEK_DATA = 3
const SEEK_HOLE = 4

/**
 * The parts of an open file that may hold something else than zeros, in order, up to `size`; whatever lies between them reads
 * as zeros. A file system that knows no holes has one extent of everything. Moves the descriptor's file offset.
 * What is written while this runs may be missed, as by any reader. Throws `SYSTEM`.
 */
export function* dataExtents(fd: number, size: number): Generator<DataExtent> {
  const { EINVAL, ENXIO, EOPNOTSUPP } = constants.errno
  for (let position = 0; position < size; ) {
    const start = lseek(fd, position, SEEK_DATA)
    if (start === -ENXIO) return // a hole up to the end, or the file has become shorter
    if (start === -EINVAL || start === -EOPNOTSUPP) {
      yield { offset: position, length: size - position }
      return
    }
    if (start < 0) throw seekError(fd, -start)
    if (start >= size) return

    const hole = lseek(fd, start, SEEK_HOLE)
    if (hole === -ENXIO) return // cut off since
    if (hole < 0) throw seekError(fd, -hole)
    const end = Math.min(hole, size)
    if (end <= start) return // cut off since
    yield { offset: start, length: end - start }
    position = end
  }
}

function seekError(fd: number, errno: number): EngineError {
  const name = errnoName(errno)
  return new EngineError('SYSTEM', `Cannot find the holes of the file open as ${fd}: ${name}`, {
    facts: { errno: name },
  })
}
