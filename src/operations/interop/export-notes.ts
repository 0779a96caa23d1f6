import type { Manifest } from '../manifest.ts'
import { SECRETS } from '../manifest.ts'
import { VERSION } from '../version.ts'
import type { ExportedFile, ExportPlan } from './export-plan.ts'

/** A file that was written. */
export interface WrittenFile {
  readonly name: string
  readonly bytes: number
  /** Of its bytes, in hex. */
  readonly sha256: string
}

/** The first line of every MANIFEST.txt that an export writes; folders of the hand-made script have none like it. */
export const EXPORT_MARK = 'Made by: holdfast export'

/** MANIFEST.txt: what is here, and the commands that bring it back. Pure. */
export function exportNotes(
  plan: ExportPlan,
  written: readonly WrittenFile[],
  about: {
    readonly manifest: Manifest | undefined
    readonly time: Date
    readonly host: string
    readonly signature: 'SHA256SUMS.asc' | 'SHA256SUMS.sig' | undefined
  },
): string {
  const { manifest, time, host, signature } = about
  const bytes = written.reduce((sum, file) => sum + file.bytes, 0)
  const lines = [
    'Backup Manifest',
    '===============',
    '',
    `Date: ${compact(time)}`,
    `Server: ${host}`,
    `Application: ${plan.app ?? 'unknown'}`,
    `Snapshot: ${plan.snapshot}`,
    ...(manifest?.reason === undefined ? [] : [`Reason: ${oneLine(manifest.reason)}`]),
    ...(manifest === undefined ? [] : [`Outcome of the backup: ${manifest.outcome}`]),
    `${EXPORT_MARK} ${VERSION}`,
    '',
    'Backup Contents:',
    ...plan.files.map((file) => `- ${file.name}: ${contents(file)}`),
    '',
    `Backup Size: ${bytes} bytes in ${written.length} files`,
    '',
    'To restore from this backup, with the application stopped:',
    ...steps(plan, signature, manifest).map((step, i) => `${i + 1}. ${step}`),
  ]
  return `${lines.join('\n')}\n`
}

function contents(file: ExportedFile): string {
  switch (file.kind) {
    case 'archive':
      return `${file.component === undefined ? 'everything' : `component ${oneLine(file.component)}`}; unpack in ${oneLine(file.base)}`
    case 'copy':
      return `a copy of ${oneLine(file.path)}`
    case 'database':
      return `a consistent copy of the database ${oneLine(file.path)}, the same as in the archive`
    case 'seal':
      return 'secrets, encrypted; unpack in /'
    case 'description':
      return file.name.endsWith('.yaml') ? 'the configuration of Holdfast' : 'what Holdfast says of the snapshot'
  }
}

function steps(plan: ExportPlan, signature: string | undefined, manifest: Manifest | undefined): string[] {
  const archives = plan.files.filter((file) => file.kind === 'archive')
  const databases = plan.files.filter((file) => file.kind === 'database')
  const copies = plan.files.filter((file) => file.kind === 'copy')
  const seals = plan.files.filter((file) => file.kind === 'seal')
  const decrypt = (name: string) => (name === `${SECRETS}.age` ? 'age --decrypt --identity KEYFILE' : 'gpg --decrypt')
  return [
    'Check: sha256sum --check SHA256SUMS',
    ...(signature === 'SHA256SUMS.asc' ? ['Check: gpg --verify SHA256SUMS.asc SHA256SUMS'] : []),
    ...(signature === 'SHA256SUMS.sig'
      ? ['Check: ssh-keygen -Y verify -n holdfast -I holdfast -f ALLOWED_SIGNERS -s SHA256SUMS.sig < SHA256SUMS']
      : []),
    ...seals.map(({ name }) => `Decrypt secrets: ${decrypt(name)} ${name} | tar -xzf - -C /`),
    ...archives.map(({ name, base }) => `Extract: tar -xzf ${name} -C ${quoted(base)}`),
    ...databases.flatMap(({ name, path }) => [
      `Or the database alone: cp ${name} ${quoted(path)} && rm -f ${quoted(`${path}-wal`)} ${quoted(`${path}-shm`)}`,
    ]),
    ...copies.map(({ name, path }) => `Put in place: cp ${name} ${quoted(path)}`),
    ...(manifest?.components.some(({ kind }) => kind === 'systemd') ? ['systemctl daemon-reload'] : []),
    ...(manifest?.components.some(({ kind }) => kind === 'nginx') ? ['nginx -t && systemctl reload nginx'] : []),
    'As root tar restores owners and modes; check them, then start the application',
  ]
}

/** For a shell. */
function quoted(path: string): string {
  return /^[\w./@+-]+$/.test(path) ? path : `'${oneLine(path).replaceAll("'", `'\\''`)}'`
}

/** What a file says of itself must not look like a line of ours. */
function oneLine(text: string): string {
  return text.replaceAll(/\p{C}|\p{Zl}|\p{Zp}/gu, '?')
}

/** `YYYYMMDD_HHMMSS`, in UTC. */
export function compact(time: Date): string {
  return time.toISOString().replace(/[-:]/g, '').replace('T', '_').slice(0, 15)
}

export function sumsOf(written: readonly WrittenFile[]): Buffer {
  const lines = [...written]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, sha256 }) => `${sha256}  ${name}\n`)
  return Buffer.from(lines.join(''))
}
