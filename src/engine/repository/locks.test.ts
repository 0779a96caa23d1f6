import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { recordingStorage } from '../../../test/equipment/recording-storage.ts'
import { resticEnvironment, resticPath, runRestic, withoutRestic } from '../../../test/equipment/restic.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { CHEAP_KDF, namesOf, PASSWORD, testRepository, through } from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import type { LockId } from '../format/id.ts'
import { encodeLock, type LockInfo, parseLock } from '../format/lock.ts'
import { localTimestamp, now } from '../format/timestamp.ts'
import { withFaults } from '../storage/faults.ts'
import { localStorage } from '../storage/local.ts'
import { memoryStorage } from '../storage/memory.ts'
import type { Storage } from '../storage/storage.ts'
import { acquireLock, type LockTiming, releaseAfter, unlockRepository } from './locks.ts'
import { createRepository, openRepository, type Repository } from './repository.ts'
import { readParsed, writeUnpacked } from './unpacked-files.ts'

const QUICK: Partial<LockTiming> = { settle: 1, unreadable: [1, 1] }
const RESTLESS: Partial<LockTiming> = { ...QUICK, tick: 2, refresh: 10 }

const locksOf = (repository: Repository) => namesOf(repository.storage, 'lock')
const lockFiles = (calls: readonly string[]) => calls.filter((call) => call.includes(' locks/'))

async function lockInfo(repository: Repository, id: string): Promise<LockInfo> {
  return readParsed(repository, 'lock', id as LockId, parseLock)
}

/** A lock of somebody else, on a host that is not this one. */
async function foreignLock(repository: Repository, changes: Partial<LockInfo> = {}): Promise<LockId> {
  const info: LockInfo = {
    time: now(),
    exclusive: false,
    hostname: 'elsewhere',
    username: 'somebody',
    pid: 4711,
    uid: 1000,
    gid: 1000,
    ...changes,
  }
  return writeUnpacked(repository, 'lock', encodeLock(info))
}

const minutesAgo = (minutes: number) => localTimestamp(BigInt(Date.now() - minutes * 60_000) * 1_000_000n)

/** Waits until something becomes true, and fails when it does not within seconds. */
async function eventually(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await condition()) return
    await sleep(10)
  }
  assert.fail('what was waited for did not happen')
}

