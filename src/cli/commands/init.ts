import { type Command, Option } from 'commander'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import type { SetUpOptions } from '../set-up-application.ts'
import { addSetUpOptions } from '../set-up-options.ts'
import { addSourceOptions, type SourceOptions, sourceOptionsGiven } from '../source-options.ts'

interface Options extends SetUpOptions, SourceOptions {
  readonly copyChunkerParams?: boolean
  readonly repositoryVersion?: '1' | '2' | 'stable' | 'latest'
}

export const initCommand: CommandModule = {
  name: 'init',
  register(program, context) {
    const command: Command = addCommand(program, {
      usage: 'init [dir]',
      topic: 'protect',
      summary: 'set up an application, or make an empty repository',
      description:
        'With a folder (or without --repo, then this one): finds out what the application in it is made of, shows it, asks where the backups go and who may open the secrets, and writes config, password file and repository. --repo and --password-file then say what goes into the config. Nothing is backed up yet: protect does that too.\n\n' +
        'With --repo (or HOLDFAST_REPOSITORY, RESTIC_REPOSITORY) and no folder: makes an empty repository, as restic does. A password that is typed is asked for twice. With --copy-chunker-params it cuts files like the repository that --from-repo names: what is copied from there and what is backed up here is stored once.\n\n' +
        'With --json: an object with message_type initialized; of a repository id and repository, of an application config_file, password_file, password_created, repository, repository_created, components and left_out. With --dry-run its message_type is plan.',
      arguments: { dir: 'the folder of the application' },
      examples: [
        { run: 'holdfast init /opt/my-app', does: 'Look at an application and write its config' },
        { run: 'holdfast init --yes --seal gpg:admin@example.com', does: 'Without questions' },
        { run: 'holdfast -r /srv/backup init', does: 'An empty repository' },
        {
          run: 'holdfast -r /mnt/copy init --from-repo /srv/backup --copy-chunker-params',
          does: 'One to copy another into',
        },
      ],
      exits: ['wrong-password'],
    })
    addSourceOptions(addSetUpOptions(command))
      .option('--copy-chunker-params', 'of an empty repository: cut files like the one of --from-repo')
      .addOption(
        new Option(
          '--repository-version <n>',
          'format of an empty repository: 2 (stable, latest), or 1 for restic before 0.14',
        ).choices(['1', '2', 'stable', 'latest']),
      )
      .action(context.action<Options>(init))
  },
}

async function init(invocation: Invocation<Options>): Promise<Outcome> {
  const { globals, io, operands, options } = invocation
  const { resolveRepositoryLocation } = await import('../repository-location.ts')
  const [folder] = operands
  if (folder === undefined && (await resolveRepositoryLocation(io, globals)) !== undefined) {
    return makeEmptyRepository(invocation)
  }
  if (options.repositoryVersion !== undefined) {
    throw new CliError('USAGE', 'Cannot use --repository-version: it only goes with --repo, without a folder')
  }
  if (options.copyChunkerParams || sourceOptionsGiven(options)) {
    throw new CliError('USAGE', 'Cannot use --copy-chunker-params: it only goes with --repo, without a folder')
  }
  const { setUpApplication } = await import('../set-up-application.ts')
  const report = await setUpApplication(invocation, folder ?? '.')
  if (report === 'dry run') return 'succeeded'
  if (report === 'declined') {
    invocation.screen.say('Nothing was written')
    return 'interrupted'
  }
  const { commandFor } = await import('../next-steps.ts')
  invocation.screen.say(`\nThe first backup: ${commandFor('backup', report.configFile, io.cwd)}`)
  return 'succeeded'
}

async function makeEmptyRepository(invocation: Invocation<Options>): Promise<Outcome> {
  const { globals, options, screen, signal, warn } = invocation
  const given = (['yes', 'dryRun', 'replace', 'hostRoot', 'stateDir'] as const).filter((name) => options[name])
  if (given.length > 0 || options.seal.length > 0) {
    throw new CliError('USAGE', 'Cannot tell whether an application or an empty repository is meant', {
      hint: 'Name the folder of the application too, as in `holdfast init . --yes`; or leave out the options that are about one',
    })
  }
  if (sourceOptionsGiven(options) && !options.copyChunkerParams) {
    throw new CliError('USAGE', 'Cannot use --from-repo without --copy-chunker-params')
  }
  const [{ makeRepository }, { repositoryAccess, sourceAccess }, { withoutCredentials }] = await Promise.all([
    import('../../operations/protect/create-repository.ts'),
    import('../repository-access.ts'),
    import('../repository-location.ts'),
  ])
  const access = await repositoryAccess(invocation, undefined, { isNew: true })
  const chunkerOf = options.copyChunkerParams ? await sourceAccess(invocation, undefined) : undefined
  const { id, location, version, findings } = await makeRepository(access, {
    version: options.repositoryVersion === '1' ? 1 : 2,
    chunkerOf,
    signal,
  })
  const shown = withoutCredentials(location)
  for (const { message, hint } of findings) warn(message, hint)
  if (globals.json) {
    screen.json({ message_type: 'initialized', id, repository: shown, version })
    return 'succeeded'
  }
  screen.say(`Created repository ${id.slice(0, 10)} at ${shown}, format version ${version}`)
  if (findings.length === 0) screen.say('RECOVERY.txt in it says how to get everything back, also without Holdfast')
  screen.say('Its password is the only way into it: store it where it outlives this machine')
  return 'succeeded'
}
