import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandDescription, type CommandModule, collect, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { type LookOptions, lookAndHelp } from '../look-and-help.ts'
import { parseAt } from '../moment.ts'
import { type RecoveryOptions, recoverApplication } from '../recover-application.ts'
import { addServerOptions, addStepsOptions, waitOption } from '../recovery-options.ts'
import {
  type DatabaseOptions,
  type RescueOptions,
  type RestoringOptions,
  replaceDatabase,
  replaceKey,
  requireConsent,
  restartService,
  restorePart,
  surroundings,
} from '../rescue-application.ts'

interface ComponentOptions extends RestoringOptions {
  readonly install: boolean
}

interface SecretsOptions extends RestoringOptions {
  readonly all: boolean
  readonly compromised: boolean
  readonly seal: readonly string[]
}

type ServerOptions = Omit<RecoveryOptions, 'host' | 'tag'> & { readonly identity: readonly string[] }

const EXITS = ['no-repository', 'locked', 'wrong-password'] as const

const GOES_ON =
  'What it does is noted step by step. When it is cut off or a step fails, the same command goes on where it stopped. When the application is not healthy afterwards you are asked whether what was there before is to come back; with --rollback it does.'

export const rescueCommand: CommandModule = {
  name: 'rescue',
  register(program, context) {
    const rescue = addCommand(program, {
      usage: 'rescue',
      topic: 'restore',
      summary: 'help an application that is in trouble',
      description:
        'Alone, it looks: how the service is and what it said last, health, metrics, port, web server, room on the disks, databases (through private copies), secrets and the key that opens them, what was changed since the newest snapshot, the last deploy, the newest snapshot and the newest that is proven, what an earlier rescue left unfinished. It names what is wrong, most likely, and the smallest playbook that can help, as a command. On a terminal it shows the plan of that and asks; with --yes it does it. Else it only looks.\n\n' +
        'Each playbook is a command of its own, too. Each looks first, says what it found and what it would do, and asks before it does it. Nothing is deleted: what is replaced is kept, and its place is said.\n\n' +
        'Works without a config, too: name the repository (-r), and the config is read out of the newest snapshot. Journal and cache are not needed; without the repository, a restart is still possible.\n\n' +
        'Exit code 0: nothing seems to be wrong, or the playbook has helped; 1: something is wrong, and nothing was done or it did not help.\n\n' +
        'With --json: a look object with troubles and proposal; with --yes followed by what the playbook prints.',
      examples: [
        { run: 'holdfast rescue', does: 'Look, and help' },
        { run: 'holdfast rescue --dry-run -v', does: 'Only look, and see each changed file' },
        { run: 'holdfast -r /mnt/backup -p password rescue', does: 'The config is gone' },
        { run: 'holdfast rescue service', does: 'You know what it is: it is down' },
      ],
      exits: EXITS,
    })
      .option('--app <name>', 'which application, where the repository holds several and there is no config')
      .option('--identity <file>', 'a file with an age identity that opens the secrets (repeatable)', collect, [])
    addConsentOptions(rescue)
      .option('--rollback', 'when a step fails, put back what was there before', false)
      .addOption(waitOption())
      .hook('preSubcommand', handOn)
      .action(context.action<LookOptions>(lookAndHelp))
    const add = (description: Omit<CommandDescription, 'topic' | 'exits'>) =>
      addCommand(rescue, { ...description, topic: 'restore', exits: EXITS })

    addRescueOptions(
      add({
        usage: 'service',
        summary: 'restart the application, and see that it is healthy',
        description:
          'Stops it if it runs, starts it as the config says (systemd, PM2 or a command), waits until its health check passes, its log says what is expected and its metrics answer. Needs no repository. No file is touched.\n\n' +
          'Refused while a recovery or a rescue is not at its end, for the files may be half replaced. With --rollback, one that did not run before is stopped again when it is not healthy.\n\n' +
          'With --json: a plan object, then step objects and a summary with service, steps, checks.',
        examples: [
          { run: 'holdfast rescue service', does: 'Look, ask, restart' },
          { run: 'holdfast rescue service --yes --wait 120', does: 'Unattended, with more patience' },
        ],
      }),
    ).action(context.action<RescueOptions>(service))

    addRescueOptions(
      add({
        usage: 'database [path]',
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
      }),
    )
      .addOption(new Option('--prefer <copy>', 'which copy takes its place').choices(['recovered', 'snapshot']))
      .action(context.action<DatabaseOptions>(database))

    addRestoringOptions(
      add({
        usage: 'component <name...>',
        summary: 'roll back one component, or several, to a snapshot',
        description:
          'Each named component as it was in the newest snapshot that has all of them whole and is not known to be damaged; --snapshot and --at take another. The application is stopped, the components are staged beside their places, checked and put there in one step each, then it is started and asked how it is. What was there is kept as NAME.before-TIME. Units and sites are made known to systemd and nginx; a component of nginx alone stops nothing.\n\n' +
          `${GOES_ON}\n\n` +
          'The plan says which files change. When none does, it names the newest snapshot that has them otherwise. Only what the config of this machine names is replaced.\n\n' +
          'With --json: a plan object, then step objects and a summary with components, snapshot_id, steps, checks, kept.',
        arguments: { name: 'as the config names it: see `holdfast status`' },
        examples: [
          { run: 'holdfast rescue component config --dry-run', does: 'What would change' },
          { run: 'holdfast rescue component config nginx', does: 'A change of the configuration was bad' },
          { run: 'holdfast rescue component code --install --at "2026-11-01 14:30"', does: 'A deploy was bad' },
          { run: 'holdfast rescue component data --yes --rollback', does: 'Unattended' },
        ],
      }),
    )
      .option('--install', 'also run the install and build commands of the config', false)
      .option('--without-secrets', 'go on when the secrets cannot be unsealed; the live ones stay', false)
      .action(context.action<ComponentOptions>(component))

    addRestoringOptions(
      add({
        usage: 'secrets',
        summary: 'bring lost secrets back, or replace a key that others have',
        description:
          'Unseals the secrets of the newest snapshot that holds any and puts back those that are missing; of other files nothing. With --all every secret comes back as the snapshot has it, also those that were replaced since. Needs the private key: in the keyring (gpg), or named with --identity (age). The application is stopped for it, started again and asked how it is. What was there is kept as NAME.before-TIME, closed to others like the secrets themselves; remove it once all is well.\n\n' +
          `${GOES_ON}\n\n` +
          'With --compromised, for when the private key may be known to others: which secrets it opens, which snapshots are sealed for it, and what you replace, in which order. With --seal it also seals for other keys from now on: the config names them in the place of those that it named, its old text is kept, and a backup is made. --seal names all who are to open the secrets; public keys, as seal in the config.\n\n' +
          'With --json: a plan object, then step objects and a summary; with --compromised the plan has old_recipients, secrets, sealed_to_old, rotation.',
        examples: [
          { run: 'holdfast rescue secrets --dry-run', does: 'What would come back, and whether the key opens it' },
          { run: 'holdfast rescue secrets --identity age-identity.txt', does: 'With an age key' },
          { run: 'holdfast rescue secrets --compromised', does: 'Others may have the key: what follows from that' },
          {
            run: 'holdfast rescue secrets --compromised --seal gpg:/etc/holdfast/new.asc',
            does: 'And seal for a new one from now on',
          },
        ],
      }),
    )
      .option('--all', 'every secret, not only those that are missing', false)
      .option('--compromised', 'the private key may be known to others: say what to replace', false)
      .option('--seal <key>', 'with --compromised: whom to seal for from now on (repeatable)', collect, [])
      .action(context.action<SecretsOptions>(secrets))

    const server = addCommand(rescue, {
      usage: 'server [snapshot]',
      topic: 'restore',
      summary: 'recover all of it, on this machine or a new one',
      description:
        'The same as `holdfast restore --full`: everything from the repository, its password and the unsealing key; `holdfast restore --help` says more.',
      arguments: { snapshot: 'latest (the default), or the beginning of an ID' },
      examples: [
        {
          run: 'holdfast -r /mnt/backup -p password rescue server --dry-run',
          does: 'The plan, and what is missing here',
        },
        { run: 'holdfast -r /mnt/backup -p password rescue server --create-user', does: 'On a new machine' },
      ],
      exits: ['incomplete', ...EXITS],
    })
    addServerOptions(server)
      .option('--at <date>', 'the newest snapshot that is not newer, as in 2026-11-01 or "2026-11-01 14:30"', parseAt)
      .option('--identity <file>', 'a file with an age identity that opens the secrets (repeatable)', collect, [])
      .option('--without-secrets', 'go on when the secrets cannot be unsealed; the live ones stay', false)
      .option('--verify', 'read every restored file again and compare it', false)
    addConsentOptions(addStepsOptions(server)).action(context.action<ServerOptions>(recover))
  },
}

