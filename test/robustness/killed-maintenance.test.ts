import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { unlockRepository } from '../../src/engine/repository/locks.ts'
import { createRepository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { repairIndex } from '../../src/operations/repository/repair-index.ts'
import { prune } from '../../src/operations/retention/prune.ts'
import { contents, expectUnchanged, makeHistory } from '../equipment/history.ts'
import { runRestic, withoutRestic } from '../equipment/restic.ts'
import { expectClean } from '../equipment/restic-check.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { CHEAP_KDF, PASSWORD, POLYNOMIAL } from '../equipment/test-repository.ts'

// kill -9 at random moments of maintenance. Whatever was cut short, the snapshots that nobody asked to forget hold what they held,
// restic finds nothing missing, and one prune later nothing to suggest.

const KILLS = process.env.HOLDFAST_FULL === '1' ? 300 : 5
const SEED = process.env.HOLDFAST_SEED ?? String(randomInt(2 ** 32))

it(`nothing is lost when maintenance is killed (HOLDFAST_SEED=${SEED})`, { skip: withoutRestic() }, async (t) => {
  using folder = temporaryFolder()
  const [location, other] = ['repository', 'other'].map((name) => join(folder.path, name)) as [string, string]
  const options = { password: PASSWORD, kdf: CHEAP_KDF, polynomial: POLYNOMIAL }
  const repository = await createRepository(localStorage(location), options)
  const copyOf = await createRepository(localStorage(other), options)
  const expected = await contents(repository, await makeHistory(repository))
  const QUIET = { observe: () => {}, signal: new AbortController().signal }

  const finished = new Map<string, number>()
  for (let kill = 0; kill < KILLS; kill++) {
    const child = start([location, other, `${SEED} ${kill}`])
    t.after(() => child.kill('SIGKILL')) // it would go on for ever
    const failure = collect(child)
    const lines = createInterface(child.stdout!)[Symbol.asyncIterator]()
    const ready = await lines.next()
    if (ready.value !== 'ready') assert.fail(await failure)
    await sleep(randomInt(20, 2500))
    if (child.exitCode !== null) assert.fail(`it ended by itself: ${await failure}`)
    child.kill('SIGKILL')
    for (let line = await lines.next(); !line.done; line = await lines.next()) {
      finished.set(line.value, (finished.get(line.value) ?? 0) + 1)
    }
    await failure
    for (const [opened, at] of [
      [repository, location],
      [copyOf, other],
    ] as const) {
      await unlockRepository(opened)
      const check = runRestic(['check', '--read-data'], { repository: at, password: PASSWORD })
      assert.equal(check.status, 0, `${check.stdout}${check.stderr}`)
    }
    await expectUnchanged(repository, expected)
  }
  t.diagnostic(
    `commands that came to their end: ${[...finished].map(([name, count]) => `${name} ${count}`).join(', ')}`,
  )
  for (const at of [location, other]) {
    const access = { location: at, password: async () => PASSWORD }
    await repairIndex(access, QUIET)
    await prune(access, QUIET)
    expectClean(at)
  }
  await expectUnchanged(repository, expected)
})

function start(args: readonly string[]): ChildProcess {
  const program = join(import.meta.dirname, '../equipment/maintain-program.ts')
  return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

/** What it complained of until it ended. */
async function collect(child: ChildProcess): Promise<string> {
  let text = ''
  child.stderr!.setEncoding('utf8').on('data', (piece: string) => {
    text += piece
  })
  await once(child, 'close')
  return text
}
