import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { SnapshotId } from '../../src/engine/format/id.ts'
import { unlockRepository } from '../../src/engine/repository/locks.ts'
import { openRepository, type Repository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { type Content, expectUnchanged } from './history.ts'
import { resticEnvironment, resticPath } from './restic.ts'
import { namesOf, PASSWORD } from './test-repository.ts'

/** The repository at a place whose files were put back to how they were, so that nothing read before counts. */
export async function reopen(location: string): Promise<Repository> {
  return openRepository(localStorage(location), { password: PASSWORD })
}

/** Holds that the lock of a process that was killed is seen for what it is, and takes it away. */
export async function unlockKilled(location: string): Promise<void> {
  const repository = await reopen(location)
  await unlockRepository(repository)
  assert.deepEqual(await namesOf(repository.storage, 'lock'), [], 'the lock of the dead process stays')
}

/**
 * Holds that there is no lock, and that restic reads all data without an error. What nobody needs may lie around, what a process
 * that was killed had begun to write among it. Does not hold up other sweeps that run beside this one.
 */
export async function expectNothingLost(location: string): Promise<void> {
  assert.deepEqual(await namesOf(localStorage(location), 'lock'), [], 'locks stay')
  const args = ['--no-cache', '--no-lock', 'check', '--read-data']
  const env = resticEnvironment({ repository: location, password: PASSWORD })
  const { stdout } = await promisify(execFile)(resticPath('restic'), args, { env }).catch((error) =>
    assert.fail(`restic check: ${error.stdout}${error.stderr}`),
  )
  assert.match(stdout, /\nno errors were found\n$/)
}

/** All that must hold of a repository in which a process was killed that had no reason to lose anything. */
export async function expectSurvived(location: string, expected: ReadonlyMap<SnapshotId, Content>): Promise<void> {
  await unlockKilled(location)
  await expectNothingLost(location)
  await expectUnchanged(await reopen(location), expected)
}