describe('acquiring a lock', () => {
  for (const [mine, theirs, together] of [
    ['shared', 'shared', true],
    ['shared', 'exclusive', false],
    ['exclusive', 'shared', false],
    ['exclusive', 'exclusive', false],
  ] as const) {
    it(`a ${mine} lock and ${theirs} one of somebody else ${together ? 'go together' : 'exclude each other'}`, async () => {
      const repository = await testRepository()
      const id = await foreignLock(repository, { exclusive: theirs === 'exclusive' })
      const acquiring = acquireLock(repository, { exclusive: mine === 'exclusive', timing: QUICK })
      if (together) {
        await using _ = await acquiring
        assert.equal((await locksOf(repository)).length, 2)
      } else {
        await assert.rejects(acquiring, (error: EngineError) => {
          assert.equal(error.code, 'LOCKED')
          assert.match(error.message, /somebody on elsewhere \(process 4711\) holds an? (exclusive )?lock since 20/)
          assert.equal(error.message.includes('exclusive'), theirs === 'exclusive')
          assert.equal(error.facts.lock, id)
          assert.match(error.hint!, /--retry-lock/)
          return true
        })
      }
      assert.deepEqual(await locksOf(repository), [id])
    })
  }

  it('says who this is, so that others can name it', async () => {
    const repository = await testRepository()
    await using _ = await acquireLock(repository, { exclusive: true, timing: QUICK })
    const [id] = await locksOf(repository)
    const info = await lockInfo(repository, id!)
    assert.equal(info.hostname, hostname())
    assert.equal(info.pid, process.pid)
    assert.equal(info.exclusive, true)
    assert.ok(Math.abs(Number(info.time.ns / 1_000_000n) - Date.now()) < 60_000)
  })

  it('of two that come at the same time at most one gets an exclusive lock', async () => {
    for (let round = 0; round < 5; round++) {
      const repository = await testRepository()
      const attempts = await Promise.allSettled(
        Array.from({ length: 3 }, () => acquireLock(repository, { exclusive: true, timing: { settle: 20 } })),
      )
      const held = attempts.filter((attempt) => attempt.status === 'fulfilled')
      assert.ok(held.length <= 1)
      assert.equal((await locksOf(repository)).length, held.length)
      for (const { value } of held) await value.release()
      assert.deepEqual(await locksOf(repository), [])
    }
  })

  it('is given up when somebody else turns up while it settles, and its file is removed', async () => {
    const repository = await testRepository()
    const recorded = recordingStorage(repository.storage)
    const storage: Storage = {
      ...recorded,
      async write(name, content, signal) {
        await recorded.write(name, content, signal)
        await foreignLock(repository, { exclusive: true })
      },
    }
    await assert.rejects(acquireLock(through(repository, storage), { timing: QUICK }), { code: 'LOCKED' })
    assert.deepEqual(
      lockFiles(recorded.done).map((call) => call.split(' ')[0]),
      ['write', 'remove'],
    )
    assert.equal((await locksOf(repository)).length, 1)
  })

  it('a stale lock stands in the way too, and the hint says how to remove it', async () => {
    const repository = await testRepository()
    await foreignLock(repository, { exclusive: true, time: minutesAgo(31) })
    await assert.rejects(acquireLock(repository, { timing: QUICK }), { code: 'LOCKED', hint: /holdfast unlock/ })
  })

  it('a lock file of no bytes is none, as for restic', async () => {
    const repository = await testRepository()
    await repository.storage.write({ type: 'lock', id: 'a'.repeat(64) }, Buffer.alloc(0))
    await using _ = await acquireLock(repository, { exclusive: true, timing: QUICK })
  })

  it('a lock that goes away while it is read is none', async () => {
    const repository = await testRepository()
    const storage: Storage = {
      ...repository.storage,
      async *list(type, signal) {
        if (type === 'lock') yield { name: { type, id: 'a'.repeat(64) }, size: 200 }
        yield* repository.storage.list(type, signal)
      },
    }
    await using _ = await acquireLock(through(repository, storage), { exclusive: true, timing: QUICK })
  })

  it('a lock that cannot be read is tried again, and then stands in the way', async () => {
    const repository = await testRepository()
    const id = 'a'.repeat(64)
    await repository.storage.write({ type: 'lock', id }, Buffer.from('half written'))
    let reads = 0
    const storage: Storage = {
      ...repository.storage,
      async read(name, range, signal) {
        if (name.type === 'lock') reads += 1
        return repository.storage.read(name, range, signal)
      },
    }
    await assert.rejects(acquireLock(through(repository, storage), { timing: QUICK }), {
      code: 'LOCKED',
      message: /^Cannot tell whether the repository is in use: Cannot read locks\/a/,
      facts: { lock: id, file: `locks/${id}` },
      hint: /unlock --remove-all/,
    })
    assert.equal(reads, 3)
    assert.deepEqual(await locksOf(repository), [id])
  })

  it('leaves nothing behind, whichever call to the storage fails', async () => {
    for (const on of ['list', 'write'] as const) {
      for (const nth of on === 'list' ? [1, 2] : [1]) {
        for (const effect of ['fail', 'lose-answer'] as const) {
          const repository = await testRepository()
          const storage = withFaults(repository.storage, [{ on, type: 'lock', nth, effect }])
          await assert.rejects(acquireLock(through(repository, storage), { timing: QUICK }), { code: 'STORAGE' })
          assert.deepEqual(storage.fired, [1])
          assert.deepEqual(await locksOf(repository), [])
          assert.equal(process.listenerCount('SIGHUP'), 0)
        }
      }
    }
  })

  it('is interrupted while it settles, with the signal’s own reason, and leaves nothing behind', async () => {
    const repository = await testRepository()
    const controller = new AbortController()
    const reason = new EngineError('INTERRUPTED', 'Interrupted by SIGINT')
    const acquiring = acquireLock(repository, { signal: controller.signal, timing: { settle: 60_000 } })
    await eventually(async () => (await locksOf(repository)).length === 1)
    controller.abort(reason)
    await assert.rejects(acquiring, (error) => error === reason)
    assert.deepEqual(await locksOf(repository), [])
    assert.equal(process.listenerCount('SIGHUP'), 0)
  })

  for (const [chance, waits] of [
    [0, 5000],
    [0.5, 4500],
  ] as const) {
    it(`waits for somebody else, not always as long, lest two that start together meet for ever (${waits} ms)`, async (test: TestContext) => {
      test.mock.timers.enable({ apis: ['setTimeout'] })
      test.mock.method(Math, 'random', () => chance)
      const repository = await testRepository()
      const id = await foreignLock(repository, { exclusive: true })
      let settled = false
      const acquiring = acquireLock(repository, { retryFor: 60_000 }).finally(() => {
        settled = true
      })
      const pass = async (milliseconds: number) => {
        for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
        test.mock.timers.tick(milliseconds)
        for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
      }
      await pass(waits - 1)
      await repository.storage.remove({ type: 'lock', id })
      assert.equal(settled, false)
      await pass(1)
      await pass(200)
      await (await acquiring).release()
    })
  }

  it('gives up waiting with the reason that it is locked', async () => {
    const repository = await testRepository()
    await foreignLock(repository, { exclusive: true })
    await assert.rejects(acquireLock(repository, { retryFor: 30, timing: QUICK }), { code: 'LOCKED' })
    assert.equal((await locksOf(repository)).length, 1)
  })

  it('of several that come at the same time and wait, each gets an exclusive lock in turn', async () => {
    const repository = await testRepository()
    let holders = 0
    const takeTurn = async () => {
      const lock = await acquireLock(repository, {
        exclusive: true,
        retryFor: 20_000,
        timing: { settle: 5, retry: [100, 400] },
      })
      holders += 1
      assert.equal(holders, 1)
      await sleep(2)
      holders -= 1
      await lock.release()
    }
    await Promise.all(Array.from({ length: 4 }, takeTurn))
    assert.deepEqual(await locksOf(repository), [])
  })

  it('is interrupted while it waits, with the signal’s own reason', async () => {
    const repository = await testRepository()
    await foreignLock(repository, { exclusive: true })
    const controller = new AbortController()
    const reason = new EngineError('INTERRUPTED', 'Interrupted by SIGTERM')
    const acquiring = acquireLock(repository, { retryFor: 60_000, signal: controller.signal, timing: QUICK })
    setTimeout(() => controller.abort(reason), 10)
    await assert.rejects(acquiring, (error) => error === reason)
  })
})

