import type { CommandModule } from './command.ts'
import { backupCommand } from './commands/backup.ts'
import { catCommand } from './commands/cat.ts'
import { checkCommand } from './commands/check.ts'
import { completionCommand } from './commands/completion.ts'
import { copyCommand } from './commands/copy.ts'
import { demoCommand } from './commands/demo.ts'
import { diffCommand } from './commands/diff.ts'
import { doctorCommand } from './commands/doctor.ts'
import { drillCommand } from './commands/drill.ts'
import { dumpCommand } from './commands/dump.ts'
import { exportCommand } from './commands/export.ts'
import { findCommand } from './commands/find.ts'
import { forgetCommand } from './commands/forget.ts'
import { historyCommand } from './commands/history.ts'
import { importCommand } from './commands/import.ts'
import { initCommand } from './commands/init.ts'
import { keyCommand } from './commands/key.ts'
import { lsCommand } from './commands/ls.ts'
import { protectCommand } from './commands/protect.ts'
import { pruneCommand } from './commands/prune.ts'
import { repairCommand } from './commands/repair.ts'
import { rescueCommand } from './commands/rescue.ts'
import { restoreCommand } from './commands/restore.ts'
import { scrubCommand } from './commands/scrub.ts'
import { snapshotsCommand } from './commands/snapshots.ts'
import { statsCommand } from './commands/stats.ts'
import { statusCommand } from './commands/status.ts'
import { tagCommand } from './commands/tag.ts'
import { unlockCommand } from './commands/unlock.ts'
import { verifyCommand } from './commands/verify.ts'
import { versionCommand } from './commands/version.ts'

/** Every command there is; the help orders them by topic, and within a topic as they stand here. */
export const commandModules: readonly CommandModule[] = [
  protectCommand,
  initCommand,
  backupCommand,
  statusCommand,
  historyCommand,
  doctorCommand,
  snapshotsCommand,
  lsCommand,
  findCommand,
  diffCommand,
  statsCommand,
  catCommand,
  checkCommand,
  scrubCommand,
  verifyCommand,
  drillCommand,
  demoCommand,
  restoreCommand,
  rescueCommand,
  dumpCommand,
  exportCommand,
  importCommand,
  forgetCommand,
  pruneCommand,
  tagCommand,
  keyCommand,
  copyCommand,
  repairCommand,
  unlockCommand,
  completionCommand,
  versionCommand,
]
