import { isUtf8 } from 'node:buffer'
import { constants } from 'node:os'
import { EngineError } from '../error.ts'
import { cFunction, cString, systemCallError } from './c-library.ts'

export interface ListedAttribute {
  readonly name: string
  readonly value: Buffer
  /**
   * Only where the name is not valid UTF-8: its bytes. `name` then holds U+FFFD for each byte that does not belong, as
   * restic records it, and cannot be set again under its own name.
   */
  readonly rawName?: Buffer
}

/** llistxattr(2): bytes of the names, or the negated error number. The path ends with a NUL byte. */
export const listNames = cFunction<[Buffer, Buffer, number]>(
  'int64_t llistxattr(const void *path, void *list, size_t size)',
)
/** flistxattr(2), the same of an open file. */
export const listNamesOfDescriptor = cFunction<[number, Buffer, number]>(
  'int64_t flistxattr(int file, void *list, size_t size)',
)
const getValue = cFunction<[Buffer, Buffer, Buffer, number]>(
  'int64_t lgetxattr(const void *path, const void *name, void *value, size_t size)',
)
const setValue = cFunction<[Buffer, Buffer, Buffer, number, number]>(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
)
const removeValue = cFunction<[Buffer, Buffer]>('int lremovexattr(const void *path, const void *name)')

const { E2BIG, ENODATA, EOPNOTSUPP, ERANGE } = constants.errno

// xattr(7): the kernel limits a value, and the list of all names, to 64 KiB, so what does not fit into the second size
// does not fit at all. The first spares the kernel a zeroed 64 KiB per call: nearly every answer is shorter.
const SCRATCHES = [Buffer.alloc(4096), Buffer.alloc(65536)]

/**
 * All extended attributes that the process may see, in the order of the system; ACLs are the `system.posix_acl_*` among
 * them. A symbolic link's own, not its target's. Empty where the file system has none.
 *
 * Throws as `systemCallError` says; `SYSTEM` with errno E2BIG if the names take more than 64 KiB, which Linux cannot list.
 */
export function listExtendedAttributes(path: Buffer): ListedAttribute[] {
  const file = cString(path)
  const names = intoScratch((scratch) => listNames(file, scratch, scratch.length))
  if (typeof names === 'number') {
    if (names === EOPNOTSUPP) return []
    if (names !== E2BIG) throw systemCallError('list the extended attributes of', path, names)
    throw new EngineError(
      'SYSTEM',
      `Cannot list the extended attributes of ${JSON.stringify(path.toString())}: their names take more than 64 KiB`,
      {
        facts: { path: path.toString(), errno: 'E2BIG' },
        hint: 'Remove attributes from the file: Linux lists no more',
      },
    )
  }

  if (names.length === 0) return []
  const attributes: ListedAttribute[] = []
  for (let start = 0; start < names.length; ) {
    const end = names.indexOf(0, start)
    const rawName = names.subarray(start, end === -1 ? names.length : end)
    start += rawName.length + 1

    const name = cString(rawName)
    const value = intoScratch((scratch) => getValue(file, name, scratch, scratch.length))
    if (typeof value === 'number') {
      // Removed since it was listed, or listed by a file system (NFS, CIFS, FUSE) that does not hand out its value.
      if (value === ENODATA || value === EOPNOTSUPP) continue
      throw systemCallError(`read the extended attribute ${decodeName(rawName)} of`, path, value)
    }
    attributes.push(
      isUtf8(rawName) ? { name: rawName.toString(), value } : { name: decodeName(rawName), value, rawName },
    )
  }
  return attributes
}

/** Creates or replaces one attribute, of the link itself if `path` is one. Throws as `systemCallError` says. */
export function setExtendedAttribute(path: Buffer, name: string | Buffer, value: Buffer): void {
  const result = setValue(cString(path), cString(Buffer.from(name)), value, value.length, 0)
  if (result < 0) throw systemCallError(`set the extended attribute ${JSON.stringify(String(name))} of`, path, -result)
}

/** Afterwards the file does not have the attribute; having had none is no error. Throws as `systemCallError` says. */
export function removeExtendedAttribute(path: Buffer, name: string | Buffer): void {
  const result = removeValue(cString(path), cString(Buffer.from(name)))
  if (result < 0 && result !== -ENODATA) {
    throw systemCallError(`remove the extended attribute ${JSON.stringify(String(name))} of`, path, -result)
  }
}

const NOTHING = Buffer.alloc(0)

/** What the call left in the scratch buffer, as a copy; or the error number. */
function intoScratch(call: (scratch: Buffer) => number): Buffer | number {
  let length = -ERANGE
  for (const scratch of SCRATCHES) {
    length = call(scratch)
    if (length === 0) return NOTHING
    if (length > 0) return Buffer.from(scratch.subarray(0, length))
    if (length !== -ERANGE) break
  }
  return -length
}

/** U+FFFD for every single byte that is not part of valid UTF-8, where `toString` has one for a whole broken sequence. */
function decodeName(bytes: Buffer): string {
  let text = ''
  for (let start = 0; start < bytes.length; ) {
    const length = [1, 2, 3, 4].find((size) => isUtf8(bytes.subarray(start, start + size)))
    text += length === undefined ? '\ufffd' : bytes.toString('utf8', start, start + length)
    start += length ?? 1
  }
  return text
}
