import { resolve } from 'node:path'
import { Option } from 'commander'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, collect, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { formatBytes } from '../format.ts'
import {
  addSnapshotOptions,
  type SnapshotOptions,
  SUBFOLDER_ARGUMENT,
  snapshotChoice,
  splitOperands,
  splitSubfolder,
} from '../snapshot-options.ts'
import { unreadable } from '../unreadable.ts'
import { writeOutput } from '../write-output.ts'

interface Options extends SnapshotOptions {
  readonly target?: string
  readonly archive: 'tar' | 'zip'
}

export const dumpCommand: CommandModule = {
  name: 'dump',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'dump [snapshot] [file]',
      topic: 'restore',
      summary: 'write a file of a snapshot, or a folder as an archive, to standard output',
      description:
        'Every byte is held against its hash before it is written. The file is named as it lies in the snapshot, with its absolute path.\n\n' +
        'Of a folder an archive is written, whose names begin at the root of the snapshot; of SNAPSHOT:/folder they begin at the folder. A tar archive has owners, modes, times, hard links, devices and extended attributes (tar --xattrs --acls brings those back); a zip archive has names, modes and symbolic links. What cannot be read is left out and reported, and the exit code is 3.',
      arguments: {
        snapshot: SUBFOLDER_ARGUMENT,
        file: 'absolute path of a file or folder in the snapshot; / is all of it',
      },
      examples: [
        { run: 'holdfast dump latest /opt/app/config/bot.json', does: 'Look at a file' },
        {
          run: 'holdfast dump /.holdfast/secrets.tar.gz.gpg | gpg --decrypt | tar -tz',
          does: 'List the sealed secrets, with the private key at hand',
        },
        { run: 'holdfast dump --at 2026-11-01 /opt/app/data/auth.db --target old.db', does: 'A database as it was' },
        { run: 'holdfast dump latest:/opt/app / | tar -x -C /tmp/app', does: 'A folder, unpacked' },
        { run: 'holdfast dump --archive zip --target config.zip /opt/app/config', does: 'For those who have no tar' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
    addSnapshotOptions(command)
      .option('--path <path>', 'only snapshots that name this path count as the latest (repeatable)', collect, [])
      .addOption(new Option('-a, --archive <format>', 'of a folder').choices(['tar', 'zip']).default('tar'))
      .option('-t, --target <file>', 'write into this file, for its owner only, instead')
      .action(context.action<Options>(dump))
  },
}

async function dump(invocation: Invocation<Options>): Promise<Outcome> {
  const { io, options, screen, signal } = invocation
  const { name: operand, paths } = splitOperands(invocation.operands)
  const { name, subfolder } = splitSubfolder(operand)
  const [path] = paths
  if (path === undefined) {
    throw new CliError('USAGE', 'Cannot dump: no file is named', {
      hint: 'Name it with its absolute path, as `holdfast ls` shows it; / is all of the snapshot',
    })
  }
  const [{ dumpFile }, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
    import('../../operations/browse/dump-file.ts'),
    import('../repository-access.ts'),
  ])
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const what = {
    choice: await snapshotChoice(name, options, config),
    subfolder,
    path,
    archive: options.archive,
    onArchive() {
      if (options.target !== undefined || !io.isTerminal('stdout')) return
      throw new CliError('USAGE', `Cannot write a ${options.archive} archive to a terminal`, {
        hint: 'Redirect standard output, or name a file with --target',
      })
    },
    onLeftOut: (message: string) => invocation.complain(unreadable(message)),
    signal,
  }
  screen.giveOutputToData()
  if (options.target === undefined) {
    const { leftOut } = await dumpFile(access, what, (bytes) => writeOutput(io.stdout, bytes, signal))
    return leftOut > 0 ? 'incomplete' : 'succeeded'
  }
  const { openPrivateFile } = await import('../private-file.ts')
  const target = resolve(io.cwd, options.target)
  await using file = await openPrivateFile(target)
  const { bytes, leftOut } = await dumpFile(access, what, (piece) => file.write(piece))
  await file.publish()
  screen.say(`Wrote ${formatBytes(bytes)} to ${target}`)
  return leftOut > 0 ? 'incomplete' : 'succeeded'
}
