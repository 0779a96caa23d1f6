import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type FinishedSummary, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { counted, formatBytes, formatDate } from '../format.ts'

interface Options {
  readonly within: string
  readonly stateFile?: string
}

export const scrubCommand: CommandModule = {
  name: 'scrub',
  register(program, context) {
    addCommand(program, {
      usage: 'scrub',
      topic: 'prove',
      summary: 'read the repository again, a part in each run',
      description:
        'Reads the packs that were not read for longest, so many that every byte is read again within the time, if a scrub runs several times in it. What was read when is noted in a file. Backups go on meanwhile. Exit code 1 says that the repository is damaged; packs that were not read in time are said in the result.\n\n' +
        'With --json: a finding object for each defect, then a summary with num_errors, packs, packs_read, bytes_read, packs_unread, packs_overdue, oldest.',
      examples: [{ run: 'holdfast scrub --within 30d', does: 'Every night: every byte within 30 days' }],
      exits: ['no-repository', 'locked', 'wrong-password'],
    })
      .option('--within <duration>', 'the time in which every byte is read again, as in 30d', '30d')
      .option('--state-file <file>', 'where it is noted (default: scrub.json in the state-dir of the config)')
      .action(context.action<Options>(scrubRepository))
  },
}

async function scrubRepository(invocation: Invocation<Options>): Promise<Outcome> {
  const { io, options, signal } = invocation
  const [{ scrub }, { approximateSeconds, parseDuration }, { findRepositoryConfig, repositoryAccess }] =
    await Promise.all([
      import('../../operations/scrub/scrub.ts'),
      import('../../application/config/duration.ts'),
      import('../repository-access.ts'),
    ])
  const duration = parseDuration(options.within)
  if ('problem' in duration) throw new CliError('USAGE', `Cannot use --within: ${duration.problem}`)
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const stateFile =
    options.stateFile === undefined
      ? config && join(config.stateDirectory, 'scrub.json')
      : resolve(io.cwd, options.stateFile)
  if (stateFile === undefined) {
    throw new CliError('USAGE', 'Cannot note what was read when: there is no config file with a state folder', {
      hint: 'Give --state-file',
    })
  }
  if (config && options.stateFile === undefined) await mkdir(config.stateDirectory, { recursive: true, mode: 0o700 })
  const observe = invocation.observe({ config, access, summarise: scrubLines })
  return (await scrub(access, { within: approximateSeconds(duration) * 1000, stateFile, observe, signal })).outcome
}

function scrubLines(summary: FinishedSummary): string[] {
  const { packs, packs_read, bytes_read, packs_unread, packs_overdue } = summary as Record<string, number>
  return [
    `Read ${packs_read} of ${counted(packs!, 'pack')}, ${formatBytes(bytes_read!)}`,
    ...(packs_unread! > 0 ? [`${counted(packs_unread!, 'pack')} not read yet since scrubs began`] : []),
    ...(packs_overdue! > 0 ? [`${counted(packs_overdue!, 'pack')} not read in time: scrub more often`] : []),
    ...(typeof summary.oldest === 'string'
      ? [`The pack that waits longest was read, or first seen, at ${formatDate(new Date(summary.oldest))}`]
      : []),
  ]
}
