import { EngineError } from '../error.ts'
import { type BlobId, type IndexId, parseId, type SnapshotId } from '../format/id.ts'

// What a backup knows of folders from the one before it, beside what the repository says: which tree is that of a folder whose
// entries are all, by name and `lstat`, as they were then. A folder with everything below it is passed over by that, without its
// trees being read. It is a note, and never believed blindly: it counts only for the snapshot that the backup is compared with,
// as long as every index file is there that was there when it was written (so that no blob of it was removed since), and
// only where that snapshot's own tree names the same one.
//
//   8 bytes   MAGIC
//   32        snapshot
//   32        what the archive was asked for: see `KnownFoldersKey`
//   8         when it began to look, in seconds since the epoch (double, little endian as all of these); 0 where it could not see all
//   4 + 32 n  index files, number first
//   4 + 80 n  folders: fingerprint 32, tree 32, files 8, bytes 8 (doubles)

const MAGIC = Buffer.from('hfknown1', 'latin1')
const ID = 32
const HEADER = MAGIC.length + 2 * ID + 8
const COUNT = 4
const FOLDER = 2 * ID + 16

/** Folders that are noted at most: of 80 bytes each in the file, and three times as many in memory. */
export const MOST_FOLDERS = 200_000

/** What the time of a change may lag behind the clock: a tick of the kernel, and what clocks of two machines may differ by. */
export const CLOCK_SECONDS = 2

/** For which backup a note is good. */
export interface KnownFoldersKey {
  /** The snapshot that they were archived in. */
  readonly snapshot: SnapshotId
  /** SHA-256 of everything that decides which entries an archive takes, and in what form. */
  readonly request: Buffer
}

export interface KnownFolder {
  readonly tree: BlobId
  /** In the folder itself. */
  readonly files: number
  readonly bytes: number
}

/** Folders by their fingerprints (`FolderEntries.fingerprint`). */
export class KnownFolders {
  #lookedAt: number
  readonly #folders = new Map<string, KnownFolder>()

  /** `lookedAt`: when somebody began to look at them, in seconds since the epoch. */
  constructor(lookedAt: number) {
    this.#lookedAt = lookedAt
  }

  /**
   * Second of the clock: what last changed before it has, where the snapshot says the same of it otherwise, the same extended
   * attributes as well, for they cannot be changed without the time of the change.
   */
  get trustedBefore(): number {
    return this.#lookedAt - CLOCK_SECONDS
  }

  /** Extended attributes could not be read, and are missing from the snapshot: next time everything is asked for them, to say so again. */
  distrust(): void {
    this.#lookedAt = 0
  }

  get size(): number {
    return this.#folders.size
  }

  find(fingerprint: string): KnownFolder | undefined {
    return this.#folders.get(fingerprint)
  }

  /** Whatever is more than `MOST_FOLDERS` is not noted. */
  add(fingerprint: string, folder: KnownFolder): void {
    if (this.#folders.size < MOST_FOLDERS) this.#folders.set(fingerprint, folder)
  }

  encode({ snapshot, request }: KnownFoldersKey, indexFiles: readonly IndexId[]): Buffer {
    const bytes = Buffer.alloc(HEADER + 2 * COUNT + ID * indexFiles.length + FOLDER * this.#folders.size)
    MAGIC.copy(bytes)
    bytes.write(snapshot, MAGIC.length, 'hex')
    request.copy(bytes, MAGIC.length + ID)
    bytes.writeDoubleLE(this.#lookedAt, MAGIC.length + 2 * ID)
    let at = bytes.writeUInt32LE(indexFiles.length, HEADER)
    for (const id of indexFiles) at += bytes.write(id, at, 'hex')
    at = bytes.writeUInt32LE(this.#folders.size, at)
    for (const [fingerprint, { tree, files, bytes: size }] of this.#folders) {
      bytes.write(fingerprint, at, 'latin1')
      bytes.write(tree, at + ID, 'hex')
      bytes.writeDoubleLE(files, at + 2 * ID)
      bytes.writeDoubleLE(size, at + 2 * ID + 8)
      at += FOLDER
    }
    return bytes
  }
}

/**
 * The folders of a note; undefined when it is good for another backup than this one, or names an index file that is
 * not among `indexFiles`. Throws `CORRUPT` when it is no such note.
 */
export function parseKnownFolders(
  bytes: Buffer,
  key: KnownFoldersKey,
  indexFiles: ReadonlySet<string>,
): KnownFolders | undefined {
  if (bytes.length < HEADER + COUNT || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw corrupt()
  if (bytes.toString('hex', MAGIC.length, MAGIC.length + ID) !== key.snapshot) return undefined
  if (!bytes.subarray(MAGIC.length + ID, MAGIC.length + 2 * ID).equals(key.request)) return undefined
  const indexEnd = HEADER + COUNT + ID * bytes.readUInt32LE(HEADER)
  if (indexEnd + COUNT > bytes.length) throw corrupt()
  for (let at = HEADER + COUNT; at < indexEnd; at += ID) {
    if (!indexFiles.has(bytes.toString('hex', at, at + ID))) return undefined
  }
  const count = bytes.readUInt32LE(indexEnd)
  if (bytes.length !== indexEnd + COUNT + FOLDER * count) throw corrupt()
  const lookedAt = bytes.readDoubleLE(MAGIC.length + 2 * ID)
  if (!isCount(lookedAt)) throw corrupt()
  const known = new KnownFolders(lookedAt)
  for (let at = indexEnd + COUNT; at < bytes.length; at += FOLDER) {
    const files = bytes.readDoubleLE(at + 2 * ID)
    const size = bytes.readDoubleLE(at + 2 * ID + 8)
    if (!isCount(files) || !isCount(size)) throw corrupt()
    const tree = parseId<BlobId>(bytes.toString('hex', at + ID, at + 2 * ID))
    known.add(bytes.toString('latin1', at, at + ID), { tree, files, bytes: size })
  }
  return known
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function corrupt(): EngineError {
  return new EngineError('CORRUPT', 'Cannot read what was noted of unchanged folders: it is cut short, or no such note')
}
