import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import fc from 'fast-check'
import { EngineError } from '../error.ts'
import { encodeLock, type LockInfo, parseLock } from './lock.ts'
import { ResticRepository, withoutRestic } from './restic.test-oracle.ts'

const PLAIN = { noNullPrototype: true }
const text = fc.string({ unit: 'grapheme' })
const uint32 = fc.integer({ min: 0, max: 0xffff_ffff })
const lock: fc.Arbitrary<LockInfo> = fc.record(
  {
    time: fc.record({ ns: fc.bigInt({ min: 0n, max: 2n ** 63n }), offset: fc.integer({ min: -900, max: 900 }) }, PLAIN),
    exclusive: fc.boolean(),
    hostname: text,
    username: text,
    pid: uint32,
    uid: uint32,
    gid: uint32,
  },
  PLAIN,
)

const parse = (json: string) => parseLock(Buffer.from(json))

test('every lock reads as it was written', () => {
  fc.assert(fc.property(lock, (lock) => assert.deepEqual(parseLock(encodeLock(lock)), lock)))
})

test('a lock is written with its keys in order, user and group of root left out', () => {
  const lock: LockInfo = {
    time: { ns: 0n, offset: 0 },
    exclusive: false,
    hostname: 'h',
    username: 'u',
    pid: 123,
    uid: 1000,
    gid: 100,
  }
  const start = '{"time":"1970-01-01T00:00:00Z","exclusive":false,"hostname":"h","username":"u","pid":123'
  assert.equal(encodeLock(lock).toString(), `${start},"uid":1000,"gid":100}`)
  assert.equal(encodeLock({ ...lock, uid: 0, gid: 0 }).toString(), `${start}}`)
})

for (const [what, json] of [
  ['no object', '[]'],
  ['a time that is none', '{"time":"now"}'],
  ['neither true nor false', '{"exclusive":1}'],
  ['half a process', '{"pid":0.5}'],
  ['a process as text', '{"pid":"1"}'],
  ['a negative user', '{"uid":-1}'],
] as const) {
  test(`${what} is CORRUPT`, () => assert.throws(() => parse(json), { name: 'EngineError', code: 'CORRUPT' }))
}

test('a lock with flipped bytes is either read or CORRUPT', () => {
  fc.assert(
    fc.property(lock, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }), (lock, flips) => {
      const damaged = encodeLock(lock)
      for (const [at, byte] of flips) damaged[at % damaged.length] = byte
      try {
        parseLock(damaged)
      } catch (error) {
        assert.ok(error instanceof EngineError && error.code === 'CORRUPT', String(error))
      }
    }),
    { numRuns: 500 },
  )
})

test('the lock that restic holds while it works is written the same after reading', {
  skip: withoutRestic,
}, async () => {
  using repository = await ResticRepository.make()
  const backup = repository.start(['backup', '--stdin'])
  try {
    let lock: Buffer | undefined
    while (lock === undefined) {
      assert.equal(backup.exitCode, null, 'restic waits for its input')
      await setTimeout(20)
      // Under its final name a lock file is complete.
      lock = repository.unpackedFiles('locks').values().next().value
    }
    const read = parseLock(lock)
    assert.equal(encodeLock(read).toString(), lock.toString())
    assert.deepEqual([read.pid, read.exclusive, read.uid], [backup.pid, false, process.getuid?.()])
  } finally {
    backup.stdin.end('the end')
    await once(backup, 'close')
  }
})
