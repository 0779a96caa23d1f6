import { Command } from 'commander'
import type { CommandModule } from './command.ts'
import { addGlobalOptions } from './global-options.ts'

/** Every command there is; the help orders them by topic, and within a topic as they stand here. */
const COMMANDS: Readonly<Record<string, () => Promise<CommandModule>>> = {
  protect: async () => (await import('./commands/protect.ts')).protectCommand,
  init: async () => (await import('./commands/init.ts')).initCommand,
  backup: async () => (await import('./commands/backup.ts')).backupCommand,
  status: async () => (await import('./commands/status.ts')).statusCommand,
  history: async () => (await import('./commands/history.ts')).historyCommand,
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand,
  snapshots: async () => (await import('./commands/snapshots.ts')).snapshotsCommand,
  ls: async () => (await import('./commands/ls.ts')).lsCommand,
  find: async () => (await import('./commands/find.ts')).findCommand,
  diff: async () => (await import('./commands/diff.ts')).diffCommand,
  stats: async () => (await import('./commands/stats.ts')).statsCommand,
  cat: async () => (await import('./commands/cat.ts')).catCommand,
  check: async () => (await import('./commands/check.ts')).checkCommand,
  scrub: async () => (await import('./commands/scrub.ts')).scrubCommand,
  verify: async () => (await import('./commands/verify.ts')).verifyCommand,
  drill: async () => (await import('./commands/drill.ts')).drillCommand,
  demo: async () => (await import('./commands/demo.ts')).demoCommand,
  restore: async () => (await import('./commands/restore.ts')).restoreCommand,
  rescue: async () => (await import('./commands/rescue.ts')).rescueCommand,
  dump: async () => (await import('./commands/dump.ts')).dumpCommand,
  export: async () => (await import('./commands/export.ts')).exportCommand,
  import: async () => (await import('./commands/import.ts')).importCommand,
  forget: async () => (await import('./commands/forget.ts')).forgetCommand,
  prune: async () => (await import('./commands/prune.ts')).pruneCommand,
  tag: async () => (await import('./commands/tag.ts')).tagCommand,
  key: async () => (await import('./commands/key.ts')).keyCommand,
  copy: async () => (await import('./commands/copy.ts')).copyCommand,
  repair: async () => (await import('./commands/repair.ts')).repairCommand,
  unlock: async () => (await import('./commands/unlock.ts')).unlockCommand,
  notify: async () => (await import('./commands/notify.ts')).notifyCommand,
  completion: async () => (await import('./commands/completion.ts')).completionCommand,
  version: async () => (await import('./commands/version.ts')).versionCommand,
}

export async function allCommands(): Promise<readonly CommandModule[]> {
  return Promise.all(Object.values(COMMANDS).map((load) => load()))
}

/**
 * The commands that a command line may need: as good as always the one that it names, for loading the others takes longer than
 * many a command. All of them for help, for what is no command, and for what is wrong.
 */
export async function commandsFor(argv: readonly string[]): Promise<readonly CommandModule[]> {
  const name = commandNamed(argv)
  // It completes the names and options of all.
  if (name === undefined || name === 'completion') return allCommands()
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  return load === undefined ? allCommands() : [await load()]
}

function commandNamed(argv: readonly string[]): string | undefined {
  const program = new Command().exitOverride().configureOutput({ outputError: () => {} })
  addGlobalOptions(program)
  try {
    // The first word that is neither an option nor a value of one, which is how commander finds the command.
    return program.parseOptions([...argv]).operands[0]
  } catch {
    return undefined // a wrong value, which is reported when the whole line is understood
  }
}
