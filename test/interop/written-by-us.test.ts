import assert from 'node:assert/strict'
import { appendFileSync, cpSync, linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import type { SnapshotId } from '../../src/engine/format/id.ts'
import { unlessRoot } from '../equipment/as-nobody.ts'
import { compareDescriptions, describeTree } from '../equipment/describe-tree.ts'
import { LOSSY_LINKS, makeOddTree } from '../equipment/odd-tree.ts'
import { backUp, checkAll, makeRepository, restoreTo } from '../equipment/path-operations.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { runRestic, withoutRestic } from '../equipment/restic.ts'
import { expectClean } from '../equipment/restic-check.ts'
import { type TemporaryFolder, temporaryFolder } from '../equipment/temporary-folder.ts'
import { PASSWORD } from '../equipment/test-repository.ts'

/** What happens to the source before each of the backups. */
const CHANGES: readonly ((source: string) => void)[] = [
  (source) => makeOddTree(source),
  () => {},
  (source) => {
    appendFileSync(`${source}/sizes/3145728`, 'and a little more')
    writeFileSync(`${source}/new`, randomBytes(2_000_000, 'new'))
    renameSync(`${source}/many`, `${source}/renamed`)
  },
  (source) => {
    rmSync(`${source}/renamed`, { recursive: true })
    mkdirSync(`${source}/many`)
    linkSync(`${source}/links/one of three`, `${source}/many/four of four`)
    rmSync(`${source}/names/three of three`)
  },
]

interface Backup {
  readonly id: SnapshotId
  readonly expected: ReadonlyMap<string, string>
}

/** Fills a new repository with a backup after each of the changes. */
async function fill(repository: string, version: 1 | 2, source: string): Promise<Backup[]> {
  await makeRepository(repository, version)
  const backups: Backup[] = []
  for (const change of CHANGES) {
    change(source)
    const { outcome, findings, snapshot } = await backUp(repository, [source])
    assert.deepEqual([outcome, findings], ['succeeded', []])
    backups.push({ id: snapshot!, expected: describeTree(source) })
  }
  return backups
}

const skip = unlessRoot || withoutRestic('restic', 'restic-stable')

for (const version of [1, 2] as const) {
  describe(`a repository of version ${version} that we wrote`, { skip }, () => {
    let folder: TemporaryFolder
    let source: string
    let repository: string
    let backups: readonly Backup[]

    before(async () => {
      folder = temporaryFolder()
      source = `${folder.path}/source`
      repository = `${folder.path}/repository`
      backups = await fill(repository, version, source)
    })
    after(() => folder[Symbol.dispose]())

    for (const program of ['restic', 'restic-stable'] as const) {
      it(`is clean for ${program}, which restores each backup equal`, () => {
        expectClean(repository, program)
        for (const { id, expected } of backups) {
          const target = `${folder.path}/target`
          const options = { program, repository, password: PASSWORD }
          const restored = runRestic(['restore', id, '--target', target, '--verify'], options)
          assert.deepEqual([restored.status, restored.stderr], [0, ''])
          const differences = compareDescriptions(expected, describeTree(target + source))
          const lost = program === 'restic-stable' ? LOSSY_LINKS : []
          assert.deepEqual(
            differences.filter((line) => !lost.some((path) => line.startsWith(`"${path}"`))),
            [],
          )
          rmSync(target, { recursive: true })
        }
      })
    }

    it('holds trees whose bytes restic would write in the same way: others it refuses to rewrite', () => {
      for (const { id } of backups) {
        const rewritten = runRestic(['rewrite', '--dry-run', '--exclude', '/none', id], {
          repository,
          password: PASSWORD,
        })
        assert.deepEqual([rewritten.status, rewritten.stderr], [0, ''])
        assert.match(rewritten.stdout, /\nno snapshots would be modified\n$/)
      }
    })

    it('is clean for us, and restores each backup equal', async () => {
      const target = `${folder.path}/target`
      assert.deepEqual((await checkAll(repository)).findings, [])
      for (const { id, expected } of backups) {
        const report = await restoreTo(target, repository, id)
        assert.deepEqual([report.outcome, report.findings], ['succeeded', []])
        assert.deepEqual(compareDescriptions(expected, describeTree(target + source)), [])
        rmSync(target, { recursive: true })
      }
    })

    for (const program of ['restic', 'restic-stable'] as const) {
      it(`is still good for us after ${program} forgot and pruned`, async () => {
        const [pruned, target] = [`${folder.path}/pruned by ${program}`, `${folder.path}/target`]
        cpSync(repository, pruned, { recursive: true })
        const options = { program, repository: pruned, password: PASSWORD }
        const run = runRestic(['forget', '--keep-last', '1', '--prune', '--max-unused', '0'], options)
        assert.deepEqual([run.status, run.stderr], [0, ''])

        const { findings, snapshots } = await checkAll(pruned)
        assert.deepEqual([findings, snapshots], [[], 1])
        assert.deepEqual((await restoreTo(target, pruned)).findings, [])
        assert.deepEqual(compareDescriptions(backups.at(-1)!.expected, describeTree(target + source)), [])
        rmSync(target, { recursive: true })
        // What we add to what restic rearranged is good for restic in turn.
        assert.equal((await backUp(pruned, [source])).summary.dataBlobs, 0)
        expectClean(pruned, program)
      })
    }
  })
}