/** Options that both know are taken by the outer one, wherever they stand. */
function handOn(rescue: Command, playbook: Command): void {
  for (const { long, attributeName } of given(rescue)) {
    if (playbook.options.every((option) => option.attributeName() !== attributeName)) {
      throw new CliError('USAGE', `rescue ${playbook.name()} has no option ${long}`, {
        hint: `Run holdfast rescue ${playbook.name()} --help`,
      })
    }
    playbook.setOptionValueWithSource(attributeName, rescue.getOptionValue(attributeName), 'cli')
  }
}

function given(command: Command) {
  return command.options
    .map((option) => ({ long: option.long, attributeName: option.attributeName() }))
    .filter(({ attributeName }) => command.getOptionValueSource(attributeName) === 'cli')
}

function addConsentOptions(command: Command): Command {
  return command
    .option('-y, --yes', 'do not ask', false)
    .option('-n, --dry-run', 'only look, and say what would be done', false)
}

function addRescueOptions(command: Command): Command {
  command.option('--app <name>', 'which application, where the repository holds several and there is no config')
  return addStepsOptions(addConsentOptions(command))
}

function addRestoringOptions(command: Command): Command {
  return addRescueOptions(command)
    .option('--snapshot <id>', 'from this one, by the beginning of its ID')
    .option('--at <date>', 'from the newest that is not newer, as in 2026-11-01 or "2026-11-01 14:30"', parseAt)
    .option('--identity <file>', 'a file with an age identity that opens the secrets (repeatable)', collect, [])
}

