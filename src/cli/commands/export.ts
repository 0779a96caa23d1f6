import { resolve } from 'node:path'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type FinishedSummary, type Invocation } from '../command.ts'
import { counted, formatBytes, shortId } from '../format.ts'
import { addSnapshotOptions, SNAPSHOT_ARGUMENT, type SnapshotOptions, snapshotChoice } from '../snapshot-options.ts'
import { escapeText } from '../terminal-text.ts'

interface Options extends SnapshotOptions {
  readonly replace: boolean
}

export const exportCommand: CommandModule = {
  name: 'export',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'export <snapshot> <dir>',
      topic: 'restore',
      summary: 'write a snapshot as archives that tar, gpg and sha256sum open',
      description:
        'The layout of a backup made by hand: NAME.tar.gz for each component, each database once more as NAME.backup, the sealed secrets as they are, the process manager’s file, the unit and nginx-SITE.conf, MANIFEST.txt with the commands that restore it, and SHA256SUMS, signed where the config names a key (sign).\n\n' +
        'The folder (0700, its files 0600) has its name when all of it is written. One that is there is not touched; an earlier export is replaced with --replace. Secrets stay sealed: no key is needed. Extended attributes and ACLs are in the archives; tar restores them with --xattrs and --acls.\n\n' +
        'With --json: finding objects and a summary with snapshot_id, directory, files, bytes, signed_by.',
      arguments: { snapshot: SNAPSHOT_ARGUMENT.replace(' (the default)', ''), dir: 'a folder that is new or empty' },
      examples: [
        { run: 'holdfast export latest /mnt/usb/20261127', does: 'Onto another disk' },
        { run: 'holdfast export 3f2a90c1 /tmp/export --replace', does: 'In the place of an earlier export' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
    addSnapshotOptions(command)
      .option('--replace', 'put it in the place of an earlier export', false)
      .action(context.action<Options>(exportTo))
  },
}

async function exportTo(invocation: Invocation<Options>): Promise<Outcome> {
  const { io, operands, options, signal } = invocation
  const [{ exportSnapshot }, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
    import('../../operations/interop/export-snapshot.ts'),
    import('../repository-access.ts'),
  ])
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const { outcome } = await exportSnapshot(access, {
    choice: await snapshotChoice(operands[0], options, config),
    directory: resolve(io.cwd, operands[1]!),
    replace: options.replace,
    config,
    observe: invocation.observe({ config, access, summarise }),
    signal,
  })
  return outcome
}

function summarise(summary: FinishedSummary): string[] {
  const { snapshot_id, directory, files, bytes, signed_by } = summary as {
    snapshot_id: string
    directory: string
    files: readonly string[]
    bytes: number
    signed_by: string | null
  }
  return [
    `Exported snapshot ${shortId(snapshot_id)} to ${escapeText(directory)}`,
    `${counted(files.length, 'file')}, ${formatBytes(bytes)}: ${escapeText(files.join(', '))}`,
    signed_by === null
      ? 'Checksums in SHA256SUMS, not signed: the config names no key with sign, or it could not be used'
      : `Checksums in SHA256SUMS, signed by ${signed_by}`,
    'MANIFEST.txt says how it is restored',
  ]
}
