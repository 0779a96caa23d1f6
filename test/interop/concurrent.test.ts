import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import { openRepository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { backupPaths } from '../../src/operations/backup/backup-paths.ts'
import { forget } from '../../src/operations/retention/forget.ts'
import { contents, snapshotsOf } from '../equipment/history.ts'
import { backUp, makeRepository } from '../equipment/path-operations.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { resticEnvironment, resticPath, runRestic, withoutRestic } from '../equipment/restic.ts'
import { expectClean } from '../equipment/restic-check.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { PASSWORD } from '../equipment/test-repository.ts'

const ROUNDS = process.env.HOLDFAST_FULL === '1' ? 10 : 1

it('two backups of ours, one of restic and a prune that wait for each other all finish, and the repository is clean', {
  skip: withoutRestic(),
}, async () => {
  using folder = temporaryFolder()
  const location = join(folder.path, 'repository')
  await makeRepository(location, 2)
  const sources = ['one', 'two', 'three'].map((name) => join(folder.path, name)) as [string, string, string]
  const fill = (round: number) => {
    for (const source of sources) {
      mkdirSync(source, { recursive: true })
      for (let file = 0; file < 40; file++)
        writeFileSync(join(source, `${file}`), randomBytes(20_000, `${source} ${file % 2 ? round : 0} ${file}`))
    }
  }
  fill(0)
  await backUp(location, sources, { host: 'old' })
  await backUp(location, [sources[0]], { host: 'old' })
  const access = { location, password: async () => PASSWORD, retryLock: 120_000 }
  const QUIET = { observe: () => {}, signal: new AbortController().signal }

  for (let round = 1; round <= ROUNDS; round++) {
    fill(round)
    const ours = (source: string) => backupPaths(access, { paths: [source], host: 'ours', ...QUIET })
    const [first, second, theirs, pruned] = await Promise.all([
      ours(sources[0]),
      ours(sources[1]),
      resticBackup(location, sources[2]),
      // Every round there is something that only this removes: the snapshots of the round before.
      forget(access, {
        policy: { last: 1 },
        grouping: { host: true, paths: true, tags: false },
        prune: { maxUnused: { percent: 0 } },
        ...QUIET,
      }),
    ])
    assert.deepEqual(
      [first.outcome, second.outcome, theirs.status, pruned.outcome],
      ['succeeded', 'succeeded', 0, 'succeeded'],
      theirs.stderr,
    )
    expectClean(location)
    const repository = await openRepository(localStorage(location), { password: PASSWORD })
    const snapshots = await snapshotsOf(repository)
    for (const id of [first.snapshot!, second.snapshot!]) assert.ok(snapshots.some((stored) => stored.id === id))
    assert.ok(snapshots.some(({ snapshot }) => snapshot.hostname === 'theirs' && snapshot.paths[0] === sources[2]))
    await contents(repository, snapshots)
  }
  const restored = runRestic(
    ['restore', 'latest', '--host', 'theirs', '--target', join(folder.path, 'target'), '--verify'],
    { repository: location, password: PASSWORD },
  )
  assert.equal(restored.status, 0, restored.stderr)
})

async function resticBackup(repository: string, source: string): Promise<{ status: number | null; stderr: string }> {
  const args = ['--no-cache', '--retry-lock', '2m', 'backup', '--quiet', '--host', 'theirs', source]
  const child = spawn(resticPath('restic'), args, {
    env: resticEnvironment({ repository, password: PASSWORD }),
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    stderr += piece
  })
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, stderr }
}
