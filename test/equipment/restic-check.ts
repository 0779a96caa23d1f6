import assert from 'node:assert/strict'
import { type Restic, runRestic } from './restic.ts'
import { PASSWORD } from './test-repository.ts'

/** Holds that restic reads all data of the repository without an error, a warning or a suggestion. */
export function expectClean(repository: string, program: Restic = 'restic', password: Buffer = PASSWORD): void {
  expectCheck(repository, program, ['--read-data'], password)
}

/** Holds that restic finds the structure of the repository without an error, a warning or a suggestion. */
export function expectSound(repository: string, program: Restic = 'restic'): void {
  expectCheck(repository, program, [], PASSWORD)
}

function expectCheck(repository: string, program: Restic, args: readonly string[], password: Buffer): void {
  const { status, stdout, stderr } = runRestic(['check', ...args], { program, repository, password })
  assert.deepEqual([status, stderr], [0, ''])
  assert.match(stdout, /\nno errors were found\n$/)
  // Suggestions have no exit code of their own.
  assert.doesNotMatch(stdout, /warn|hint|repair|prune|unused|additional|duplicate/i)
}
