import { resolve } from 'node:path'
import { InvalidArgumentError, Option } from 'commander'
import type { Config } from '../../application/config/config.ts'
import type { ServiceSpec } from '../../application/host/service.ts'
import type { Overwrite } from '../../engine/restorer/restore.ts'
import type { RepositoryAccess } from '../../operations/access.ts'
import type { Outcome } from '../../operations/event.ts'
import type { InPlacePlan } from '../../operations/restore/plan-in-place.ts'
import type { SnapshotChoice } from '../../operations/restore/snapshot-choice.ts'
import { confirm, requireAnswers } from '../ask.ts'
import { addCommand, type CommandModule, collect, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { type RecoveryOptions, recoverApplication } from '../recover-application.ts'
import { addServerOptions, addStepsOptions } from '../recovery-options.ts'
import { addSnapshotOptions, collectList, snapshotChoice, splitSubfolder } from '../snapshot-options.ts'

interface Options extends RecoveryOptions {
  readonly full: boolean
  readonly target?: string
  readonly include: readonly string[]
  readonly component: readonly string[]
  readonly numericOwner: boolean
  readonly delta: boolean
  readonly overwrite: Overwrite
  readonly stop: readonly ServiceSpec[]
  readonly identity: readonly string[]
  readonly unseal: boolean
  readonly discardBefore: boolean
  readonly beyondConfig: boolean
  readonly hostRoot?: string
}

export const restoreCommand: CommandModule = {
  name: 'restore',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'restore [snapshot]',
      topic: 'restore',
      summary: 'bring a snapshot back, in place, into a folder, or a whole server',
      description:
        'With --target: into a folder of its own, where everything lies at its absolute path; of SNAPSHOT:/folder, what is in the folder lies directly in the target. What is there and not in the snapshot stays. With --delta what is there is compared, byte by byte, and only what differs is read from the repository; --overwrite if-changed takes files of the same size and modification time for unchanged.\n\n' +
        'Without --target, in place: everything is staged beside the live files, databases are opened and checked, and only then both change places. What was there is kept as NAME.before-TIME. The plan is shown first and asked about. A database that a process has open is not replaced unless --stop names the service to stop; one that was running is started again afterwards. Only paths that the config names are replaced, unless --beyond-config says otherwise: a snapshot says itself what it wants to replace. When anything cannot be brought back whole, nothing is changed.\n\n' +
        'With --full, a whole server: from the repository, its password and the unsealing key alone. The config is read out of the snapshot; files, owners, service unit, web server, dependencies, start and health checks follow in steps. What is missing on the machine is said first, with the command that installs it. A recovery that fails or is cut off goes on where it stopped when it is run again. Commands that are run and paths that are replaced come from the snapshot, so from whoever can write to the repository: the plan shows them all, and --yes agrees to all of them unseen. --config brings a config of your own instead.\n\n' +
        'Secrets are unsealed with the private key on this machine (gpg), or with --identity (age). Without one, --target leaves them sealed (exit code 3) and in place refuses.\n\n' +
        'With --json: in place a plan object, then status and finding objects and a summary with snapshot_id, files_restored, bytes_restored, secrets_unsealed, kept. In place it needs --yes or --dry-run.',
      arguments: { snapshot: 'latest (the default), the beginning of an ID, or either with :/folder' },
      examples: [
        { run: 'holdfast restore --target /tmp/restore-test --verify', does: 'Try it out' },
        { run: 'holdfast restore --target /srv/standby --delta', does: 'Bring a copy up to date' },
        { run: 'holdfast restore --dry-run', does: 'What a restore in place would do' },
        { run: 'holdfast restore --component data --stop pm2:my-app', does: 'One component, in place' },
        { run: 'holdfast restore --at 2026-11-01 --path /opt/app/config/bot.json', does: 'One file as it was' },
        { run: 'holdfast -r /mnt/backup -p password restore --full', does: 'A whole server, on a new machine' },
        {
          run: 'holdfast -r /mnt/backup -p password restore --full --yes --create-user --rollback',
          does: 'The same unattended',
        },
        {
          run: 'holdfast -r /mnt/backup -p password restore --full --map root=/srv/app --map user=app2 --map port=3000:3100 --dry-run',
          does: 'What it would be in another place',
        },
        { run: 'holdfast -r /srv/backup restore latest:/etc --target /tmp/etc', does: 'A folder, without a config' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
    addSnapshotOptions(command)
      .option('-t, --target <dir>', 'restore into this folder instead of in place')
      .option('-i, --include <path>', 'only this absolute path (repeatable)', collect, [])
      .option('--path <path>', 'the same as --include', collect, [])
      .option('--component <names>', 'only these components, with commas (repeatable)', collectList, [])
      .option('-y, --yes', 'in place: do not ask', false)
      .option('--dry-run', 'in place: show the plan, and change nothing', false)
      .option('--verify', 'read every restored file again and compare it', false)
      .option('--delta', 'with --target: take what is right already from the files that are there', false)
      .addOption(
        new Option('--overwrite <which>', 'with --target: which of the files that are there may be replaced')
          .choices(['always', 'if-changed', 'if-newer', 'never'])
          .default('always'),
      )
      .option('--numeric-owner', 'owners by number, also where an account of the stored name exists', false)
      .option(
        '--stop <service>',
        'in place: stop pm2:NAME or systemd:UNIT for the swap (repeatable)',
        collectService,
        [],
      )
      .option('--identity <file>', 'a file with an age identity that opens the secrets (repeatable)', collect, [])
      .option('--no-unseal', 'with --target: leave the secrets sealed')
      .option('--without-secrets', 'in place: go on when the secrets cannot be unsealed; the live ones stay', false)
      .option('--discard-before', 'in place: remove what was there once all is in place', false)
      .option('--beyond-config', 'in place: also paths that the snapshot names and the config does not', false)
      .option('--host-root <dir>', "in place: where the host's own files begin (default: /)")
      .option('--full', 'recover a whole server: files, accounts, unit, web server, start, health', false)
    addServerOptions(command, '--full: ')
    addStepsOptions(command, '--full: ').action(context.action<Options & { path: readonly string[] }>(restore))
  },
}

function collectService(text: string, previous: readonly ServiceSpec[]): ServiceSpec[] {
  if (/^(pm2|systemd):./.test(text)) return [...previous, text as ServiceSpec]
  throw new InvalidArgumentError('Expected pm2:NAME or systemd:UNIT')
}

async function restore(invocation: Invocation<Options & { path: readonly string[] }>): Promise<Outcome> {
  const { operands, options } = invocation
  if (options.full) {
    refuseWithFull(options)
    return recoverApplication(invocation, operands[0], identitiesOf(invocation, undefined))
  }
  refuseWithoutFull(options)
  refuseMisplaced(options)
  if (options.target === undefined && !options.yes && !options.dryRun) {
    requireAnswers(
      invocation,
      'whether live files may be replaced',
      'Add --yes to go ahead, --dry-run to see the plan, or --target to restore into a folder',
    )
  }
  const { findRepositoryConfig, repositoryAccess } = await import('../repository-access.ts')
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const { name, subfolder } = splitSubfolder(operands[0])
  // `--path` is a path to restore here, not one that the latest snapshot must name.
  const choice = await snapshotChoice(name, { ...options, path: [] }, config)
  const paths = [...options.include, ...options.path]
  if (options.target !== undefined) {
    return restoreInto(invocation, options.target, { access, config, choice, paths, subfolder })
  }
  if (subfolder !== undefined) {
    throw new CliError('USAGE', 'Cannot restore a subfolder in place', {
      hint: `Write --path ${subfolder} to restore it where it was, or add --target`,
    })
  }
  if (config === undefined) {
    throw new CliError(
      'USAGE',
      'Cannot restore in place: there is no config file that says which application is meant',
      {
        hint: 'Add --target to restore into a folder. The config itself is in every snapshot of an application: holdfast dump /.holdfast/holdfast.yaml',
      },
    )
  }
  return restoreLive(invocation, { access, config, choice, paths })
}

interface Request {
  readonly access: RepositoryAccess
  readonly config: Config | undefined
  readonly choice: SnapshotChoice
  readonly paths: readonly string[]
}

async function restoreInto(
  invocation: Invocation<Options>,
  target: string,
  { access: plain, config, choice, paths, subfolder }: Request & { readonly subfolder: string | undefined },
): Promise<Outcome> {
  const { io, options, signal } = invocation
  const { openAhead } = await import('../../operations/access.ts')
  const access = await openAhead(plain, signal)
  const [{ restoreToTarget }, { restoreLines }] = await Promise.all([
    import('../../operations/restore/restore-to-target.ts'),
    import('../restore-text.ts'),
  ])
  const { outcome } = await restoreToTarget(access, {
    choice,
    target: resolve(io.cwd, target),
    paths,
    subfolder,
    components: options.component,
    unseal: options.unseal ? { identities: identitiesOf(invocation, config) } : undefined,
    verify: options.verify,
    numericOwner: options.numericOwner,
    delta: options.delta,
    overwrite: options.overwrite,
    observe: invocation.observe({ config, access, summarise: restoreLines }),
    signal,
  })
  return outcome
}

async function restoreLive(
  invocation: Invocation<Options>,
  { access, config, choice, paths }: Request & { readonly config: Config },
): Promise<Outcome> {
  const { globals, io, options, screen, signal, style } = invocation
  const [{ planRestoreInPlace, restoreInPlace }, { inPlacePlanJson, inPlacePlanLines, restoreLines }] =
    await Promise.all([import('../../operations/restore/restore-in-place.ts'), import('../restore-text.ts')])
  const host = options.hostRoot === undefined ? {} : { hostRoot: resolve(io.cwd, options.hostRoot) }
  const what = {
    choice,
    components: options.component,
    paths,
    stop: options.stop,
    beyondConfig: options.beyondConfig,
    ...host,
    config,
    signal,
  }
  const show = (plan: InPlacePlan) => {
    screen.live(undefined)
    if (globals.json) screen.json(inPlacePlanJson(plan))
    else {
      const width = io.isTerminal('stdout') ? io.columns() : undefined
      const withFindings = options.dryRun || !options.yes
      const { discardBefore } = options
      const text = inPlacePlanLines(plan, { style, now: io.now(), discardBefore, withFindings, width })
      screen.print(`${text.join('\n')}\n`)
    }
  }
  if (options.dryRun) {
    show(await planRestoreInPlace(access, what))
    if (!globals.json) screen.print('Nothing was changed: this was a dry run')
    return 'succeeded'
  }
  const { outcome } = await restoreInPlace(access, {
    ...what,
    identities: identitiesOf(invocation, config),
    verify: options.verify,
    numericOwner: options.numericOwner,
    discardBefore: options.discardBefore,
    withoutSecrets: options.withoutSecrets,
    confirm: async (plan) => {
      show(plan)
      return options.yes || confirm(invocation, 'Replace the live files?', false)
    },
    observe: invocation.observe({ config, access, summarise: restoreLines }),
    signal,
  })
  return outcome === 'declined' ? 'interrupted' : outcome
}

function refuseWithFull(options: Options & { path: readonly string[] }): void {
  const others = [
    ...(options.target === undefined ? [] : ['--target']),
    ...(options.include.length > 0 ? ['--include'] : []),
    ...(options.path.length > 0 ? ['--path'] : []),
    ...(options.component.length > 0 ? ['--component'] : []),
    ...(options.stop.length > 0 ? ['--stop'] : []),
    ...(options.unseal ? [] : ['--no-unseal']),
    ...(options.numericOwner ? ['--numeric-owner'] : []),
    ...(options.discardBefore ? ['--discard-before'] : []),
    ...(options.beyondConfig ? ['--beyond-config'] : []),
    ...(options.hostRoot === undefined ? [] : ['--host-root']),
  ]
  if (others.length === 0) return
  throw new CliError('USAGE', `Cannot use ${others.join(', ')} with --full: it recovers all of an application`)
}

function refuseWithoutFull(options: Options): void {
  const others = [
    ...(options.app === undefined ? [] : ['--app']),
    ...(options.map === undefined ? [] : ['--map']),
    ...(options.rewrite.length > 0 ? ['--rewrite'] : []),
    ...(options.createUser ? ['--create-user'] : []),
    ...(options.start ? [] : ['--no-start']),
    ...(options.rollback ? ['--rollback'] : []),
    ...(options.anew ? ['--anew'] : []),
  ]
  if (others.length === 0) return
  throw new CliError('USAGE', `Cannot use ${others.join(', ')} without --full`)
}

/** Options that would be passed over in silence. */
function refuseMisplaced({ target, yes, dryRun, stop, unseal, withoutSecrets, ...rest }: Options): void {
  const inPlace = [
    ...(yes ? ['--yes'] : []),
    ...(dryRun ? ['--dry-run'] : []),
    ...(stop.length > 0 ? ['--stop'] : []),
    ...(withoutSecrets ? ['--without-secrets'] : []),
    ...(rest.discardBefore ? ['--discard-before'] : []),
    ...(rest.beyondConfig ? ['--beyond-config'] : []),
    ...(rest.hostRoot === undefined ? [] : ['--host-root']),
  ]
  if (target !== undefined && inPlace.length > 0) {
    throw new CliError('USAGE', `Cannot use ${inPlace.join(', ')} with --target: it is about a restore in place`)
  }
  if (target === undefined && (rest.delta || rest.overwrite !== 'always')) {
    throw new CliError('USAGE', `Cannot use ${rest.delta ? '--delta' : '--overwrite'} in place`, {
      hint: 'A restore in place replaces everything as a whole, and keeps what was there. Add --target',
    })
  }
  if (target === undefined && !unseal) {
    throw new CliError('USAGE', 'Cannot use --no-unseal in place', {
      hint: 'With --without-secrets the rest is restored, and the live secrets stay',
    })
  }
}

function identitiesOf({ io, options }: Invocation<Options>, config: Config | undefined): string[] {
  return [...options.identity.map((file) => resolve(io.cwd, file)), ...(config?.unsealIdentities ?? [])]
}
