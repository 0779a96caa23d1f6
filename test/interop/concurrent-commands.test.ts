import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import { openRepository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { compareTrees } from '../equipment/describe-tree.ts'
import { contents, snapshotsOf } from '../equipment/history.ts'
import { backUp, makeRepository } from '../equipment/path-operations.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { resticEnvironment, resticPath, runRestic, withoutRestic } from '../equipment/restic.ts'
import { expectClean } from '../equipment/restic-check.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { PASSWORD } from '../equipment/test-repository.ts'

const ROUNDS = process.env.HOLDFAST_FULL === '1' ? 10 : 1

interface Ended {
  readonly status: number | null
  readonly stderr: string
}

it('two `holdfast backup`, a `restic backup` and a `holdfast prune --retry-lock`, each a process, all finish; all restores', {
  skip: withoutRestic(),
}, async () => {
  using folder = temporaryFolder()
  const location = join(folder.path, 'repository')
  await makeRepository(location, 2)
  const sources = ['one', 'two', 'three'].map((name) => join(folder.path, name)) as [string, string, string]
  const fill = (round: number) => {
    for (const source of sources) {
      mkdirSync(source, { recursive: true })
      for (let file = 0; file < 30; file++)
        writeFileSync(join(source, `${file}`), randomBytes(30_000, `${source} ${file % 2 ? round : 0} ${file}`))
    }
  }
  const environment = resticEnvironment({ repository: location, password: PASSWORD })
  const holdfast = (...args: string[]) =>
    ended(join(import.meta.dirname, '../../bin/holdfast'), ['--retry-lock', '2m', ...args], environment)
  const restic = (...args: string[]) =>
    ended(resticPath('restic'), ['--no-cache', '--retry-lock', '2m', ...args], environment)

  for (let round = 0; round < ROUNDS; round++) {
    fill(round)
    // Something that only the prune removes.
    await backUp(location, [join(folder.path, 'one')], { host: `garbage-${round}` })
    const [garbage] = (await snapshots(location)).filter(({ snapshot }) => snapshot.hostname === `garbage-${round}`)
    await localStorage(location).remove({ type: 'snapshot', id: garbage!.id })
    fill(round + 1)
    const results = await Promise.all([
      holdfast('backup', '--host', 'first', sources[0]),
      holdfast('backup', '--host', 'second', sources[1]),
      restic('backup', '--quiet', '--host', 'third', sources[2]),
      holdfast('prune', '--max-unused', '0'),
    ])
    assert.deepEqual(
      results.map(({ status }) => status),
      [0, 0, 0, 0],
      results.map(({ stderr }) => stderr).join('\n'),
    )
    const found = await snapshots(location)
    assert.equal(found.length, 3 * (round + 1))
    await contents(await openRepository(localStorage(location), { password: PASSWORD }), found)
    expectPassing(location)
  }
  assert.equal((await holdfast('prune', '--max-unused', '0')).status, 0)
  expectClean(location)
  for (const [number, host] of ['first', 'second', 'third'].entries()) {
    const target = join(folder.path, `target-${host}`)
    const restored =
      number === 2
        ? await holdfast('restore', 'latest', '--host', host, '--target', target)
        : await restic('restore', 'latest', '--host', host, '--target', target)
    assert.equal(restored.status, 0, restored.stderr)
    assert.deepEqual(compareTrees(sources[number]!, join(target, sources[number]!)), [])
  }
})

async function snapshots(location: string) {
  return snapshotsOf(await openRepository(localStorage(location), { password: PASSWORD }))
}

/** Without errors; small packs and what a backup found twice are no matter. */
function expectPassing(location: string): void {
  const { status, stdout, stderr } = runRestic(['check', '--read-data'], { repository: location, password: PASSWORD })
  assert.equal(status, 0, `${stdout}${stderr}`)
}

async function ended(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ended> {
  const child = spawn(program, args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    stderr += piece
  })
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, stderr }
}
