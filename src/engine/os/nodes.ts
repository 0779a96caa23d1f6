import { constants as fileConstants } from 'node:fs'
import { constants } from 'node:os'
import { cFunction, cString, systemCallError } from './c-library.ts'

const mkfifo = cFunction<[Buffer, number]>('int mkfifo(const void *path, uint32_t mode)')
const mknod = cFunction<[Buffer, number, bigint]>('int mknod(const void *path, uint32_t mode, uint64_t device)')

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
