import { resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Config } from '../../application/config/config.ts'
import type { RepositoryAccess } from '../../operations/access.ts'
import type { Outcome } from '../../operations/event.ts'
import type { DatabaseRescuePlan } from '../../operations/rescue/database-plan.ts'
import { canAsk, confirm, requireAnswers } from '../ask.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'

interface RescueOptions {
  readonly app?: string
  readonly yes: boolean
  readonly dryRun: boolean
  readonly rollback: boolean
  readonly anew: boolean
  /** Seconds. */
  readonly wait: number
}

interface DatabaseOptions extends RescueOptions {
  readonly prefer?: 'recovered' | 'snapshot'
}

const EXITS = ['no-repository', 'locked', 'wrong-password'] as const

export const rescueCommand: CommandModule = {
  name: 'rescue',
  register(program, context) {
    const rescue = addCommand(program, {
      usage: 'rescue',
      topic: 'restore',
      summary: 'help an application that is in trouble',
      description:
        'Looks first, says what it found and what it would do, and asks before it does it. Nothing is deleted: what is replaced is kept, and its place is said.\n\nWorks without a config, too: name the repository (-r), and the config is read out of the newest snapshot.',
      examples: [{ run: 'holdfast rescue database', does: 'A database is damaged' }],
      exits: EXITS,
    })
    const database = addCommand(rescue, {
      usage: 'database [path]',
      topic: 'restore',
      summary: 'put a sound database in the place of a damaged one',
      description:
        'Looks at the databases of the application through private copies, recovers what can be recovered of a damaged one, and counts it, table by table, against the newest snapshot with a sound copy. What loses fewer rows takes its place; --prefer overrides that. The application is stopped for it and started again, and asked how it is. The damaged file is only read. It is kept as NAME.corrupt-TIME, with the -wal, -shm and -journal beside it.\n\n' +
        'A sound database is compared as well: a write-ahead log that was lost shows only in rows that the snapshot has and the database lacks.\n\n' +
        'When the application is not healthy afterwards you are asked whether the original is to come back; with --rollback it does. A rescue that was cut off after the database was replaced goes on when it is run again.\n\n' +
        'With --json: a plan object, then step objects and a summary with database, trouble, used, tables, rows_lost, time_lost, original.',
      arguments: { path: 'the file of the database; without it all are looked at' },
      examples: [
        { run: 'holdfast rescue database --dry-run', does: 'Only look' },
        { run: 'holdfast rescue database /opt/app/data/auth.db --prefer snapshot', does: 'The copy of the snapshot' },
        { run: 'holdfast rescue database --yes --rollback', does: 'Unattended' },
        { run: 'holdfast -r /mnt/backup -p password rescue database', does: 'The config is gone' },
      ],
      exits: EXITS,
    })
    addRescueOptions(database)
      .addOption(new Option('--prefer <copy>', 'which copy takes its place').choices(['recovered', 'snapshot']))
      .action(context.action<DatabaseOptions>(rescueDatabaseHere))
  },
}

function addRescueOptions(command: Command): Command {
  return command
    .option('--app <name>', 'which application, where the repository holds several and there is no config')
    .option('-y, --yes', 'do not ask', false)
    .option('-n, --dry-run', 'only look, and say what would be done', false)
    .option('--rollback', 'when a step fails, put back what was there before', false)
    .option('--anew', 'do not go on with a rescue that was cut off, begin another', false)
    .option('--wait <seconds>', 'how long the application may take until it is healthy', parseSeconds, 60)
}

function parseSeconds(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Expected a number of seconds')
}

/** The config in force, or where there is none the one in the newest snapshot. */
async function surroundings(
  invocation: Invocation<RescueOptions>,
): Promise<{ readonly access: RepositoryAccess; readonly config: Config }> {
  const [{ findRepositoryConfig, repositoryAccess }, { configInRepository }] = await Promise.all([
    import('../repository-access.ts'),
    import('../../operations/rescue/config-in-repository.ts'),
  ])
  const found = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, found)
  if (found !== undefined) return { access, config: found }
  return { access, config: await configInRepository(access, invocation.options.app, invocation.signal) }
}

async function rescueDatabaseHere(invocation: Invocation<DatabaseOptions>): Promise<Outcome> {
  const { globals, io, operands, options, screen, signal, style } = invocation
  requireConsent(invocation)
  const { access, config } = await surroundings(invocation)
  const [{ planRescueDatabase, rescueDatabase }, { databasePlanJson, databasePlanLines, rescuedDatabaseLines }] =
    await Promise.all([import('../../operations/rescue/rescue-database.ts'), import('../rescue-text.ts')])
  const [path] = operands
  const request = {
    config,
    path: path === undefined ? undefined : resolve(io.cwd, path),
    prefer: options.prefer,
    anew: options.anew,
    signal,
  }
  const show = (plan: DatabaseRescuePlan) => {
    screen.live(undefined)
    if (globals.json) return screen.json(databasePlanJson(plan))
    const width = io.isTerminal('stdout') ? io.columns() : undefined
    screen.print(`${databasePlanLines(plan, { style, now: io.now(), width }).join('\n')}\n`)
  }
  if (options.dryRun) {
    show(await planRescueDatabase(access, request))
    if (!globals.json) screen.print('Nothing was changed: this was a dry run')
    return 'succeeded'
  }
  const { outcome } = await rescueDatabase(access, {
    ...request,
    withinMs: options.wait * 1000,
    rollback: options.rollback,
    confirm: async (plan) => {
      show(plan)
      return plan.steps.length === 0 || options.yes || confirm(invocation, 'Do this now?', false)
    },
    askRollback: rollbackAsker(invocation),
    observe: invocation.observe({ config, access, summarise: rescuedDatabaseLines }),
    signal,
  })
  return outcome === 'declined' ? 'interrupted' : outcome
}

function requireConsent(invocation: Invocation<RescueOptions>): void {
  const { yes, dryRun } = invocation.options
  if (yes || dryRun) return
  requireAnswers(invocation, 'whether this may be done', 'Add --yes to go ahead, or --dry-run to only look')
}

function rollbackAsker(invocation: Invocation<RescueOptions>): ((step: string) => Promise<boolean>) | undefined {
  if (invocation.options.yes || !canAsk(invocation)) return undefined
  return (step) => confirm(invocation, `"${step}" failed. Put back what was there before?`, false)
}