describe('a lock that work may begin under while it settles', () => {
  const EARLY = { early: true, timing: { ...QUICK, settle: 5000 } }

  it('is there at once, and refuses those that come now', async () => {
    const repository = await testRepository()
    const lock = await acquireLock(repository, EARLY)
    assert.equal((await locksOf(repository)).length, 1)
    await assert.rejects(acquireLock(repository, { exclusive: true, timing: QUICK }), { code: 'LOCKED' })
    await lock.release()
    await assert.rejects(lock.settled, { code: 'INTERRUPTED' })
    assert.deepEqual(await locksOf(repository), [])
  })

  it('stops the work when somebody else turns up, who came at the same time', async () => {
    const repository = await testRepository()
    const lock = await acquireLock(repository, { early: true, timing: { ...QUICK, settle: 300 } })
    assert.equal(lock.signal.aborted, false)
    const other = await foreignLock(repository, { exclusive: true })
    await assert.rejects(lock.settled, { code: 'LOCKED', message: /process 4711/ })
    assert.equal((lock.signal.reason as EngineError).code, 'LOCKED')
    await lock.release()
    assert.deepEqual(await locksOf(repository), [other])
  })

  it('is waited for where a holder could have come and gone between the first look and the lock', async () => {
    const repository = await testRepository()
    const slow: Storage = {
      ...repository.storage,
      async write(name, content, signal) {
        await sleep(40)
        await repository.storage.write(name, content, signal)
        await foreignLock(repository, { exclusive: true })
      },
    }
    const options = { early: true, timing: { ...QUICK, settle: 60 } }
    await assert.rejects(acquireLock(through(repository, slow), options), { code: 'LOCKED' })
  })

  it('is waited for by who would try again', async () => {
    const repository = await testRepository()
    const others: LockId[] = []
    const storage: Storage = {
      ...repository.storage,
      async write(name, content, signal) {
        await repository.storage.write(name, content, signal)
        if (others.length === 0) others.push(await foreignLock(repository, { exclusive: true }))
      },
    }
    const timing = { ...QUICK, settle: 300, retry: [1, 1] } as const
    const onWaiting = () => void repository.storage.remove({ type: 'lock', id: others[0]! })
    await using lock = await acquireLock(through(repository, storage), {
      early: true,
      retryFor: 60_000,
      onWaiting,
      timing,
    })
    await lock.settled
  })
})

