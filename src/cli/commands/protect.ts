import { basename, dirname, join, resolve } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import type { SetUpOptions } from '../set-up-application.ts'
import { addSetUpOptions } from '../set-up-options.ts'
import { escapeText } from '../terminal-text.ts'

export const protectCommand: CommandModule = {
  name: 'protect',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'protect [dir]',
      topic: 'protect',
      summary: 'find out what an application is made of, and back it up',
      description:
        'All of it in one go: looks at the folder and the host, shows what was found and what is left out, asks where the backups go and who may open the secrets, writes config, password file and repository, makes the first backup, reads every byte of it again, and says what comes next.\n\n' +
        'An application that is protected already is backed up with the config that is there, and the repository is checked; nothing is set up anew without --replace.\n\n' +
        'With --json: what init, backup and check print.',
      arguments: { dir: 'the folder of the application (default: this one)' },
      examples: [
        { run: 'holdfast protect /opt/my-app', does: 'Look, ask, set up, back up, check' },
        { run: 'holdfast protect /opt/my-app --dry-run', does: 'Only look' },
        {
          run: 'holdfast protect --yes --seal gpg:admin@example.com -r /mnt/backup/my-app',
          does: 'Without questions, to a disk of its own',
        },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    })
    addSetUpOptions(command).action(context.action<SetUpOptions>(protect))
  },
}

async function protect(invocation: Invocation<SetUpOptions>): Promise<Outcome> {
  const { globals, io, operands, options, screen, style } = invocation
  const folder = resolve(io.cwd, operands[0] ?? '.')
  const [{ exists }, { loadConfig }] = await Promise.all([
    import('../../operations/protect/plan-protection.ts'),
    import('../../application/config/load-config.ts'),
  ])
  const present = globals.config === undefined ? join(folder, 'holdfast.yaml') : resolve(io.cwd, globals.config)
  if (!options.replace && !options.dryRun && (await exists(present))) {
    const config = await loadConfig(present)
    screen.say(`${style.bold(escapeText(config.app))} is protected already, as ${escapeText(present)} says\n`)
    return backUpAndCheck(invocation, config, { isNew: false })
  }
  const { setUpApplication } = await import('../set-up-application.ts')
  const report = await setUpApplication(invocation, folder)
  if (report === 'dry run') return 'succeeded'
  if (report === 'declined') {
    screen.say('Nothing was written')
    return 'interrupted'
  }
  screen.say('')
  return backUpAndCheck(invocation, await loadConfig(report.configFile), { isNew: true })
}

async function backUpAndCheck(
  invocation: Invocation<SetUpOptions>,
  config: Config,
  { isNew }: { readonly isNew: boolean },
): Promise<Outcome> {
  const { globals, io, options, screen, signal, style } = invocation
  const [
    { backupApplication },
    { check },
    { repositoryAccess },
    { backupLines },
    { summaryLines },
    { commandFor, nextSteps },
  ] = await Promise.all([
    import('../../operations/backup/backup-application.ts'),
    import('../../operations/verify/check.ts'),
    import('../repository-access.ts'),
    import('../backup-text.ts'),
    import('./check.ts'),
    import('../next-steps.ts'),
  ])
  const access = await repositoryAccess(invocation, config)
  const width = io.isTerminal('stdout') ? io.columns() : undefined
  const backup = await backupApplication(config, access, {
    reason: isNew ? 'first backup' : undefined,
    ...(options.hostRoot === undefined ? {} : { hostRoot: resolve(io.cwd, options.hostRoot) }),
    observe: invocation.observe({
      config,
      access,
      summarise: (summary) => backupLines(summary, { style, width }),
    }),
    signal,
  })
  screen.say('')
  const observe = invocation.observe({ config, access, summarise: summaryLines })
  const { outcome } = await check(access, { readData: isNew, observe, signal })
  if (outcome === 'failed') return outcome
  if (!globals.json) {
    screen.say('')
    // Commands find the config from its folder, and stay short enough to be copied.
    const place = basename(config.file) === 'holdfast.yaml' ? dirname(config.file) : io.cwd
    screen.say(style.bold(place === io.cwd ? 'What comes next' : `What comes next, in ${escapeText(place)}`))
    if (backup.outcome === 'incomplete') {
      screen.say(style.yellow('  See to the errors above, then back up again:'))
      screen.say(`    ${commandFor('backup', config.file, place)}`)
    }
    for (const line of nextSteps(config.file, config.app, place)) screen.say(line)
  }
  return backup.outcome
}
