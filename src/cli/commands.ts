import type { CommandModule } from './command.ts'
import { backupCommand } from './commands/backup.ts'
import { checkCommand } from './commands/check.ts'
import { completionCommand } from './commands/completion.ts'
import { demoCommand } from './commands/demo.ts'
import { dumpCommand } from './commands/dump.ts'
import { initCommand } from './commands/init.ts'
import { lsCommand } from './commands/ls.ts'
import { protectCommand } from './commands/protect.ts'
import { restoreCommand } from './commands/restore.ts'
import { snapshotsCommand } from './commands/snapshots.ts'
import { unlockCommand } from './commands/unlock.ts'
import { verifyCommand } from './commands/verify.ts'
import { versionCommand } from './commands/version.ts'

/** Every command there is; the help orders them by topic, and within a topic as they stand here. */
export const commandModules: readonly CommandModule[] = [
  protectCommand,
  initCommand,
  backupCommand,
  snapshotsCommand,
  lsCommand,
  checkCommand,
  verifyCommand,
  demoCommand,
  restoreCommand,
  dumpCommand,
  unlockCommand,
  completionCommand,
  versionCommand,
]
