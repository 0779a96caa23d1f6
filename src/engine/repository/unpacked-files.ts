import { EngineError } from '../error.ts'
import { hashId, type IndexId, type LockId, type SnapshotId } from '../format/id.ts'
import { unseal } from '../format/master-key.ts'
import { decodeUnpacked, encodeUnpacked } from '../format/unpacked.ts'
import { pathOf } from '../storage/layout.ts'
import type { FileName } from '../storage/storage.ts'
import { isDamage } from './file-problem.ts'
import type { Repository } from './repository.ts'
import { sealVerified } from './seal-verified.ts'
import { writeVerified } from './write-verified.ts'

interface UnpackedIds {
  readonly lock: LockId
  readonly snapshot: SnapshotId
  readonly index: IndexId
}

/** Files that are sealed as a whole: JSON, compressed in version 2 (format reference 4). */
export type UnpackedType = keyof UnpackedIds

/** From this size on a file is worth loading what opens it faster. */
export const LONG = 256 * 1024
/** The same for what seals it: JSON of such a length. */
const LONG_TO_SEAL = 16 * 1024

const HINTS: Readonly<Record<UnpackedType, string | undefined>> = {
  index: 'Run `holdfast check`; `repair index` builds the index again from the packs',
  snapshot: 'Bring the file back from a copy of the repository; the other snapshots restore as before',
  lock: undefined,
}

/**
 * The JSON of an index, snapshot or lock file: name held against content, authenticated, decompressed.
 * Rejects with `CORRUPT` naming the file when any of that fails, and as the storage does when the file cannot be had.
 */
export async function readUnpacked<T extends UnpackedType>(
  repository: Repository,
  type: T,
  id: UnpackedIds[T],
  signal?: AbortSignal,
): Promise<Buffer> {
  const plaintext = await readPlaintext(repository, type, id, signal)
  return attemptToRead(type, id, () => decodeUnpacked(repository.config.version, plaintext))
}

/** As `readUnpacked`, but not decompressed: what `decodeUnpacked` takes. */
export async function readPlaintext<T extends UnpackedType>(
  repository: Repository,
  type: T,
  id: UnpackedIds[T],
  signal?: AbortSignal,
): Promise<Buffer> {
  const bytes = await repository.storage.read({ type, id }, undefined, signal)
  if (hashId(bytes) !== id) {
    throw corrupt(type, id, 'its content does not match its name, so it was altered or cut short')
  }
  const open = bytes.length < LONG ? unseal : (await import('./unseal-long.ts')).unsealLong
  return attemptToRead(type, id, () => open(repository.masterKey, bytes))
}

/** Reads and parses in one. What the parser throws because of the bytes becomes `CORRUPT` naming the file. */
export async function readParsed<T extends UnpackedType, R>(
  repository: Repository,
  type: T,
  id: UnpackedIds[T],
  parse: (json: Buffer) => R,
  signal?: AbortSignal,
): Promise<R> {
  const json = await readUnpacked(repository, type, id, signal)
  return attemptToRead(type, id, () => parse(json))
}

/** What `work` throws because of the bytes becomes `CORRUPT` naming the file. */
export function attemptToRead<R>(type: UnpackedType, id: string, work: () => R): R {
  try {
    return work()
  } catch (cause) {
    if (!isDamage(cause)) throw cause
    throw corrupt(type, id, cause.message, cause)
  }
}

function corrupt(type: UnpackedType, id: string, found: string, cause?: unknown): EngineError {
  const file = pathOf({ type, id })
  return new EngineError('CORRUPT', `Cannot read ${file}: ${found}`, { facts: { file }, hint: HINTS[type], cause })
}

/** Stores an unpacked file under the hash of its sealed bytes. Errors as of `sealUnpacked` and `writeVerified`. */
export async function writeUnpacked<T extends UnpackedType>(
  repository: Repository,
  type: T,
  json: Buffer,
  signal?: AbortSignal,
): Promise<UnpackedIds[T]> {
  const sealing = json.length < LONG_TO_SEAL ? sealVerified : (await import('./seal-long.ts')).sealLong
  const { name, content } = sealUnpacked(repository, type, json, sealing)
  await writeVerified(repository.storage, name, content, signal)
  return name.id
}

/**
 * An unpacked file as it is to be stored. What was sealed has been opened again: a file that nobody can read would be
 * worse than none. Throws `SELF_CHECK`.
 */
export function sealUnpacked<T extends UnpackedType>(
  repository: Repository,
  type: T,
  json: Buffer,
  sealing = sealVerified,
): { readonly name: FileName & { readonly type: T; readonly id: UnpackedIds[T] }; readonly content: Buffer } {
  const { masterKey, config } = repository
  const plaintext = encodeUnpacked(config.version, json)
  const content = sealing(masterKey, plaintext)
  if (!decodeUnpacked(config.version, plaintext).equals(json)) {
    throw new EngineError('SELF_CHECK', `Cannot store a file of type ${type}: it does not decode to what was encoded`, {
      hint: 'The memory or processor of this machine is likely faulty: test it before the next backup',
    })
  }
  return { name: { type, id: hashId(content) }, content }
}
