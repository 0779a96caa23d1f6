import type { Command } from 'commander'
import type { SnapshotFilter } from '../engine/repository/snapshots.ts'
import { collect } from './command.ts'
import { CliError } from './error.ts'
import { collectTags } from './snapshot-options.ts'

/** Options that say which snapshots a command works on. */
export interface SnapshotFilterOptions {
  readonly host: readonly string[]
  readonly tag: readonly (readonly string[])[]
  readonly path: readonly string[]
}

/** @param hostFlag of `forget`, where `-H` means something else */
export function addSnapshotFilterOptions(command: Command, hostFlag = '-H, --host <host>'): Command {
  return command
    .option(hostFlag, 'only snapshots of this host (repeatable)', collect, [])
    .option('--tag <tag>', 'only those with this tag, or all of a comma list (repeatable)', collectTags, [])
    .option('--path <path>', 'only those that name this path (repeatable)', collect, [])
}

export function snapshotFilter({ host, tag, path }: SnapshotFilterOptions): SnapshotFilter {
  return { hosts: host, tags: tag, paths: path }
}

/** Throws `USAGE` for IDs together with a filter, which would be passed over in silence; `latest` is looked for with it. */
export function refuseFilteredIds(names: readonly string[], { host, tag, path }: SnapshotFilterOptions): void {
  const id = names.find((name) => name !== 'latest')
  if (id === undefined || host.length + tag.length + path.length === 0) return
  throw new CliError('USAGE', `Cannot filter snapshots when an ID is given (${id})`, {
    hint: 'Leave out the ID, or --host, --tag and --path',
  })
}
