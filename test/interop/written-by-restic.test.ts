import assert from 'node:assert/strict'
import { appendFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { encodeTree, parseTree } from '../../src/engine/format/tree.ts'
import { readBlob } from '../../src/engine/repository/read-blob.ts'
import { unlessRoot } from '../equipment/as-nobody.ts'
import { compareDescriptions, describeTree } from '../equipment/describe-tree.ts'
import { makeOddTree } from '../equipment/odd-tree.ts'
import { checkAll, openIndexed, restoreTo } from '../equipment/path-operations.ts'
import { runRestic, withoutRestic } from '../equipment/restic.ts'
import { makeResticRepository } from '../equipment/restic-repository.ts'
import { type TemporaryFolder, temporaryFolder } from '../equipment/temporary-folder.ts'
import { PASSWORD } from '../equipment/test-repository.ts'

const ROWS = [
  { program: 'restic', version: 1, args: [] },
  { program: 'restic', version: 2, args: [] },
  { program: 'restic', version: 2, args: ['--compression', 'off'] },
  { program: 'restic', version: 2, args: ['--compression', 'max', '--pack-size', '4'] },
  { program: 'restic-stable', version: 1, args: [] },
  { program: 'restic-stable', version: 2, args: [] },
  { program: 'restic-stable', version: 2, args: ['--compression', 'max'] },
] as const

type Row = (typeof ROWS)[number]

/** In two of the zones a day of the odd times lies in summer. */
const TIME_ZONES = ['UTC', 'Europe/London', 'Australia/Lord_Howe'] as const

function placeOf({ program, version, args }: Row, folder: string): string {
  return `${folder}/${program} ${version} ${args.join(' ')}`
}

function restic(row: Row, folder: string, ...command: string[]): string {
  const { program, args } = row
  const repository = placeOf(row, folder)
  const timeZone = TIME_ZONES[ROWS.findIndex((row) => row.args === args) % TIME_ZONES.length]!
  const run = runRestic([...command, ...args], { program, repository, password: PASSWORD, timeZone })
  assert.equal(run.status, 0, run.stderr)
  return run.stdout
}

describe('a repository that restic wrote', { skip: unlessRoot || withoutRestic('restic', 'restic-stable') }, () => {
  let folder: TemporaryFolder
  let source: string
  /** What the source was like at the first and the second backup. */
  const expected: ReadonlyMap<string, string>[] = []

  before(async () => {
    folder = temporaryFolder()
    source = `${folder.path}/source`
    makeOddTree(source, { lossyLinks: false })
    expected.push(describeTree(source))
    for (const row of ROWS) {
      await makeResticRepository(placeOf(row, folder.path), row)
      restic(row, folder.path, 'backup', source)
    }
    appendFileSync(`${source}/sizes/3145728`, 'and a little more')
    writeFileSync(`${source}/names/new`, 'x')
    renameSync(`${source}/many`, `${source}/renamed`)
    expected.push(describeTree(source))
    for (const row of ROWS) {
      restic(row, folder.path, 'backup', source)
      restic(row, folder.path, 'backup', '--force', `${source}/links`, `${source}/special`)
    }
  })
  after(() => folder[Symbol.dispose]())

  for (const row of ROWS) {
    const { program, version, args } = row
    it(`is clean for us and restores equal: ${program}, version ${version} ${args.join(' ')}`, async () => {
      const repository = placeOf(row, folder.path)
      const ids: string[] = JSON.parse(restic(row, folder.path, 'snapshots', '--json')).map(
        ({ id }: { id: string }) => id,
      )
      assert.equal(ids.length, 3)
      assert.deepEqual((await checkAll(repository)).findings, [])
      const target = `${folder.path}/target`
      for (const [i, description] of expected.entries()) {
        const { outcome, findings } = await restoreTo(target, repository, ids[i])
        assert.deepEqual([outcome, findings], ['succeeded', []])
        assert.deepEqual(compareDescriptions(description, describeTree(target + source)), [])
        rmSync(target, { recursive: true })
      }
      await restoreTo(target, repository, ids[2])
      const part = { linkCounts: false }
      for (const name of ['links', 'special']) {
        const [original, copy] = [`${source}/${name}`, `${target}${source}/${name}`].map((path) =>
          describeTree(path, part),
        )
        assert.deepEqual(compareDescriptions(original!, copy!), [])
      }
      rmSync(target, { recursive: true })
    })

    it(`holds trees that we would have written byte for byte: ${program}, version ${version} ${args.join(' ')}`, async () => {
      const repository = await openIndexed(placeOf(row, folder.path))
      let trees = 0
      for (const { blobs } of repository.index.packs()) {
        for (const { type, id } of blobs) {
          if (type !== 'tree') continue
          const bytes = await readBlob(repository, 'tree', id)
          assert.equal(encodeTree(parseTree(bytes)).toString('latin1'), bytes.toString('latin1'))
          trees += 1
        }
      }
      assert.ok(trees > 70)
    })
  }
})
