import { chmod, lstat, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { unlock } from '../unlock.ts'
import { channelsReached } from './channels-reached.ts'
import { componentsHeld } from './components-held.ts'
import { databasesSound } from './databases-sound.ts'
import type { CheckName, DoctorCheck, DoctorContext, DoctorFinding, Fix } from './doctor-check.ts'
import { journalHealth } from './journal-health.ts'
import { offSiteCredentials } from './off-site-credentials.ts'
import { ownFolders } from './own-folders.ts'
import { privateFiles } from './private-files.ts'
import { recoveryTools } from './recovery-tools.ts'
import { repositoryAccess } from './repository-access.ts'
import { repositoryStorage } from './repository-storage.ts'
import { scheduleInstalled } from './schedule-installed.ts'
import { sealKeys } from './seal-keys.ts'
import { sqliteVersions } from './sqlite-versions.ts'
import { staleLocks } from './stale-locks.ts'
import { uncoveredParts } from './uncovered-parts.ts'

/** In the order in which they are shown: what others build on first. */
export const CHECKS: readonly DoctorCheck[] = [
  repositoryAccess,
  repositoryStorage,
  staleLocks,
  privateFiles,
  ownFolders,
  journalHealth,
  componentsHeld,
  uncoveredParts,
  databasesSound,
  sealKeys,
  scheduleInstalled,
  channelsReached,
  offSiteCredentials,
  recoveryTools,
  sqliteVersions,
]

export interface CheckResult {
  readonly name: CheckName
  readonly title: string
  readonly findings: readonly DoctorFinding[]
}

/** Runs the checks, each for itself. Changes nothing. */
export async function runDoctor(
  context: DoctorContext,
  onResult: (result: CheckResult) => void = () => {},
  checks: readonly DoctorCheck[] = CHECKS,
): Promise<readonly CheckResult[]> {
  const results: CheckResult[] = []
  for (const { name, title, run } of checks) {
    context.signal.throwIfAborted()
    const findings = (await run(context)).map((finding) => ({ ...finding, check: name }))
    const result = { name, title, findings }
    results.push(result)
    onResult(result)
  }
  return results
}

/** Does what findings say can be done without asking. */
export async function applyFix(fix: Fix, { access, signal }: Pick<DoctorContext, 'access' | 'signal'>): Promise<void> {
  switch (fix.kind) {
    case 'chmod':
      await chmod(fix.path, fix.mode)
      break
    case 'close':
      await closeToOthers(fix.path)
      break
    case 'mkdir':
      await mkdir(fix.path, { recursive: true, mode: 0o700 })
      break
    case 'unlock':
      await unlock(access, { all: false, signal })
      break
  }
}

/** As `chmod -R go=`: links are left alone. */
async function closeToOthers(path: string): Promise<void> {
  const status = await lstat(path)
  if (status.isSymbolicLink()) return
  await chmod(path, status.mode & 0o7700)
  if (!status.isDirectory()) return
  for (const name of await readdir(path)) await closeToOthers(join(path, name))
}
