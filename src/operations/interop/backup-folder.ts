import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Finding } from '../../application/finding.ts'
import { OperationError } from '../error.ts'
import { EXPORT_MARK } from './export-notes.ts'

/** A folder that the hand-made procedure's script left, before anything in it was opened. */
export interface BackupFolder {
  readonly path: string
  /** Relative to where the search began: `20251101`, `monthly/20251101`, `manual_20251101_140000`. */
  readonly name: string
  /** When the backup was made: as MANIFEST.txt says, else as the folder's name does. */
  readonly time: Date
  readonly server: string | undefined
  /** What REASON.txt says, its first line. */
  readonly reason: string | undefined
  readonly by: string | undefined
  /** Names of the regular files in it, in order. */
  readonly files: readonly string[]
  readonly findings: readonly Finding[]
}

export interface FoundFolders {
  /** Oldest first. */
  readonly folders: readonly BackupFolder[]
  /** About what is there and is no such folder. */
  readonly findings: readonly Finding[]
}

const DAILY = /^(\d{4})(\d{2})(\d{2})$/
const MANUAL = /^manual_(\d{4})(\d{2})(\d{2})_(\d{2})(\d{2})(\d{2})$/
/** Where scripts keep daily folders for longer. */
const KEPT = new Set(['weekly', 'monthly', 'yearly'])
/** MANIFEST.txt and REASON.txt are a page of text. */
const NOTE_LIMIT = 1024 * 1024

/** Finds the folders of backups in a folder: itself, or those in it and in `weekly`, `monthly`, `yearly`. Follows no links. */
export async function findBackupFolders(directory: string): Promise<FoundFolders> {
  const findings: Finding[] = []
  const folders: BackupFolder[] = []
  const own = basename(directory)
  if (DAILY.test(own) || MANUAL.test(own)) return { folders: [await readFolder(directory, own)], findings }

  const visit = async (folder: string, prefix: string) => {
    for (const name of (await entriesOf(folder)).sort()) {
      const path = join(folder, name)
      const stats = await lstat(path)
      if (stats.isDirectory() && (DAILY.test(name) || MANUAL.test(name))) {
        folders.push(await readFolder(path, prefix + name))
      } else if (stats.isDirectory() && prefix === '' && KEPT.has(name)) await visit(path, `${name}/`)
      else {
        findings.push({
          severity: 'note',
          code: 'import-passed-over',
          path,
          message: `${path} is passed over: expected a folder called YYYYMMDD or manual_YYYYMMDD_HHMMSS`,
        })
      }
    }
  }
  await visit(directory, '')
  folders.sort((a, b) => a.time.getTime() - b.time.getTime() || (a.name < b.name ? -1 : 1))
  return { folders, findings }
}

async function entriesOf(folder: string): Promise<string[]> {
  return readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    if (cause.syscall === undefined) throw cause
    throw new OperationError('USAGE', `Cannot import ${folder}: ${cause.message}`, {
      facts: { path: folder },
      hint: 'Name the folder in which the backups lie, or one of them',
      cause,
    })
  })
}

async function readFolder(path: string, name: string): Promise<BackupFolder> {
  const findings: Finding[] = []
  const files: string[] = []
  for (const entry of (await entriesOf(path)).sort()) {
    if ((await lstat(join(path, entry))).isFile()) files.push(entry)
    else {
      const message = `${join(path, entry)} is passed over: it is no regular file`
      findings.push({ severity: 'warning', code: 'import-passed-over', path: join(path, entry), message })
    }
  }
  const manifest = files.includes('MANIFEST.txt') ? await note(join(path, 'MANIFEST.txt'), findings) : ''
  const reason = files.includes('REASON.txt') ? await note(join(path, 'REASON.txt'), findings) : ''
  if (manifest.includes(EXPORT_MARK)) {
    findings.push({
      severity: 'error',
      code: 'import-exported',
      path,
      message: `${path} is not imported: holdfast export made it, from a snapshot that has more`,
      hint: 'Copy the snapshot itself from its repository: holdfast copy',
    })
  }
  const named = timeIn(basename(path))!
  const noted = timeIn(/^Date: (\S+)$/m.exec(manifest)?.[1] ?? '')
  if (noted !== undefined && noted.toDateString() !== named.toDateString()) {
    findings.push({
      severity: 'warning',
      code: 'import-date-differs',
      path,
      message: `${path} says in MANIFEST.txt that it is of ${noted.toISOString()}: its own name is not believed`,
    })
  }
  return {
    path,
    name,
    time: noted ?? named,
    server: /^Server: (\S.*)$/m.exec(manifest)?.[1]?.trim(),
    reason: reason
      .split('\n')
      .find((line) => line.trim() !== '')
      ?.trim(),
    by: /^By: (\S.*)$/m.exec(reason)?.[1]?.trim(),
    files,
    findings,
  }
}

async function note(path: string, findings: Finding[]): Promise<string> {
  const { size } = await lstat(path)
  if (size <= NOTE_LIMIT) return readFile(path, 'utf8')
  const message = `${path} is passed over: it has ${size} bytes, expected a page of text`
  findings.push({ severity: 'warning', code: 'import-passed-over', path, message })
  return ''
}

/** In the time zone of this machine, as `date` wrote it: `YYYYMMDD`, with `_HHMMSS` or after `manual_`. */
function timeIn(text: string): Date | undefined {
  const [, year, month, day, hour = '0', minute = '0', second = '0'] =
    /^(?:manual_)?(\d{4})(\d{2})(\d{2})(?:_(\d{2})(\d{2})(\d{2}))?$/.exec(text) ?? []
  if (year === undefined) return undefined
  const [y, m, d] = [Number(year), Number(month), Number(day)]
  const time = new Date(y, m - 1, d, Number(hour), Number(minute), Number(second))
  return time.getMonth() === m - 1 && time.getDate() === d ? time : new Date(y, 0, 1)
}

/** Tells the content of a folder from that of another, whatever it is called: SHA-256 of its files' names and hashes. */
export async function digestOf({ path, files }: BackupFolder, signal: AbortSignal): Promise<string> {
  const digest = createHash('sha256')
  for (const name of files) {
    const content = createHash('sha256')
    for await (const piece of createReadStream(join(path, name), { signal })) content.update(piece as Buffer)
    digest.update(`${content.digest('hex')} ${name}\n`)
  }
  return digest.digest('hex')
}
