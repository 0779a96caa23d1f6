import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { findSnapshot } from '../../src/engine/repository/snapshots.ts'
import { unlessRoot } from '../equipment/as-nobody.ts'
import { makeOddTree } from '../equipment/odd-tree.ts'
import { backUpFrom, checkAll, makeRepository, openIndexed } from '../equipment/path-operations.ts'
import { type Restic, runRestic, withoutRestic } from '../equipment/restic.ts'
import { expectClean } from '../equipment/restic-check.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { PASSWORD } from '../equipment/test-repository.ts'

/** Both programs in the same words. */
interface Backup {
  readonly tree: string
  readonly filesNew: number
  readonly filesChanged: number
  readonly filesUnmodified: number
  readonly dirsNew: number
  readonly dirsChanged: number
  readonly dirsUnmodified: number
  readonly totalFiles: number
  readonly totalBytes: number
  readonly dataBlobs: number
  readonly treeBlobs: number
}

/** Backs up `source` relative to the folder, so that no folder above it is part of the snapshot. */
type Program = (folder: string, timeZone: string) => Promise<Backup>

function withRestic(program: Restic): Program {
  return async (folder, timeZone) => {
    const options = { program, repository: `${folder}/repository`, password: PASSWORD, cwd: folder, timeZone }
    const run = runRestic(['backup', '--json', 'source'], options)
    assert.deepEqual([run.status, run.stderr], [0, ''])
    const summary = JSON.parse(run.stdout.trim().split('\n').at(-1)!)
    return {
      tree: await treeOf(options.repository, summary.snapshot_id),
      filesNew: summary.files_new,
      filesChanged: summary.files_changed,
      filesUnmodified: summary.files_unmodified,
      dirsNew: summary.dirs_new,
      dirsChanged: summary.dirs_changed,
      dirsUnmodified: summary.dirs_unmodified,
      totalFiles: summary.total_files_processed,
      totalBytes: summary.total_bytes_processed,
      dataBlobs: summary.data_blobs,
      treeBlobs: summary.tree_blobs,
    }
  }
}

const withHoldfast: Program = async (folder, timeZone) => {
  const report = backUpFrom(folder, timeZone, `${folder}/repository`, ['source'])
  assert.deepEqual([report.outcome, report.findings], ['succeeded', []])
  const { summary } = report
  return {
    tree: await treeOf(`${folder}/repository`, report.snapshot!),
    filesNew: summary.filesNew,
    filesChanged: summary.filesChanged,
    filesUnmodified: summary.filesUnmodified,
    dirsNew: summary.dirsNew,
    dirsChanged: summary.dirsChanged,
    dirsUnmodified: summary.dirsUnmodified,
    totalFiles: summary.totalFilesProcessed,
    totalBytes: summary.totalBytesProcessed,
    dataBlobs: summary.dataBlobs,
    treeBlobs: summary.treeBlobs,
  }
}

async function treeOf(repository: string, snapshot: string): Promise<string> {
  // restic 0.14 answers with a prefix of the ID.
  const { snapshot: found } = await findSnapshot(await openIndexed(repository), { name: snapshot })
  return found.tree
}

const ROWS: readonly {
  readonly program: Restic
  readonly timeZone: string
  readonly order: 'ours first' | 'theirs first'
}[] = [
  { program: 'restic', timeZone: 'UTC', order: 'ours first' },
  { program: 'restic', timeZone: 'Asia/Kolkata', order: 'theirs first' },
  { program: 'restic', timeZone: 'Europe/London', order: 'ours first' },
  { program: 'restic', timeZone: 'America/St_Johns', order: 'theirs first' },
  { program: 'restic-stable', timeZone: 'UTC', order: 'theirs first' },
  { program: 'restic-stable', timeZone: 'Asia/Kathmandu', order: 'ours first' },
]

describe('backups by restic and us in turn', { skip: unlessRoot || withoutRestic('restic', 'restic-stable') }, () => {
  for (const { program, timeZone, order } of ROWS) {
    it(`make the same tree of the same source, and count alike: ${program}, ${timeZone}, ${order}`, async () => {
      using folder = temporaryFolder()
      const repository = `${folder.path}/repository`
      makeOddTree(`${folder.path}/source`, { lossyLinks: program === 'restic' })
      await makeRepository(repository, 2)
      const programs = [withHoldfast, withRestic(program)] as const
      const [first, second] = order === 'ours first' ? programs : programs.toReversed()

      const one = await first!(folder.path, timeZone)
      assert.equal(one.filesNew, one.totalFiles)
      assert.deepEqual(await second!(folder.path, timeZone), {
        ...one,
        filesNew: 0,
        filesUnmodified: one.filesNew,
        dirsNew: 0,
        dirsUnmodified: one.dirsNew,
        dataBlobs: 0,
        treeBlobs: 0,
      })

      // After a change the other program goes on, and finds no more than the change.
      writeFileSync(`${folder.path}/source/many/7`, 'changed')
      mkdirSync(`${folder.path}/source/many/new folder`)
      const three = await first!(folder.path, timeZone)
      assert.deepEqual([three.filesNew, three.filesChanged, three.dataBlobs], [0, 1, 1])
      assert.deepEqual([three.dirsNew, three.dirsChanged], [1, 2])
      assert.equal((await second!(folder.path, timeZone)).tree, three.tree)
      expectClean(repository, program)
      assert.deepEqual((await checkAll(repository)).findings, [])
    })
  }

  for (const program of ['restic', 'restic-stable'] as const) {
    it(`read no file again when the machine has moved to another time zone: ${program}`, async () => {
      using folder = temporaryFolder()
      makeOddTree(`${folder.path}/source`)
      await makeRepository(`${folder.path}/repository`, 2)
      const { filesNew } = await withHoldfast(folder.path, 'UTC')
      for (const [backup, timeZone] of [
        [withRestic(program), 'Asia/Kolkata'],
        [withHoldfast, 'America/St_Johns'],
      ] as const) {
        const { dataBlobs, filesUnmodified } = await backup(folder.path, timeZone)
        assert.deepEqual([dataBlobs, filesUnmodified], [0, filesNew])
      }
    })
  }
})
