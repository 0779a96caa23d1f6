import { once } from 'node:events'
import { resolve } from 'node:path'
import type { Writable } from 'node:stream'
import { addCommand, type CommandModule, collect, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { formatBytes } from '../format.ts'
import {
  addSnapshotOptions,
  SNAPSHOT_ARGUMENT,
  type SnapshotOptions,
  snapshotChoice,
  splitOperands,
} from '../snapshot-options.ts'

interface Options extends SnapshotOptions {
  readonly target?: string
}

export const dumpCommand: CommandModule = {
  name: 'dump',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'dump [snapshot] [file]',
      topic: 'restore',
      summary: 'write one file of a snapshot to standard output',
      description:
        'Every byte is held against its hash before it is written. The file is named as it lies in the snapshot, with its absolute path.',
      arguments: { snapshot: SNAPSHOT_ARGUMENT, file: 'absolute path of a file in the snapshot' },
      examples: [
        { run: 'holdfast dump latest /opt/app/config/bot.json', does: 'Look at a file' },
        {
          run: 'holdfast dump /.holdfast/secrets.tar.gz.gpg | gpg --decrypt | tar -tz',
          does: 'List the sealed secrets, with the private key at hand',
        },
        { run: 'holdfast dump --at 2026-11-01 /opt/app/data/auth.db --target old.db', does: 'A database as it was' },
      ],
      exits: ['no-repository', 'locked', 'wrong-password'],
    })
    addSnapshotOptions(command)
      .option('--path <path>', 'only snapshots that name this path count as the latest (repeatable)', collect, [])
      .option('--target <file>', 'write into this file, for its owner only, instead')
      .action(context.action<Options>(dump))
  },
}

async function dump(invocation: Invocation<Options>): Promise<void> {
  const { io, options, screen, signal } = invocation
  const { name, paths } = splitOperands(invocation.operands)
  const [path] = paths
  if (path === undefined) {
    throw new CliError('USAGE', 'Cannot dump: no file is named', {
      hint: 'Name it with its absolute path, as `holdfast ls` shows it',
    })
  }
  const [{ dumpFile }, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
    import('../../operations/browse/dump-file.ts'),
    import('../repository-access.ts'),
  ])
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const what = { choice: await snapshotChoice(name, options, config), path, signal }
  screen.giveOutputToData()
  if (options.target === undefined) {
    await dumpFile(access, what, (bytes) => write(io.stdout, bytes, signal))
    return
  }
  const { openPrivateFile } = await import('../private-file.ts')
  const target = resolve(io.cwd, options.target)
  await using file = await openPrivateFile(target)
  const { bytes } = await dumpFile(access, what, (piece) => file.write(piece))
  await file.publish()
  screen.say(`Wrote ${formatBytes(bytes)} to ${target}`)
}

async function write(stream: Writable, bytes: Buffer, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  if (!stream.write(bytes)) await once(stream, 'drain', { signal })
}
