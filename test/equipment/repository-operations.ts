import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadIndex } from '../../src/engine/repository/load-index.ts'
import { pathOf } from '../../src/engine/storage/layout.ts'
import type { RepositoryAccess } from '../../src/operations/access.ts'
import { backupPaths } from '../../src/operations/backup/backup-paths.ts'
import { copy } from '../../src/operations/repository/copy.ts'
import { keyAdd, keyPasswd } from '../../src/operations/repository/keys.ts'
import { repairIndex } from '../../src/operations/repository/repair-index.ts'
import { repairPacks } from '../../src/operations/repository/repair-packs.ts'
import { repairSnapshots } from '../../src/operations/repository/repair-snapshots.ts'
import { tag } from '../../src/operations/repository/tag.ts'
import { restoreToTarget } from '../../src/operations/restore/restore-to-target.ts'
import { forget } from '../../src/operations/retention/forget.ts'
import { prune } from '../../src/operations/retention/prune.ts'
import { check } from '../../src/operations/verify/check.ts'
import { contentOf, makeHistory, snapshotsOf } from './history.ts'
import type { FolderContent } from './power-cut/folder-content.ts'
import { randomBytes } from './random-bytes.ts'
import { contentOfStorage } from './repository-files.ts'
import { CHEAP_KDF, namesOf, PASSWORD, storeBlobs, testRepository } from './test-repository.ts'

export const NEW_PASSWORD = Buffer.from('of the key that is added or put in its place')

const QUIET = { observe: () => {}, signal: new AbortController().signal }

/** Two repositories and a folder, for every operation to have something to do. */
export interface Scene {
  readonly repository: FolderContent
  /** The same with a pack missing that some snapshots need. */
  readonly damaged: FolderContent
  /** Has some of the snapshots of the first. */
  readonly other: FolderContent
  /** What is backed up; it has changed since the last backup. */
  readonly source: string
  /** A pack that is needed. */
  readonly pack: string
}

export interface Stage {
  readonly scene: Scene
  readonly access: RepositoryAccess
  readonly other: RepositoryAccess
  /** For what is restored. */
  readonly target: string
}

export interface RepositoryOperation {
  readonly name: string
  /** Whether it starts from the damaged repository. */
  readonly onDamaged?: boolean
  readonly run: (stage: Stage) => Promise<{ readonly outcome: string }>
}

/** What an operator does to a repository, each in a way that changes something if the operation changes anything at all. */
export const REPOSITORY_OPERATIONS: readonly RepositoryOperation[] = [
  {
    name: 'backup',
    run: ({ access, scene }) => backupPaths(access, { paths: [scene.source], host: 'source', ...QUIET }),
  },
  { name: 'check', run: ({ access }) => check(access, { readData: true, ...QUIET }) },
  {
    name: 'restore',
    run: ({ access, target }) =>
      restoreToTarget(access, {
        choice: { name: 'latest', filter: { hosts: ['source'] } },
        target,
        verify: false,
        ...QUIET,
      }),
  },
  { name: 'prune', run: ({ access }) => prune(access, { maxUnused: { percent: 0 }, ...QUIET }) },
  {
    name: 'forget --prune',
    run: ({ access }) =>
      forget(access, {
        filter: { hosts: ['server'] },
        policy: { last: 1 },
        prune: { maxUnused: { percent: 0 } },
        ...QUIET,
      }),
  },
  { name: 'copy', run: ({ access, other }) => copy(access, other, QUIET) },
  { name: 'repair index', run: ({ access }) => repairIndex(access, { readAllPacks: true, ...QUIET }) },
  { name: 'repair packs', run: ({ access, scene }) => repairPacks(access, { packs: [scene.pack], ...QUIET }) },
  {
    name: 'repair snapshots',
    onDamaged: true,
    run: async ({ access }) => {
      const { outcome } = await repairIndex(access, QUIET)
      const repaired = await repairSnapshots(access, { forget: true, ...QUIET })
      return outcome === 'succeeded' ? repaired : { outcome }
    },
  },
  { name: 'tag', run: ({ access }) => tag(access, { change: { add: ['tagged'] }, ...QUIET }) },
  {
    name: 'key add',
    run: ({ access }) => keyAdd(access, { newPassword: async () => NEW_PASSWORD, kdf: CHEAP_KDF, ...QUIET }),
  },
  {
    name: 'key passwd',
    run: ({ access }) => keyPasswd(access, { newPassword: async () => NEW_PASSWORD, kdf: CHEAP_KDF, ...QUIET }),
  },
]

/** Into an empty folder, which must stay where it is. */
export async function makeScene(folder: string): Promise<Scene> {
  const source = join(folder, 'source')
  mkdirSync(join(source, 'below'), { recursive: true })
  const write = (file: string, size: number, version: number) =>
    writeFileSync(join(source, file), randomBytes(size, `${file} ${version}`))
  for (let file = 0; file < 6; file++) write(`${file}`, 3000 * file, 0)
  write('below/large', 40_000, 0)

  const repository = await testRepository()
  const access = { location: 'memory', storage: repository.storage, password: async () => PASSWORD }
  await makeHistory(repository, { snapshots: 5 })
  await backupPaths(access, { paths: [source], host: 'source', ...QUIET })
  // An index file that lists nothing that is needed,
  const before = new Set(await namesOf(repository.storage, 'index'))
  await storeBlobs(repository, [['data', randomBytes(5000, 'needed by nobody')]])
  const unneeded = (await namesOf(repository.storage, 'index')).filter((id) => !before.has(id))
  // and a pack that an interrupted backup left.
  const left = await storeBlobs(repository, [['data', randomBytes(4000, 'left behind')]])
  for (const id of await namesOf(repository.storage, 'index')) {
    if (!before.has(id) && !unneeded.includes(id)) await repository.storage.remove({ type: 'index', id })
  }
  if (left.packs.length !== 1) throw new Error('expected one pack that is left behind')

  const snapshots = await snapshotsOf(repository)
  const ofHistory = snapshots
    .filter(({ snapshot }) => snapshot.hostname === 'server')
    .sort((a, b) => (a.snapshot.time.ns < b.snapshot.time.ns ? -1 : 1))
  const destination = await testRepository()
  const other = { location: 'memory', storage: destination.storage, password: async () => PASSWORD }
  await copy(access, other, { names: [ofHistory[1]!.id], ...QUIET })
  // Two are forgotten, so that a prune finds something, and the file of the first is left to the pack of the second.
  for (const { id } of [ofHistory[0]!, ofHistory[2]!]) await repository.storage.remove({ type: 'snapshot', id })
  for (let file = 0; file < 3; file++) write(`${file}`, 3500 * (file + 1), 1)

  const indexed = await loadIndex(repository)
  const blob = (await contentOf(repository, ofHistory[3]!.snapshot.tree))['/data/only-003']![0]!
  const { pack } = indexed.index.find('data', blob)!
  const content = await contentOfStorage(repository.storage)
  const damaged = new Map(content)
  damaged.delete(pathOf({ type: 'pack', id: pack }))
  return { repository: content, damaged, other: await contentOfStorage(destination.storage), source, pack }
}
