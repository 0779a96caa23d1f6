import type { Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import type { RepositoryAccess } from '../access.ts'

/** What can be put right without asking: plain data, shown before it is done. */
export type Fix =
  | { readonly kind: 'chmod'; readonly path: string; readonly mode: number }
  | { readonly kind: 'mkdir'; readonly path: string }
  /** Removes locks of processes that are no more. */
  | { readonly kind: 'unlock' }

export interface DoctorFinding extends Finding {
  /** The check that found it. */
  readonly check: string
  /** What puts it right, to be copied: a command, or what to change where. */
  readonly remedy: { readonly kind: 'command' | 'edit'; readonly text: string }
  readonly fix?: Fix
}

export interface DoctorContext {
  readonly config: Config
  readonly access: RepositoryAccess
  readonly env: Readonly<Record<string, string | undefined>>
  readonly home: string
  /** Where the host's own files begin. */
  readonly hostRoot: string
  readonly now: Date
  /** How Holdfast is called here, as a word of a shell command. */
  readonly program: string
  /** This machine is to recover the application, not to back it up: here the private key is wanted. */
  readonly recovery: boolean
  readonly signal: AbortSignal
}

/** One idea each. Looks, and changes nothing but a file of its own that it removes again; what it finds it says how to put right. */
export interface DoctorCheck {
  readonly name: string
  readonly title: string
  run(context: DoctorContext): Promise<readonly Omit<DoctorFinding, 'check'>[]>
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
