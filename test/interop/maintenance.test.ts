import assert from 'node:assert/strict'
import { appendFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { SnapshotId } from '../../src/engine/format/id.ts'
import { loadIndex } from '../../src/engine/repository/load-index.ts'
import { openRepository, type Repository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import type { RepositoryAccess } from '../../src/operations/access.ts'
import { makeRepository as initRepository } from '../../src/operations/protect/create-repository.ts'
import { copy } from '../../src/operations/repository/copy.ts'
import { keyAdd, keyList, keyPasswd, keyRemove } from '../../src/operations/repository/keys.ts'
import { repairIndex } from '../../src/operations/repository/repair-index.ts'
import { repairPacks } from '../../src/operations/repository/repair-packs.ts'
import { repairSnapshots } from '../../src/operations/repository/repair-snapshots.ts'
import { tag } from '../../src/operations/repository/tag.ts'
import { forget } from '../../src/operations/retention/forget.ts'
import { prune } from '../../src/operations/retention/prune.ts'
import { type Content, contents, expectUnchanged, snapshotsOf } from '../equipment/history.ts'
import { backUp, makeRepository } from '../equipment/path-operations.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { runRestic, withoutRestic } from '../equipment/restic.ts'
import { expectClean } from '../equipment/restic-check.ts'
import { type TemporaryFolder, temporaryFolder } from '../equipment/temporary-folder.ts'
import { CHEAP_KDF, PASSWORD } from '../equipment/test-repository.ts'

// One repository goes through every maintenance command; after each, both versions of restic must find nothing to complain of or
// to suggest, and every snapshot must hold what it held.

const QUIET = { observe: () => {}, signal: new AbortController().signal }

for (const version of [2, 1] as const) {
  describe(`maintenance of a repository of version ${version}`, {
    skip: withoutRestic('restic', 'restic-stable'),
  }, () => {
    let folder: TemporaryFolder
    let access: RepositoryAccess
    let location: string
    let expected: Map<SnapshotId, Content>

    const open = (): Promise<Repository> => openRepository(localStorage(location), { password: PASSWORD })
    const restic = (...args: string[]) => {
      const run = runRestic(args, { repository: location, password: PASSWORD })
      assert.equal(run.status, 0, run.stderr)
      return run.stdout
    }

    async function expectGood(): Promise<void> {
      expectClean(location)
      expectClean(location, 'restic-stable')
      await expectUnchanged(await open(), expected)
    }

    before(async () => {
      folder = temporaryFolder()
      location = join(folder.path, 'repository')
      access = { location, password: async () => PASSWORD }
      await makeRepository(location, version)
      const source = join(folder.path, 'source')
      mkdirSync(join(source, 'config'), { recursive: true })
      writeFileSync(join(source, 'large'), randomBytes(1_500_000, 'large'))
      for (let number = 0; number < 6; number++) {
        writeFileSync(join(source, `only-${number}`), randomBytes(60_000 + number, number))
        if (number > 0) rmSync(join(source, `only-${number - 1}`))
        appendFileSync(join(source, 'config', 'log'), `line ${number}\n`.repeat(1000))
        if (number % 3 === 2) restic('backup', '--quiet', '--host', 'server', source)
        else await backUp(location, [source], { host: 'server' })
      }
      const repository = await open()
      expected = await contents(repository, await snapshotsOf(repository))
    })
    after(() => folder[Symbol.dispose]())

    it('forget removes what the policy does not keep, and nothing when it is tried out', async () => {
      const choices = { policy: { last: 3 }, ...QUIET }
      const tried = await forget(access, { ...choices, dryRun: true, prune: {} })
      assert.deepEqual([tried.done, tried.plan.remove.length], [undefined, 3])
      assert.equal((await snapshotsOf(await open())).length, 6)
      const report = await forget(access, choices)
      assert.equal(report.done!.removed.length, 3)
      for (const id of report.done!.removed) expected.delete(id)
      assert.equal(expected.size, 3)
      await expectUnchanged(await open(), expected)
    })

    it('prune means to do what restic means to do, and leaves nothing for it to do', async () => {
      const output = restic('prune', '--dry-run', '--verbose=2', '--max-unused', '0')
      const { plan } = await prune(access, { maxUnused: { percent: 0 }, dryRun: true, ...QUIET })
      const { blobs, packs } = plan.totals
      const number = (name: string) =>
        Number(new RegExp(`^${name}:? +(\\d+) (?:blobs|packs|$)`, 'm').exec(output)?.[1] ?? Number.NaN)
      assert.deepEqual(
        {
          used: number('used'),
          unused: number('unused'),
          total: number('total'),
          removes: number('this removes'),
          keep: number('to keep'),
        },
        { used: blobs.used, unused: blobs.unused, total: blobs.total, removes: blobs.repackRemove, keep: packs.keep },
        output,
      )
      const { done } = await prune(access, { maxUnused: { percent: 0 }, ...QUIET })
      assert.ok(done!.packsRemoved > 0 && done!.leftBehind.length === 0)
      await expectGood()
      const left = restic('prune', '--dry-run', '--max-unused', '0')
      assert.match(left, /^to repack: +0 blobs/m)
      assert.match(left, /^total prune: +0 blobs/m)
    })

    it('what is restored by restic is what was backed up', async () => {
      const newest = (await snapshotsOf(await open())).sort((a, b) =>
        a.snapshot.time.ns < b.snapshot.time.ns ? 1 : -1,
      )[0]!
      const target = join(folder.path, 'target')
      restic('restore', newest.id, '--target', target, '--verify')
      const source = join(folder.path, 'source')
      for (const path of ['large', 'only-5', 'config/log']) {
        assert.ok(readFileSync(join(target, source, path)).equals(readFileSync(join(source, path))), path)
      }
    })

    it('tag makes new snapshots of the old ones', async () => {
      const { changed } = await tag(access, { change: { add: ['kept', 'for ever'] }, ...QUIET })
      assert.equal(changed.length, 3)
      expected = new Map(changed.map(({ from, to }) => [to, expected.get(from)!]))
      await expectGood()
      const listed = JSON.parse(restic('snapshots', '--json', '--tag', 'kept')) as {
        original: string
        tags: string[]
      }[]
      assert.deepEqual(listed.map(({ original }) => original).sort(), changed.map(({ from }) => from).sort())
    })

    it('keys are added, changed and removed, and restic opens with those that are left', async () => {
      const second = Buffer.from('a second password')
      const third = Buffer.from('a third password')
      const opens = (password: Buffer) => runRestic(['cat', 'config'], { repository: location, password }).status === 0
      const { key } = await keyAdd(access, { newPassword: async () => second, kdf: CHEAP_KDF, ...QUIET })
      assert.ok(opens(second))
      await keyPasswd(
        { location, password: async () => second },
        { newPassword: async () => third, kdf: CHEAP_KDF, ...QUIET },
      )
      assert.ok(!opens(second) && opens(third))
      const { keys } = await keyList(access, QUIET.signal)
      assert.deepEqual([keys.length, keys.some(({ id }) => id === key)], [2, false])
      await keyRemove(access, { name: keys.find(({ isCurrent }) => !isCurrent)!.id, ...QUIET })
      assert.ok(!opens(third) && opens(PASSWORD))
      await assert.rejects(keyRemove(access, { name: keys.find(({ isCurrent }) => isCurrent)!.id, ...QUIET }), {
        code: 'REFUSED',
      })
      await expectGood()
    })

    it('copy brings every snapshot over, into a repository that cuts files alike, and restic has nothing to add', async () => {
      const other: RepositoryAccess = { location: join(folder.path, 'other'), password: async () => PASSWORD }
      await initRepository(other, { version: 2, chunkerOf: access, ...QUIET })
      await keyPasswd(other, { newPassword: async () => PASSWORD, kdf: CHEAP_KDF, ...QUIET }) // or each restic below takes a second
      const { plan, done } = await copy(access, other, QUIET)
      assert.deepEqual([plan.sameChunker, plan.sameKey, done!.copied.length], [true, false, 3])
      expectClean(other.location)
      expectClean(other.location, 'restic-stable')
      const copied = new Map(done!.copied.map(({ from, to }) => [to, expected.get(from)!]))
      await expectUnchanged(await openRepository(localStorage(other.location), { password: PASSWORD }), copied)
      const password = join(folder.path, 'password')
      writeFileSync(password, PASSWORD)
      const again = runRestic(['copy', '--from-repo', location, '--from-password-file', password], {
        repository: other.location,
        password: PASSWORD,
      })
      assert.equal(again.status, 0, again.stderr)
      assert.doesNotMatch(again.stdout, /snapshot \S+ saved/)
      assert.deepEqual((await copy(access, other, { dryRun: true, ...QUIET })).plan.batches, [])
      assert.deepEqual((await copy(other, access, { dryRun: true, ...QUIET })).plan.batches, [])
    })

    it('repair index builds it again from the packs', async () => {
      for (const name of readdirSync(join(location, 'index'))) rmSync(join(location, 'index', name))
      const { outcome, done } = await repairIndex(access, QUIET)
      assert.deepEqual([outcome, done!.unreadable], ['succeeded', []])
      await expectGood()
      await repairIndex(access, { readAllPacks: true, ...QUIET })
      await expectGood()
    })

    it('repair packs and repair snapshots give up what is lost and no more', async () => {
      const { index } = await loadIndex(await open())
      const large = [...index.packs()].find(({ blobs }) =>
        blobs.some(({ type, length }) => type === 'data' && length > 500_000),
      )!
      const file = join(location, 'data', large.id.slice(0, 2), large.id)
      const bytes = readFileSync(file)
      const victim = large.blobs.find(({ length }) => length > 500_000)!
      bytes[victim.offset + 1000]! ^= 1
      rmSync(file)
      writeFileSync(file, bytes, { mode: 0o400 })
      assert.notEqual(runRestic(['check', '--read-data'], { repository: location, password: PASSWORD }).status, 0)

      const copiesTo = join(folder.path, 'copies')
      mkdirSync(copiesTo)
      const packs = await repairPacks(access, { packs: [large.id], copiesTo, ...QUIET })
      assert.deepEqual([packs.outcome, packs.plan.packs[0]!.lost.map(({ id }) => id)], ['incomplete', [victim.id]])
      assert.ok(readFileSync(join(copiesTo, `pack-${large.id}`)).equals(bytes))
      const snapshots = await repairSnapshots(access, { forget: true, ...QUIET })
      assert.equal(snapshots.plan.repairs.length, 3)
      await prune(access, QUIET)
      expectClean(location)
      expectClean(location, 'restic-stable')
      const repository = await open()
      const now = await contents(repository, await snapshotsOf(repository))
      for (const { from, to } of snapshots.done!.repaired) {
        const lessOne = Object.fromEntries(
          Object.entries(expected.get(from)!).map(([path, blobs]) => [path, blobs.filter((id) => id !== victim.id)]),
        )
        assert.deepEqual(now.get(to), lessOne)
      }
    })

    it('without a lock nothing is changed', async () => {
      const unlocked = { ...access, noLock: true }
      for (const operation of [
        prune(unlocked, QUIET),
        tag(unlocked, { change: { add: ['x'] }, ...QUIET }),
        repairIndex(unlocked, QUIET),
      ]) {
        await assert.rejects(operation, { code: 'USAGE' })
      }
      await prune(unlocked, { dryRun: true, ...QUIET })
    })
  })
}
