import type { Command } from 'commander'
import type { Config } from '../application/config/config.ts'
import type { SnapshotChoice } from '../operations/restore/snapshot-choice.ts'
import { collect } from './command.ts'
import { CliError } from './error.ts'
import { parseAt } from './moment.ts'

/** Options that say which snapshot is the latest. */
export interface SnapshotOptions {
  readonly at?: bigint
  readonly host: readonly string[]
  readonly tag: readonly (readonly string[])[]
  /** Of commands where it has restic's meaning: snapshots that name the path. */
  readonly path?: readonly string[]
}

/** What the page of a command says about the name of a snapshot. */
export const SNAPSHOT_ARGUMENT = 'latest (the default), or the beginning of an ID'

export const SUBFOLDER_ARGUMENT = `${SNAPSHOT_ARGUMENT}, or either with :/folder`

export function addSnapshotOptions(command: Command): Command {
  return command
    .option('--at <date>', 'the newest snapshot that is not newer, as in 2026-11-01 or "2026-11-01 14:30"', parseAt)
    .option('-H, --host <host>', 'only snapshots of this host count as the latest (repeatable)', collect, [])
    .option('--tag <tag>', 'only those with this tag, or all of a comma list (repeatable)', collectTags, [])
}

/** `--tag a,b --tag c`: a and b, or c. */
export function collectTags(value: string, previous: readonly (readonly string[])[]): (readonly string[])[] {
  return [...previous, value.split(',').map((tag) => tag.trim())]
}

/** For options that take a list with commas, and several times: `--component config,data --component pm2`. */
export function collectList(value: string, previous: readonly string[]): string[] {
  return [
    ...previous,
    ...value
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== ''),
  ]
}

/**
 * Which snapshot a command line means: one of the application where there is a config, else one of the whole repository.
 * Throws `USAGE` for an ID together with options that look for one.
 */
export async function snapshotChoice(
  name: string | undefined,
  { at, host, tag, path = [] }: SnapshotOptions,
  config: Config | undefined,
): Promise<SnapshotChoice> {
  const filtered = host.length > 0 || tag.length > 0 || path.length > 0
  if (name !== undefined && name !== 'latest' && (at !== undefined || filtered)) {
    throw new CliError('USAGE', `Cannot look for a snapshot when its ID is given (${name})`, {
      hint: 'Leave out the ID, or --at, --host, --tag and --path',
    })
  }
  const when = at === undefined ? {} : { notAfter: at }
  const chosen = { name: name ?? 'latest', ...when }
  if (config === undefined) return { ...chosen, filter: { hosts: host, tags: tag, paths: path } }
  if (!filtered) return { ...chosen, app: config.app }
  const { appTag } = await import('../operations/app-snapshots.ts')
  const own = appTag(config.app)
  const tags = tag.length === 0 ? [[own]] : tag.map((list) => [...list, own])
  return { ...chosen, filter: { hosts: host, tags, paths: path } }
}

/** A snapshot is never named like a path: `ls /etc` means the latest. */
export function splitOperands(operands: readonly string[]): { name: string | undefined; paths: readonly string[] } {
  const [first, ...rest] = operands
  return first === undefined || first.startsWith('/')
    ? { name: undefined, paths: operands }
    : { name: first, paths: rest }
}

/** restic's `SNAPSHOT:/folder`. */
export function splitSubfolder(text: string | undefined): { name: string | undefined; subfolder: string | undefined } {
  const [, name, subfolder] = /^([^:]*):(.+)$/s.exec(text ?? '') ?? []
  return subfolder === undefined ? { name: text, subfolder: undefined } : { name: name || undefined, subfolder }
}
