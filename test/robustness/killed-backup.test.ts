import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { createRepository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { compareTrees } from '../equipment/describe-tree.ts'
import { contents, snapshotsOf } from '../equipment/history.ts'
import { KILL_SEED, killSweep } from '../equipment/kill-sweep.ts'
import { killableOperations } from '../equipment/killable-operations.ts'
import { expectSurvived, reopen } from '../equipment/killed-repository.ts'
import { backUp, restoreTo } from '../equipment/path-operations.ts'
import { addRows, makeDatabase, protectedApplication } from '../equipment/protected-application.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { withoutRestic } from '../equipment/restic.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { CHEAP_KDF, PASSWORD, POLYNOMIAL } from '../equipment/test-repository.ts'

const skip = withoutRestic()

/** Enough small files for threads, and two that are cut into several blobs; each version differs in a third of them. */
function fillSource(source: string, version: number): void {
  for (let file = 0; file < 90; file++) {
    const folder = join(source, `folder-${file % 6}`)
    mkdirSync(folder, { recursive: true })
    const changed = file % 3 === version % 3 ? version : 0
    writeFileSync(join(folder, `file-${file}`), randomBytes(1000 + 200 * file, `file ${file} ${changed}`))
  }
  writeFileSync(join(source, 'large'), randomBytes(2_500_000, `large ${version}`))
  writeFileSync(join(source, 'half'), Buffer.concat([randomBytes(1_500_000, 'half'), randomBytes(900_000, version)]))
}

describe('a backup that is killed', { concurrency: 2, skip }, () => {
  it(`loses no older snapshot (HOLDFAST_SEED=${KILL_SEED})`, async (t) => {
    using base = temporaryFolder({ inMemory: true })
    const folder = join(base.path, 'work')
    const [repository, source, target] = ['repository', 'source', 'target'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ]
    mkdirSync(folder)
    const opened = await createRepository(localStorage(repository), {
      password: PASSWORD,
      kdf: CHEAP_KDF,
      polynomial: POLYNOMIAL,
    })
    for (const version of [1, 2]) {
      fillSource(source, version)
      await backUp(repository, [source])
    }
    fillSource(source, 3)
    const expected = await contents(opened, await snapshotsOf(opened))

    let judged = 0
    await killSweep(t, {
      operation: 'backup',
      folder,
      details: { repository, source },
      kills: { full: 220, reduced: 8 },
      async judge() {
        await expectSurvived(repository, expected)
        if (judged++ % 4 !== 0) return
        await killableOperations.backup({ repository, source })
        await expectSurvived(repository, expected)
        const { outcome } = await restoreTo(target, repository)
        assert.equal(outcome, 'succeeded')
        assert.deepEqual(compareTrees(source, join(target, source)), [])
      },
    })
  })

  it(`of an application loses no older snapshot (HOLDFAST_SEED=${KILL_SEED})`, async (t) => {
    using app = await protectedApplication({ config: 'config', data: 'data', secrets: 'secrets' })
    const identity = await app.makeAgeIdentity()
    const changes = { seal: [identity.recipient] }
    app.put('secrets/.env', 'TOKEN=first', 0o600)
    const database = makeDatabase(app.at('data/auth.db'), { rows: 200, journal: 'delete', keepOpen: true })
    for (const version of [1, 2, 3]) {
      app.put('config/app.json', `version ${version}`)
      for (let file = 0; file < 8; file++) app.put(`data/${file}`, randomBytes(20_000, `${file} ${version}`))
      addRows(database, 50)
      if (version === 3) break
      app.put('secrets/.env', `TOKEN=${version}`, 0o600)
      assert.equal((await app.backUp(changes)).outcome, 'succeeded')
    }
    database.close()
    const config = join(app.base, 'etc/holdfast.yaml')
    mkdirSync(join(app.base, 'etc'), { recursive: true })
    writeFileSync(config, app.config(changes).text, { mode: 0o600 })
    const { location } = app.access
    const opened = await reopen(location)
    const expected = await contents(opened, await snapshotsOf(opened))

    let judged = 0
    await killSweep(t, {
      operation: 'application backup',
      folder: app.base,
      details: { repository: location, config },
      kills: { full: 120, reduced: 5 },
      async judge() {
        await expectSurvived(location, expected)
        if (judged++ % 3 !== 0) return
        assert.equal((await app.backUp(changes)).outcome, 'succeeded')
        await expectSurvived(location, expected)
        assert.equal((await app.verify(changes)).outcome, 'succeeded')
      },
    })
  })
})
