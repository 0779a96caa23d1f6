import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { EngineError } from '../error.ts'
import { isId } from '../format/id.ts'
import { errnoOf } from '../os/errno.ts'
import { prepareCacheFolder, writePrivately } from '../storage/cache-folder.ts'
import type { Repository } from './repository.ts'

// What this machine notes of a repository for the next run, beside the copies that the cache keeps:
//
//   <cache>/<repository ID>/notes/<64 hex digits>   nonce 12, AES-256-GCM of the note, tag 16
//
// Sealed under a key that is derived from the repository's, so that the cache gives nothing away and nothing in it can be made up;
// the repository and the name are authenticated with it. Any of it may be lost at any time.

const NONCE = 12
const TAG = 16
const LONGEST_NOTE = 32 * 1024 * 1024
/** Of one repository. The oldest go. */
const MOST_NOTES = 16

export interface NotesOptions {
  /** The folder of all caches. */
  readonly folder: string
  /** Told why notes cannot be kept. Costs time, never a result. */
  readonly onProblem: (error: EngineError) => void
}

/** Undefined when there is none of that name, or none that was sealed for it. Never rejects. */
export async function readNote(
  repository: Repository,
  name: string,
  { folder, onProblem }: NotesOptions,
): Promise<Buffer | undefined> {
  try {
    await using handle = await open(
      pathOf(folder, repository, name),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    )
    const stats = await handle.stat()
    if (!stats.isFile() || stats.uid !== process.geteuid?.() || stats.size > LONGEST_NOTE) return undefined
    return openNote(repository, name, await handle.readFile())
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') onProblem(notesProblem(folder, error))
    return undefined
  }
}

/** What a note says; undefined when there is none, or none that `parse` can read: it throws `CORRUPT` for that of another version. */
export async function readNoteAs<T>(
  repository: Repository,
  name: string,
  options: NotesOptions,
  parse: (note: Buffer) => T,
): Promise<T | undefined> {
  const note = await readNote(repository, name, options)
  try {
    return note && parse(note)
  } catch (error) {
    if (error instanceof EngineError && error.code === 'CORRUPT') return undefined
    throw error
  }
}

/** Replaces the note of that name. Never rejects. */
export async function writeNote(
  repository: Repository,
  name: string,
  note: Buffer,
  { folder, onProblem }: NotesOptions,
): Promise<void> {
  if (note.length > LONGEST_NOTE - NONCE - TAG) return
  try {
    const notes = join(await prepareCacheFolder(folder, repository.config.id), 'notes')
    await mkdir(notes, { recursive: true, mode: 0o700 })
    await writePrivately(pathOf(folder, repository, name), sealNote(repository, name, note))
    await removeOldest(notes)
  } catch (error) {
    onProblem(notesProblem(folder, error))
  }
}

async function removeOldest(notes: string): Promise<void> {
  const names = await readdir(notes)
  if (names.length <= MOST_NOTES) return
  const found = await Promise.all(
    names.map(async (name) => ({
      name,
      usedAt: await stat(join(notes, name)).then(
        (stats) => stats.mtimeMs,
        () => 0,
      ),
    })),
  )
  found.sort((a, b) => b.usedAt - a.usedAt)
  for (const { name } of found.slice(MOST_NOTES)) await rm(join(notes, name), { force: true })
}

function pathOf(folder: string, { config }: Repository, name: string): string {
  if (!isId(name)) throw new TypeError(`Not the name of a note: ${name}`)
  return join(folder, config.id, 'notes', name)
}

function sealNote(repository: Repository, name: string, note: Buffer): Buffer[] {
  const nonce = randomBytes(NONCE)
  const cipher = createCipheriv('aes-256-gcm', keyOf(repository), nonce, { authTagLength: TAG })
  cipher.setAAD(contextOf(repository, name))
  return [nonce, cipher.update(note), cipher.final(), cipher.getAuthTag()]
}

/** Undefined when it was not sealed as this note. */
function openNote(repository: Repository, name: string, sealed: Buffer): Buffer | undefined {
  if (sealed.length < NONCE + TAG) return undefined
  const decipher = createDecipheriv('aes-256-gcm', keyOf(repository), sealed.subarray(0, NONCE), { authTagLength: TAG })
  decipher.setAAD(contextOf(repository, name))
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG))
  const note = decipher.update(sealed.subarray(NONCE, sealed.length - TAG))
  try {
    decipher.final()
  } catch {
    return undefined // altered, or cut short in a power cut
  }
  return note
}

function keyOf(repository: Repository): Buffer {
  return derivedKey(repository, 'notes of this machine', 32)
}

/** A key for one purpose, that says nothing of the repository's own. */
export function derivedKey({ masterKey: { encrypt, macK, macR } }: Repository, purpose: string, bytes: number): Buffer {
  const secret = createHash('sha256').update(encrypt).update(macK).update(macR).digest()
  return Buffer.from(hkdfSync('sha256', secret, '', `holdfast: ${purpose}`, bytes))
}

function contextOf({ config }: Repository, name: string): Buffer {
  return Buffer.from(`${config.id} ${name}`, 'latin1')
}

function notesProblem(folder: string, cause: unknown): EngineError {
  return new EngineError('STORAGE', `Cannot keep notes in ${folder}: ${(cause as Error).message}`, {
    facts: { folder },
    hint: 'Nothing is lost by that but time. Make room there, name another folder with --cache-dir, or add --no-cache',
    cause,
  })
}
