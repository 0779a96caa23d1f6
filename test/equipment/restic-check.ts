import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { isId } from '../../src/engine/format/id.ts'
import { type Restic, runRestic } from './restic.ts'
import { PASSWORD } from './test-repository.ts'

/** Holds that there is no lock, and that restic reads all data of the repository without an error, a warning or a suggestion. */
export function expectClean(repository: string, program: Restic = 'restic', password: Buffer = PASSWORD): void {
  expectCheck(repository, program, ['--read-data'], password)
}

/** Holds that there is no lock, and that restic finds the structure of the repository without an error, a warning or a suggestion. */
export function expectSound(repository: string, program: Restic = 'restic'): void {
  expectCheck(repository, program, [], PASSWORD)
}

function expectCheck(repository: string, program: Restic, args: readonly string[], password: Buffer): void {
  expectNoLocks(repository)
  // A lock of its own would keep it waiting.
  const { status, stdout, stderr } = runRestic(['check', '--no-lock', ...args], { program, repository, password })
  assert.deepEqual([status, stderr], [0, ''])
  assert.match(stdout, /\nno errors were found\n$/)
  // Suggestions have no exit code of their own.
  assert.doesNotMatch(stdout, /warn|hint|repair|prune|unused|additional|duplicate/i)
}

/**
 * Nobody is at work there, and who was has cleared up: else `restic check` would refuse, but for what it thinks stale. What a process
 * that was killed had begun to write there has another name, and is no lock for anybody.
 */
function expectNoLocks(repository: string): void {
  const locks = readdirSync(join(repository, 'locks')).filter((name) => isId(name))
  assert.deepEqual(locks, [], 'locks stay')
}