describe('a held lock', () => {
  it('is given back when disposed of, also under a signal that has aborted', async () => {
    const repository = await testRepository()
    const controller = new AbortController()
    {
      await using lock = await acquireLock(repository, { signal: controller.signal, timing: QUICK })
      controller.abort(new Error('stop'))
      assert.equal(lock.signal.aborted, true)
      assert.equal((lock.signal.reason as Error).message, 'stop')
    }
    assert.deepEqual(await locksOf(repository), [])
  })

  it('can be given back twice', async () => {
    const repository = await testRepository()
    const lock = await acquireLock(repository, { timing: QUICK })
    await lock.release()
    await lock.release()
    assert.deepEqual(await locksOf(repository), [])
  })

  it('keeps no process from ending', async () => {
    const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    await using _ = await acquireLock(await testRepository(), { timing: QUICK })
    const after = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    assert.ok(after <= before)
  })

  it('is refreshed by a new file before the old one goes, and only its own', async () => {
    const storage = recordingStorage(memoryStorage())
    const repository = await testRepository({ storage })
    const other = await foreignLock(repository)
    const begin = storage.done.length
    const lock = await acquireLock(repository, { timing: RESTLESS })
    await eventually(() => storage.done.length >= begin + 5)
    const [first, second, third, fourth, fifth] = lockFiles(storage.done.slice(begin))
    await lock.release()
    const fileOf = (call: string | undefined) => call!.split(' ')[1]
    for (const written of [first, second, fourth]) assert.match(written!, /^write /)
    assert.equal(third, `remove ${fileOf(first)}`)
    assert.equal(fifth, `remove ${fileOf(second)}`)
    assert.deepEqual(await locksOf(repository), [other])
    assert.equal(lock.signal.aborted, false)
  })

  it('is dated anew by a refresh', async () => {
    const repository = await testRepository()
    await using _ = await acquireLock(repository, { timing: RESTLESS })
    const [first] = await locksOf(repository)
    const { time } = await lockInfo(repository, first!)
    await eventually(async () => !(await locksOf(repository)).includes(first!))
    await eventually(async () => {
      const [id] = await locksOf(repository)
      const info = await lockInfo(repository, id!).catch(() => undefined)
      return info !== undefined && info.time.ns > time.ns
    })
  })

  it('outlives refreshes that fail, and leaves no file behind', async () => {
    for (const fault of [
      { on: 'size', effect: 'fail' },
      { on: 'write', effect: 'fail', nth: 2 },
      { on: 'write', effect: 'lose-answer', nth: 2 },
      { on: 'remove', effect: 'fail', nth: 1 },
      { on: 'remove', effect: 'lose-answer', nth: 1 },
    ] as const) {
      const repository = await testRepository()
      const storage = withFaults(repository.storage, [{ ...fault, type: 'lock' }])
      const recorded = recordingStorage(storage)
      const lock = await acquireLock(through(repository, recorded), { timing: RESTLESS })
      await eventually(() => storage.fired[0]! > 0)
      if (fault.on !== 'size') await eventually(() => lockFiles(recorded.done).length >= 5)
      assert.ok((await locksOf(repository)).length >= 1, 'the lock stays in force')
      assert.equal(lock.signal.aborted, false)
      await lock.release()
      assert.deepEqual(await locksOf(repository), [], JSON.stringify(fault))
    }
  })

  it('is lost when no refresh succeeds for too long, and says why', async () => {
    const repository = await testRepository()
    const storage = withFaults(repository.storage, [{ on: 'size', effect: 'fail' }])
    await using lock = await acquireLock(through(repository, storage), { timing: { ...RESTLESS, lost: 500 } })
    await eventually(() => lock.signal.aborted)
    const reason: EngineError = lock.signal.reason
    assert.equal(reason.code, 'LOCKED')
    assert.match(reason.message, /^Lost the lock on the repository at memory: it could not be refreshed for/)
    assert.equal((reason.cause as EngineError).code, 'STORAGE')
    assert.ok(storage.fired[0]! > 1, 'it was tried more than once')
  })

  it('is lost when a refresh hangs, and can still be given back', async () => {
    const repository = await testRepository()
    const hanging: Storage = {
      ...repository.storage,
      size: (_name, signal) =>
        new Promise((_resolve, reject) => signal!.addEventListener('abort', () => reject(signal!.reason))),
    }
    const lock = await acquireLock(through(repository, hanging), { timing: { ...RESTLESS, lost: 60 } })
    await eventually(() => lock.signal.aborted)
    await lock.release()
    assert.deepEqual(await locksOf(repository), [])
  })

  it('is lost, not taken again, when somebody removed it: they rely on its being gone', async () => {
    const repository = await testRepository()
    await using lock = await acquireLock(repository, { timing: { ...RESTLESS, refresh: 40 } })
    assert.equal(await unlockRepository(repository, { all: true }), 1)
    await eventually(() => lock.signal.aborted)
    assert.match((lock.signal.reason as EngineError).message, /somebody removed it$/)
    assert.deepEqual(await locksOf(repository), [])
  })

  it('that cannot be given back says so, and what to do', async () => {
    const repository = await testRepository()
    const storage = withFaults(repository.storage, [{ on: 'remove', effect: 'fail' }])
    const lock = await acquireLock(through(repository, storage), { timing: QUICK })
    await assert.rejects(lock.release(), {
      code: 'STORAGE',
      message: /^Cannot give back the lock on the repository at memory: /,
      hint: /holdfast unlock/,
    })
    assert.deepEqual(storage.fired, [1])
    assert.equal(process.listenerCount('SIGHUP'), 0)
  })

  it('that cannot be given back after a failure leaves the word to that failure', async () => {
    const repository = await testRepository()
    const storage = withFaults(repository.storage, [{ on: 'remove', effect: 'fail' }])
    const lock = await acquireLock(through(repository, storage), { timing: QUICK })
    await releaseAfter(lock, new Error('what failed before'))
    assert.deepEqual(storage.fired, [1])
  })

  it('does not wait for ever for a storage that does not answer', async () => {
    const repository = await testRepository()
    const hanging: Storage = {
      ...repository.storage,
      remove: (_name, signal) =>
        new Promise((_resolve, reject) => signal!.addEventListener('abort', () => reject(signal!.reason))),
    }
    const lock = await acquireLock(through(repository, hanging), { timing: { ...QUICK, release: 20 } })
    const alive = setInterval(() => {}, 1000) // the time limit alone keeps no process alive
    await assert.rejects(lock.release(), { code: 'STORAGE', message: /timeout/ })
    clearInterval(alive)
  })
})

