import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type FinishedSummary, type Invocation } from '../command.ts'
import { counted, formatCount, shortId } from '../format.ts'
import { parseAt } from '../moment.ts'
import { SNAPSHOT_ARGUMENT, snapshotChoice } from '../snapshot-options.ts'

interface Options {
  readonly at?: bigint
  readonly readData: boolean
}

export const verifyCommand: CommandModule = {
  name: 'verify',
  register(program, context) {
    addCommand(program, {
      usage: 'verify [snapshot]',
      topic: 'prove',
      summary: 'verify that a snapshot of the application can be relied on',
      description:
        'Beyond the structure of what is stored: the manifest is held against the snapshot and its signature checked, every database is restored to a private folder and opened, seals are read (and opened where a key is at hand), sizes are compared with those of the last snapshots.\n\n' +
        'Exit code 1: something is wrong with it. Exit code 3: what it holds is good, but its backup was incomplete.\n\n' +
        'With --json: finding objects, then a summary with snapshot_id, databases_opened, sealed_archives, signature (valid, invalid, unchecked, none), errors, warnings.',
      arguments: { snapshot: SNAPSHOT_ARGUMENT },
      examples: [
        { run: 'holdfast verify', does: 'The latest snapshot' },
        { run: 'holdfast verify --read-data', does: 'And every byte of the repository' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
      .option('--at <date>', 'the newest snapshot that is not newer, as in 2026-11-01 or "2026-11-01 14:30"', parseAt)
      .option('--read-data', 'read every byte of the repository again first', false)
      .action(context.action<Options>(verify))
  },
}

async function verify(invocation: Invocation<Options>): Promise<Outcome> {
  const { operands, options, signal } = invocation
  const [{ verifyApplication }, { repositoryAccess, requireConfig }] = await Promise.all([
    import('../../operations/verify/verify-application.ts'),
    import('../repository-access.ts'),
  ])
  const config = await requireConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const choice = await snapshotChoice(operands[0], { ...options, host: [], tag: [] }, config)
  const observe = invocation.observe({ config, access, summarise })
  return (await verifyApplication(access, { config, choice, readData: options.readData, observe, signal })).outcome
}

const SIGNATURES: Readonly<Record<string, string>> = { valid: 'valid', invalid: 'INVALID', none: 'none' }

function summarise(summary: FinishedSummary): string[] {
  const { snapshot_id, databases_opened, sealed_archives, signature } = summary as {
    snapshot_id: string
    databases_opened: number
    sealed_archives: number
    signature: string
  }
  return [
    `Snapshot   ${shortId(snapshot_id)}`,
    `Databases  ${formatCount(databases_opened)} restored and opened`,
    `Seals      ${counted(sealed_archives, 'archive')} read`,
    `Signature  ${SIGNATURES[signature] ?? signature}`,
  ]
}