async function service(invocation: Invocation<RescueOptions>): Promise<Outcome> {
  requireConsent(invocation)
  return restartService(invocation, await surroundings(invocation))
}

async function database(invocation: Invocation<DatabaseOptions>): Promise<Outcome> {
  requireConsent(invocation)
  const [path] = invocation.operands
  const absolute = path === undefined ? undefined : resolve(invocation.io.cwd, path)
  return replaceDatabase(invocation, await surroundings(invocation), absolute)
}

async function component(invocation: Invocation<ComponentOptions>): Promise<Outcome> {
  requireConsent(invocation)
  const { operands: names, options } = invocation
  const part = { kind: 'components', names: [...new Set(names)], install: options.install } as const
  return restorePart(invocation, await surroundings(invocation), part)
}

async function secrets(invocation: Invocation<SecretsOptions>): Promise<Outcome> {
  const { all, compromised, seal, snapshot, at, identity } = invocation.options
  if (seal.length > 0 && !compromised) {
    throw new CliError('USAGE', 'Cannot use --seal without --compromised', {
      hint: 'For another key in quiet times: put it into seal in the config, and back up',
    })
  }
  if (compromised) {
    if (all || snapshot !== undefined || at !== undefined || identity.length > 0) {
      throw new CliError('USAGE', 'Cannot use --all, --snapshot, --at or --identity with --compromised', {
        hint: 'It brings nothing back',
      })
    }
    if (seal.length > 0) requireConsent(invocation)
    return replaceKey(invocation, await surroundings(invocation))
  }
  requireConsent(invocation)
  const which = all ? 'all' : 'missing'
  return restorePart(invocation, await surroundings(invocation), { kind: 'secrets', which })
}

async function recover(invocation: Invocation<ServerOptions>): Promise<Outcome> {
  const { io, operands, options } = invocation
  const identities = options.identity.map((file) => resolve(io.cwd, file))
  return recoverApplication({ ...invocation, options: { ...options, host: [], tag: [] } }, operands[0], identities)
}
