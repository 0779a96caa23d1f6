import type { Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import type { RepositoryAccess } from '../access.ts'

/** What each check can find. Programs match these codes, and the tests bring about and put right every one of them. */
export const CODES = {
  config: ['config-invalid', 'permission-denied'],
  repository: [
    'permission-denied',
    'password-missing',
    'password-wrong',
    'repository-missing',
    'repository-closed',
    'repository-unreachable',
  ],
  storage: ['repository-not-writable', 'clock-off', 'snapshot-in-future', 'space-short'],
  locks: ['lock-stale'],
  permissions: ['not-private', 'foreign-owner'],
  folders: ['folder-missing', 'folder-not-writable', 'work-space-short'],
  journal: ['journal-damaged', 'journal-unusable'],
  components: ['component-missing', 'component-empty', 'permission-denied'],
  coverage: ['not-covered', 'root-missing'],
  databases: ['database-malformed'],
  keys: [
    'no-recipient',
    'key-missing',
    'key-expired',
    'key-expires',
    'key-untrusted',
    'private-key-here',
    'no-secret-key',
    'tool-missing',
  ],
  schedule: ['schedule-missing', 'schedule-stopped', 'backup-late'],
  notify: ['notify-unset', 'notify-unsupported', 'notify-failed', 'tool-missing'],
  'off-site': ['credentials-missing'],
  tools: ['tool-missing'],
  sqlite: ['sqlite-bug'],
} as const satisfies Readonly<Record<string, readonly string[]>>

export type CheckName = keyof typeof CODES
export const CHECK_NAMES = Object.keys(CODES) as readonly CheckName[]

/** What can be put right without asking: plain data, shown before it is done. */
export type Fix =
  | { readonly kind: 'chmod'; readonly path: string; readonly mode: number }
  /** Takes away what others than the owner may do, of the path and of everything below it. */
  | { readonly kind: 'close'; readonly path: string }
  | { readonly kind: 'mkdir'; readonly path: string }
  /** Removes locks of processes that are no more. */
  | { readonly kind: 'unlock' }

export interface DoctorFinding extends Finding {
  /** The check that found it. */
  readonly check: CheckName
  readonly code: (typeof CODES)[CheckName][number]
  /** What puts it right, to be copied: a command, or what to change where. */
  readonly remedy: { readonly kind: 'command' | 'edit'; readonly text: string }
  readonly fix?: Fix
}

/** A finding of one check, which needs not name itself in each. */
export type Found<Check extends CheckName> = Omit<DoctorFinding, 'check' | 'code'> & {
  readonly code: (typeof CODES)[Check][number]
}

export interface DoctorContext {
  readonly config: Config
  readonly access: RepositoryAccess
  readonly env: Readonly<Record<string, string | undefined>>
  readonly home: string
  /** Where the host's own files begin. */
  readonly hostRoot: string
  readonly now: () => Date
  /** How Holdfast is called here, as a word of a shell command. */
  readonly program: string
  /** This machine is to recover the application, not to back it up: here the private key is wanted. */
  readonly recovery: boolean
  readonly signal: AbortSignal
}

/** One idea each. Looks, and changes nothing but a file of its own that it removes again; what it finds it says how to put right. */
export interface DoctorCheck<Check extends CheckName = CheckName> {
  readonly name: Check
  readonly title: string
  run(context: DoctorContext): Promise<readonly Found<Check>[]>
}

export function command(text: string): DoctorFinding['remedy'] {
  return { kind: 'command', text }
}

export function edit(text: string): DoctorFinding['remedy'] {
  return { kind: 'edit', text }
}

/** A word of a shell command, quoted where it must be. */
export function word(text: string): string {
  return /^[A-Za-z0-9_./@:+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

/** `holdfast VERB --config FILE`, from wherever it is called. */
export function holdfast({ program, config }: Pick<DoctorContext, 'program' | 'config'>, verb: string): string {
  return `${program} ${verb} --config ${word(config.file)}`
}

export function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 1024 / 1024)} MiB`
}
