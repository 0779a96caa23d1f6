import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { createRepository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { contents, expectUnchanged, makeHistory, snapshotsOf } from '../equipment/history.ts'
import { KILL_SEED, killSweep } from '../equipment/kill-sweep.ts'
import type { KillableOperation } from '../equipment/killable-operations.ts'
import { expectNothingLost, reopen } from '../equipment/killed-repository.ts'
import { backUp } from '../equipment/path-operations.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { withoutRestic } from '../equipment/restic.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { CHEAP_KDF, namesOf, PASSWORD, POLYNOMIAL } from '../equipment/test-repository.ts'

// SIGINT or SIGTERM at moments all over an operation. It ends by itself: without a lock, without a half-written file, with every
// snapshot as it was. That a second signal ends the process at once is shown beside src/cli/signals.ts.

const OPTIONS = { password: PASSWORD, kdf: CHEAP_KDF, polynomial: POLYNOMIAL }

async function sweep(t: TestContext, operation: KillableOperation, ending: NodeJS.Signals): Promise<void> {
  using base = temporaryFolder({ inMemory: true })
  const folder = join(base.path, 'work')
  const [location, other, source, target] = ['repository', 'other', 'source', 'target'].map((name) =>
    join(folder, name),
  ) as [string, string, string, string]
  mkdirSync(source, { recursive: true })
  for (let file = 0; file < 80; file++) writeFileSync(join(source, String(file)), randomBytes(20_000, file))
  const repository = await createRepository(localStorage(location), OPTIONS)
  await createRepository(localStorage(other), OPTIONS)
  const [, gone] = await makeHistory(repository)
  await backUp(location, [source])
  await repository.storage.remove({ type: 'snapshot', id: gone!.id })
  const expected = await contents(repository, await snapshotsOf(repository))
  for (let file = 0; file < 80; file++) writeFileSync(join(source, String(file)), randomBytes(20_000, `new ${file}`))

  await killSweep(t, {
    operation,
    ending,
    folder,
    details: { repository: location, other, source, target },
    kills: { full: 25, reduced: 2 },
    async judge() {
      for (const each of [location, other]) {
        const found = await reopen(each)
        assert.deepEqual(await namesOf(found.storage, 'lock'), [])
        await expectNothingLost(each)
      }
      const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      assert.deepEqual(
        names.filter((name) => /tmp|\.part$/.test(name)),
        [],
      )
      await expectUnchanged(await reopen(location), expected)
    },
  })
}

describe('an operation that is interrupted ends in good order', { concurrency: 3, skip: withoutRestic() }, () => {
  for (const [operation, ending] of [
    ['backup', 'SIGTERM'],
    ['prune', 'SIGINT'],
    ['copy', 'SIGTERM'],
    ['repair index', 'SIGINT'],
    ['restore to a folder', 'SIGTERM'],
  ] as const) {
    it(`${operation} after ${ending} (HOLDFAST_SEED=${KILL_SEED})`, (t) => sweep(t, operation, ending))
  }
})