describe('unlocking', () => {
  it('removes stale locks and no others', async () => {
    const repository = await testRepository()
    const dead = spawn(process.execPath, ['-e', ''])
    await once(dead, 'exit')
    const stale = [
      await foreignLock(repository, { time: minutesAgo(31) }),
      await foreignLock(repository, { hostname: hostname(), pid: dead.pid! }),
      await foreignLock(repository, { hostname: hostname(), pid: 0 }),
    ]
    const held = [
      await foreignLock(repository, { time: minutesAgo(29) }),
      await foreignLock(repository, { time: minutesAgo(-600) }),
      await foreignLock(repository, { hostname: hostname(), pid: process.pid }),
    ]
    assert.equal(await unlockRepository(repository), stale.length)
    assert.deepEqual(await locksOf(repository), held.toSorted())
  })

  it('leaves what cannot be read, unless all are to go', async () => {
    const repository = await testRepository()
    const garbage = 'b'.repeat(64)
    await repository.storage.write({ type: 'lock', id: garbage }, Buffer.from('garbage'))
    const held = await foreignLock(repository)
    assert.equal(await unlockRepository(repository), 0)
    assert.deepEqual(await locksOf(repository), [garbage, held].toSorted())
    assert.equal(await unlockRepository(repository, { all: true }), 2)
    assert.deepEqual(await locksOf(repository), [])
  })

  it('passes on what the storage says', async () => {
    for (const on of ['list', 'read', 'remove'] as const) {
      const repository = await testRepository()
      await foreignLock(repository, { time: minutesAgo(31) })
      const storage = withFaults(repository.storage, [{ on, type: 'lock', effect: 'fail' }])
      await assert.rejects(unlockRepository(through(repository, storage)), { code: 'STORAGE' })
      assert.deepEqual(storage.fired, [1])
    }
  })
})

