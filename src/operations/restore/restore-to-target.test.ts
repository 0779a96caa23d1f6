import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import type { Worker } from 'node:worker_threads'
import { backUp, makeRepository } from '../../../test/equipment/path-operations.ts'
import { type TemporaryFolder, temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { PASSWORD } from '../../../test/equipment/test-repository.ts'
import { type RestoreToTargetOptions, restoreToTarget } from './restore-to-target.ts'

const MIB = 1024 * 1024

/** A backup of one file in a repository that looks large before its index is loaded. */
async function largeRepository(folder: TemporaryFolder) {
  const at = (name: string) => `${folder.path}/${name}`
  mkdirSync(at('source'))
  writeFileSync(at('source/file'), 'content')
  await makeRepository(at('repository'), 2)
  await backUp(at('repository'), [at('source')])
  const id = 'ab'.repeat(32)
  mkdirSync(at('repository/data/ab'), { recursive: true })
  writeFileSync(at(`repository/data/ab/${id}`), '')
  truncateSync(at(`repository/data/ab/${id}`), 64 * MIB)
  const restored = `${at('target')}${at('source/file')}`
  const run = (options: Partial<RestoreToTargetOptions> = {}) =>
    restoreToTarget(
      { location: at('repository'), password: async () => PASSWORD },
      {
        choice: { name: 'latest' },
        target: at('target'),
        observe: () => {},
        signal: new AbortController().signal,
        ...options,
      },
    )
  return { at, restored, run, locks: () => readdirSync(at('repository/locks')) }
}

/** All threads that are started while it is there. */
function watchedThreads() {
  const threads: Worker[] = []
  const note = (worker: Worker) => threads.push(worker)
  process.on('worker', note)
  return {
    started: () => threads.length,
    running: () => threads.filter(({ threadId }) => threadId !== -1).length,
    [Symbol.dispose]: () => void process.off('worker', note),
  }
}

describe('threads that a restore starts before it knows what there is to restore', () => {
  it('restore a whole snapshot, and none of them is left', async () => {
    using folder = temporaryFolder()
    const { restored, run } = await largeRepository(folder)
    using threads = watchedThreads()
    assert.equal((await run({ verify: true })).verifiedFiles, 1)
    assert.equal(readFileSync(restored, 'utf8'), 'content')
    assert.ok(threads.started() > 0)
    assert.equal(threads.running(), 0)
  })

  it('are not started for a part of it', async () => {
    using folder = temporaryFolder()
    const { at, restored, run } = await largeRepository(folder)
    using threads = watchedThreads()
    await run({ paths: [at('source/file')] })
    assert.equal(readFileSync(restored, 'utf8'), 'content')
    await run({ subfolder: at('source') })
    assert.equal(readFileSync(at('target/file'), 'utf8'), 'content')
    assert.equal(threads.started(), 0)
  })

  for (const [what, code, options] of [
    ['there is no such snapshot', 'NOT_FOUND', { choice: { name: 'ffffffff' } }],
    ['the target is a file', 'USAGE', { target: import.meta.filename }],
  ] as const) {
    it(`are ended when ${what}`, async () => {
      using folder = temporaryFolder()
      const { run, locks } = await largeRepository(folder)
      using threads = watchedThreads()
      await assert.rejects(run(options), { code })
      assert.ok(threads.started() > 0)
      assert.equal(threads.running(), 0)
      assert.deepEqual(locks(), [])
    })
  }

  it('are ended when the restore is interrupted, whenever that is', async () => {
    using folder = temporaryFolder()
    const { run, locks } = await largeRepository(folder)
    using threads = watchedThreads()
    let ended = 0
    for (const milliseconds of [0, 5, 20, 60, 150]) {
      const controller = new AbortController()
      const timer = setTimeout(() => controller.abort(new Error('enough')), milliseconds)
      await run({ signal: controller.signal }).catch((error: unknown) => {
        ended += 1
        assert.match(String(error), /enough/)
      })
      clearTimeout(timer)
      assert.equal(threads.running(), 0, `${milliseconds} ms`)
      assert.deepEqual(locks(), [])
    }
    assert.ok(ended > 0)
  })
})
