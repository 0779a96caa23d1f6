import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { type CheckReport, checkRepository } from '../../src/engine/repository/check.ts'
import { loadIndex } from '../../src/engine/repository/load-index.ts'
import { createRepository, type IndexedRepository, openRepository } from '../../src/engine/repository/repository.ts'
import { storageFor } from '../../src/engine/storage/open-storage.ts'
import type { RepositoryAccess } from '../../src/operations/access.ts'
import {
  type BackupPathsOptions,
  type BackupPathsReport,
  backupPaths,
} from '../../src/operations/backup/backup-paths.ts'
import { type RestoreReport, restoreToTarget } from '../../src/operations/restore/restore-to-target.ts'
import { CHEAP_KDF, PASSWORD } from './test-repository.ts'

// Backup, restore and check of plain paths in a repository on disk, as the command line offers them without a config file.

const QUIET = { observe: () => {}, signal: new AbortController().signal }

function accessTo(location: string): RepositoryAccess {
  return { location, password: async () => PASSWORD }
}

export async function makeRepository(location: string, version: 1 | 2): Promise<void> {
  await createRepository(storageFor(location), { password: PASSWORD, kdf: CHEAP_KDF, version })
}

export async function backUp(
  location: string,
  paths: readonly string[],
  options: Partial<BackupPathsOptions> = {},
): Promise<BackupPathsReport> {
  return backupPaths(accessTo(location), { paths, ...QUIET, ...options })
}

/** In a process of its own, for another working folder or time zone than this one's. */
export function backUpFrom(
  cwd: string,
  timeZone: string,
  location: string,
  paths: readonly string[],
): BackupPathsReport {
  const program = join(import.meta.dirname, 'back-up-program.ts')
  const args = ['--disable-warning=ExperimentalWarning', program, location, ...paths]
  const { status, stdout, stderr, error } = spawnSync(process.execPath, args, {
    cwd,
    env: { ...process.env, TZ: timeZone },
    encoding: 'utf8',
  })
  if (error) throw error
  if (status !== 0) throw new Error(stderr)
  return JSON.parse(stdout, (key, value) => (key === 'ns' ? BigInt(value) : value))
}

export async function restoreTo(target: string, location: string, snapshot = 'latest'): Promise<RestoreReport> {
  return restoreToTarget(accessTo(location), { choice: { name: snapshot }, target, verify: true, ...QUIET })
}

export async function checkAll(location: string): Promise<CheckReport> {
  const repository = await openRepository(storageFor(location), { password: PASSWORD })
  return checkRepository(repository, { readData: true })
}

export async function openIndexed(location: string): Promise<IndexedRepository> {
  return loadIndex(await openRepository(storageFor(location), { password: PASSWORD }))
}
