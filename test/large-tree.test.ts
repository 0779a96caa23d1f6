import assert from 'node:assert/strict'
import { lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { unlessRoot } from './equipment/as-nobody.ts'
import { compareTrees } from './equipment/describe-tree.ts'
import { backUp, makeRepository, restoreTo } from './equipment/path-operations.ts'
import { withoutRestic } from './equipment/restic.ts'
import { expectSound } from './equipment/restic-check.ts'
import { temporaryFolder } from './equipment/temporary-folder.ts'

const full = process.env.HOLDFAST_FULL === '1'

/** The system's own files are as unlike each other as files are; what is missing to the number is made up. */
const SIZE = full ? { files: 130_000, bytes: Number.POSITIVE_INFINITY } : { files: 20_000, bytes: 400_000_000 }

test(`a tree of ${SIZE.files} files backs up, is clean for restic, and restores equal`, {
  skip: unlessRoot || withoutRestic(),
}, async (t) => {
  using folder = temporaryFolder()
  const [repository, target, made] = [`${folder.path}/repository`, `${folder.path}/target`, `${folder.path}/made`]
  const found = full ? { targets: ['/usr'], files: measure('/usr').files } : chooseFolders('/usr')
  makeFiles(made, SIZE.files - found.files)
  const targets = [...found.targets, made]
  const timed = stopwatch(t)

  await makeRepository(repository, 2)
  const first = await backUp(repository, targets)
  timed(`backup of ${first.summary.totalFilesProcessed} files, ${first.summary.totalBytesProcessed} bytes`)
  assert.deepEqual([first.outcome, first.findings.filter(({ severity }) => severity !== 'note')], ['succeeded', []])
  assert.ok(first.summary.totalFilesProcessed >= SIZE.files)

  const second = await backUp(repository, targets)
  timed('backup of the same')
  assert.deepEqual([second.summary.dataBlobs, second.summary.filesNew, second.summary.filesChanged], [0, 0, 0])

  expectSound(repository)
  timed('restic check')

  const report = await restoreTo(target, repository)
  timed('restore and verification')
  assert.deepEqual([report.outcome, report.findings], ['succeeded', []])
  for (const path of targets) assert.deepEqual(compareTrees(path, target + path, { linkCounts: false }), [])
  timed('comparison')
})

/** Folders below `/usr` that have some of the files, and not too many bytes. */
function chooseFolders(root: string): { targets: string[]; files: number } {
  const targets: string[] = []
  const total = { files: 0, bytes: 0 }
  for (const folder of foldersIn(root).flatMap(foldersIn)) {
    const { files, bytes } = measure(folder)
    if (total.files + files > SIZE.files || total.bytes + bytes > SIZE.bytes) continue
    targets.push(folder)
    total.files += files
    total.bytes += bytes
  }
  return { targets, files: total.files }
}

function foldersIn(folder: string): string[] {
  const entries = readdirSync(folder, { withFileTypes: true })
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))
}

/** Walks by itself: Node's recursive `readdir` follows symbolic links to folders, round and round. */
function measure(folder: string): { files: number; bytes: number } {
  const total = { files: 0, bytes: 0 }
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isFile()) {
      total.files += 1
      total.bytes += lstatSync(path).size
    } else if (entry.isDirectory()) {
      const { files, bytes } = measure(path)
      total.files += files
      total.bytes += bytes
    }
  }
  return total
}

/** Small files, a few hundred to a folder; every third is like another one. */
function makeFiles(folder: string, count: number): void {
  mkdirSync(folder)
  for (let i = 0; i < count; i++) {
    if (i % 300 === 0) mkdirSync(`${folder}/${i / 300}`)
    writeFileSync(`${folder}/${Math.floor(i / 300)}/${i}`, `file ${i - (i % 3 === 2 ? 1 : 0)}\n`.repeat(i % 50))
  }
}

function stopwatch(t: TestContext): (what: string) => void {
  let since = performance.now()
  return (what) => {
    const now = performance.now()
    t.diagnostic(`${what}: ${((now - since) / 1000).toFixed(1)} s`)
    since = now
  }
}