const HOLDER = `
const [engine, path, password, exclusive] = process.argv.slice(1)
const { localStorage } = await import(engine + '/storage/local.ts')
const { openRepository } = await import(engine + '/repository/repository.ts')
const { acquireLock } = await import(engine + '/repository/locks.ts')
const repository = await openRepository(localStorage(path), { password: Buffer.from(password) })
const lock = await acquireLock(repository, { exclusive: exclusive === 'exclusive', timing: { settle: 1 } })
process.stdout.write('held')
for await (const _ of process.stdin);
await lock.release()
`

/** Another process that holds a lock of ours until its input ends. */
async function holdElsewhere(path: string, kind: 'shared' | 'exclusive'): Promise<ChildProcessWithoutNullStreams> {
  const engine = join(import.meta.dirname, '..')
  const options = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', HOLDER]
  const child = spawn(process.execPath, [...options, engine, path, PASSWORD.toString(), kind])
  child.stderr.pipe(process.stderr)
  assert.equal(String((await once(child.stdout, 'data'))[0]), 'held')
  return child
}

async function localRepository(path: string): Promise<Repository> {
  return createRepository(localStorage(path), { password: PASSWORD, kdf: { ...CHEAP_KDF, N: 1024, r: 8 } })
}

describe('locks of other processes', () => {
  it('a process that hangs up keeps its lock', async () => {
    using folder = temporaryFolder()
    const repository = await localRepository(folder.path)
    const child = await holdElsewhere(folder.path, 'exclusive')
    child.kill('SIGHUP')
    await sleep(100)
    assert.equal(child.exitCode ?? child.signalCode, null)
    const facts = await factsOf(repository)
    await assert.rejects(acquireLock(repository), { code: 'LOCKED', facts })
    child.stdin.end()
    assert.deepEqual(await once(child, 'exit'), [0, null])
    assert.deepEqual(await locksOf(repository), [])
  })

  it('the lock of a process that was killed is removed by unlock', async () => {
    using folder = temporaryFolder()
    const repository = await localRepository(folder.path)
    const child = await holdElsewhere(folder.path, 'exclusive')
    assert.equal(await unlockRepository(repository), 0)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await assert.rejects(acquireLock(repository), { code: 'LOCKED', hint: /^Its process is gone/ })
    assert.equal(await unlockRepository(repository), 1)
    await using _ = await acquireLock(repository, { exclusive: true, timing: QUICK })
  })
})

async function factsOf(repository: Repository) {
  const [id] = await locksOf(repository)
  const { hostname, username, pid, exclusive, time } = await lockInfo(repository, id!)
  return { lock: id, hostname, username, pid, exclusive, since: new Date(Number(time.ns / 1_000_000n)).toISOString() }
}

describe('locks of real restic and ours', { skip: withoutRestic() }, () => {
  const LOCKED = 11

  it('our shared lock lets restic read and keeps it from anything exclusive', async () => {
    using folder = temporaryFolder()
    const repository = await localRepository(folder.path)
    await using _ = await acquireLock(repository)
    const options = { repository: folder.path, password: PASSWORD, lock: true } as const
    assert.equal(runRestic(['snapshots'], options).status, 0)
    const { status, stderr } = runRestic(['check'], options)
    assert.equal(status, LOCKED)
    assert.match(stderr, new RegExp(`by PID ${process.pid} on ${hostname()}`))
  })

  it('our exclusive lock keeps restic from everything', async () => {
    using folder = temporaryFolder()
    const repository = await localRepository(folder.path)
    const lock = await acquireLock(repository, { exclusive: true })
    const options = { repository: folder.path, password: PASSWORD, lock: true } as const
    assert.equal(runRestic(['snapshots'], options).status, LOCKED)
    await lock.release()
    assert.equal(runRestic(['check'], options).status, 0)
  })

  it('a restic that backs up lets us read and keeps us from anything exclusive', async () => {
    using folder = temporaryFolder()
    const repository = await localRepository(folder.path)
    const options = { repository: folder.path, password: PASSWORD }
    const restic = spawn(resticPath('restic'), ['--no-cache', 'backup', '--stdin'], {
      env: resticEnvironment(options),
      stdio: ['pipe', 'ignore', 'inherit'],
    })
    await eventually(async () => (await locksOf(repository)).length === 1)
    await assert.rejects(acquireLock(repository, { exclusive: true, timing: QUICK }), {
      code: 'LOCKED',
      message: new RegExp(`\\(process ${restic.pid}\\) holds a lock`),
    })
    await (await acquireLock(repository, { timing: QUICK })).release()
    assert.equal(await unlockRepository(repository), 0)
    restic.stdin.end('content')
    assert.deepEqual(await once(restic, 'exit'), [0, null])
    await using _ = await acquireLock(repository, { exclusive: true, timing: QUICK })
  })

  it('restic’s unlock neither kills a live process of ours nor takes its lock, and clears up after a dead one', async () => {
    using folder = temporaryFolder()
    const repository = await localRepository(folder.path)
    const options = { repository: folder.path, password: PASSWORD }
    const child = await holdElsewhere(folder.path, 'exclusive')
    assert.equal(runRestic(['unlock'], options).status, 0)
    await sleep(100)
    assert.equal(child.exitCode ?? child.signalCode, null)
    assert.equal((await locksOf(repository)).length, 1)
    child.kill('SIGKILL')
    await once(child, 'exit')
    assert.equal(runRestic(['unlock'], options).status, 0)
    assert.deepEqual(await locksOf(repository), [])
  })

  it('restic reads a lock of ours as its own', async () => {
    using folder = temporaryFolder()
    const repository = await openRepository((await localRepository(folder.path)).storage, { password: PASSWORD })
    await using _ = await acquireLock(repository, { exclusive: true })
    const [id] = await locksOf(repository)
    const options = { repository: folder.path, password: PASSWORD }
    const { stdout } = runRestic(['--no-lock', 'cat', 'lock', id!], options)
    const lock = JSON.parse(stdout)
    assert.equal(lock.pid, process.pid)
    assert.equal(lock.exclusive, true)
    assert.equal(lock.hostname, hostname())
  })
})
