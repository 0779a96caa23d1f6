import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it, type TestContext } from 'node:test'
import { EngineError, type EngineErrorCode } from '../error.ts'
import { hashId } from '../format/id.ts'
import { describeName } from './layout.ts'
import type { FileName, FileType, Storage } from './storage.ts'

export interface ConformanceOptions {
  /** Tests that a storage cannot pass, by name, with the reason. */
  readonly skip?: Readonly<Record<string, string>>
  /** A storage whose location does not exist. */
  readonly missing?: (test: TestContext) => Promise<Storage>
  /** A storage with room for some files of 64 KiB, not for one of 16 MiB; `undefined` where none can be made. */
  readonly small?: (test: TestContext) => Promise<Storage | undefined>
}

const FILE_TYPES: readonly FileType[] = ['config', 'key', 'lock', 'snapshot', 'index', 'pack']
const CONFIG: FileName = { type: 'config', id: '' }

/** Every promise of `Storage`, for one kind of it. `make` gives an empty one that nobody has called `create` on. */
export function describeStorage(
  kind: string,
  make: (test: TestContext) => Promise<Storage>,
  { skip = {}, missing, small }: ConformanceOptions = {},
): void {
  describe(`${kind} storage`, () => {
    const names = new Set<string>()

    function promise(name: string, check: (storage: Storage, test: TestContext) => Promise<void>): void {
      names.add(name)
      it(name, { skip: skip[name] ?? false }, async (test) => {
        const storage = await make(test)
        await storage.create()
        await check(storage, test)
      })
    }

    promise('a new storage lists nothing', async (storage) => {
      for (const type of FILE_TYPES) assert.deepEqual(await listed(storage, type), [])
    })

    promise('a file beside the repository is replaced whole, and is in no listing', async (storage) => {
      const beside = storage.beside!
      assert.equal(await beside.read('NOTE.txt'), undefined)
      for (const content of [randomBytes(100_000), Buffer.alloc(0), Buffer.from('last')]) {
        await beside.write('NOTE.txt', content)
        assert.deepEqual(await beside.read('NOTE.txt'), content)
      }
      for (let times = 0; times < 2; times++) await beside.remove('OTHER.txt')
      await beside.write('OTHER.txt', randomBytes(10))
      await beside.remove('OTHER.txt')
      assert.equal(await beside.read('OTHER.txt'), undefined)
      for (const type of FILE_TYPES) assert.deepEqual(await listed(storage, type), [])
      const aborted = AbortSignal.abort(new Error('enough'))
      await assert.rejects(beside.write('NOTE.txt', Buffer.from('x'), aborted), /enough/)
      await assert.rejects(beside.read('NOTE.txt', aborted), /enough/)
      for (const name of ['', '.', '..', 'config', 'keys', 'data/x', '../x', '/x', '-x', 'a\0b', 'x'.repeat(101)]) {
        await assert.rejects(beside.read(name), { code: 'INVALID_ID' })
        await assert.rejects(beside.write(name, Buffer.from('x')), { code: 'INVALID_ID' })
        await assert.rejects(beside.remove(name), { code: 'INVALID_ID' })
      }
    })

    promise('every file is listed once, under its type, with its size', async (storage) => {
      const expected = new Map<FileType, string[]>()
      for (const type of FILE_TYPES) {
        const entries: string[] = []
        for (let size = 0; size < (type === 'config' ? 1 : 40); size++) {
          const content = randomBytes(size + 5)
          const name = type === 'config' ? CONFIG : { type, id: hashId(content) }
          await storage.write(name, content)
          entries.push(`${name.type}/${name.id}: ${content.length}`)
        }
        expected.set(type, entries.sort())
      }
      for (const type of FILE_TYPES) assert.deepEqual(await listed(storage, type), expected.get(type))
    })

    promise('a file removed while its folder is listed does no harm', async (storage) => {
      const kept = new Set<string>()
      for (let count = 0; count < 80; count++) kept.add((await writeRandom(storage, 'lock', 8)).id)
      const seen: string[] = []
      for await (const { name } of storage.list('lock')) {
        seen.push(name.id)
        const victim = [...kept].find((id) => !seen.includes(id))
        if (victim === undefined) continue
        kept.delete(victim)
        await storage.remove({ type: 'lock', id: victim })
      }
      assert.equal(new Set(seen).size, seen.length)
      for (const id of kept) assert.ok(seen.includes(id))
    })

    promise('a file is listed only when all of it can be read', async (storage) => {
      const content = randomBytes(6_000_000)
      const name: FileName = { type: 'pack', id: hashId(content) }
      const writing = storage.write(name, content)
      let finished = false
      const watching = (async () => {
        let looks = 0
        while (!finished) {
          looks++
          for await (const file of storage.list('pack')) {
            assert.equal(file.size, content.length)
            assert.equal(hashId(await storage.read(file.name)), name.id)
          }
        }
        return looks
      })()
      await writing.finally(() => {
        finished = true
      })
      assert.ok((await watching) > 0)
    })

    promise('a file reads back whole and in any part', async (storage) => {
      const content = randomBytes(100_000)
      const name: FileName = { type: 'pack', id: hashId(content) }
      await storage.write(name, content)
      assert.deepEqual(await storage.read(name), content)
      assert.equal(await storage.size(name), content.length)
      for (const [offset, length] of [
        [0, 1],
        [0, 100_000],
        [99_999, 1],
        [500, 70_000],
        [0, 0],
        [100_000, 0],
      ] as const) {
        assert.deepEqual(await storage.read(name, { offset, length }), content.subarray(offset, offset + length))
      }
      for (const fromEnd of [0, 1, 4096, 100_000]) {
        assert.deepEqual(await storage.read(name, { fromEnd }), content.subarray(content.length - fromEnd))
      }
    })

    promise('a read beyond the end is refused, however little is missing', async (storage) => {
      const name = await writeRandom(storage, 'pack', 1000)
      for (const range of [
        { offset: 0, length: 1001 },
        { offset: 999, length: 2 },
        { offset: 1001, length: 0 },
        { offset: 5000, length: 10 },
        { fromEnd: 1001 },
      ]) {
        await rejects(storage.read(name, range), 'TRUNCATED', name)
      }
    })

    promise('a read far beyond the end is refused before it costs memory', async (storage) => {
      const name = await writeRandom(storage, 'pack', 1000)
      await rejects(storage.read(name, { offset: 0, length: 2 ** 52 }), 'TRUNCATED', name)
      await rejects(storage.read(name, { offset: 2 ** 52, length: 2 ** 52 }), 'TRUNCATED', name)
      await rejects(storage.read(name, { fromEnd: 2 ** 52 }), 'TRUNCATED', name)
    })

    promise('a range that no file has is refused', async (storage) => {
      const name = await writeRandom(storage, 'pack', 1000)
      for (const range of [
        { offset: -1, length: 1 },
        { offset: 0, length: -1 },
        { offset: 0.5, length: 1 },
        { fromEnd: -1 },
      ]) {
        await rejects(storage.read(name, range), 'STORAGE')
      }
    })

    promise('an empty file is a file', async (storage) => {
      const name: FileName = { type: 'key', id: hashId(Buffer.alloc(0)) }
      await storage.write(name, Buffer.alloc(0))
      assert.equal(await storage.size(name), 0)
      assert.deepEqual(await storage.read(name), Buffer.alloc(0))
      assert.deepEqual(await storage.read(name, { fromEnd: 0 }), Buffer.alloc(0))
      assert.deepEqual(await listed(storage, 'key'), [`key/${name.id}: 0`])
    })

    promise('a file of many megabytes reads back', async (storage) => {
      const content = randomBytes(21_000_001)
      const name: FileName = { type: 'pack', id: hashId(content) }
      await storage.write(name, content)
      assert.equal(hashId(await storage.read(name)), name.id)
      assert.deepEqual(await storage.read(name, { fromEnd: 77 }), content.subarray(-77))
    })

    promise('parts are written one after the other, empty and tiny ones too', async (storage) => {
      const parts = Array.from({ length: 5000 }, (_, index) => randomBytes(index % 7))
      parts.push(randomBytes(9_000_000), Buffer.alloc(0), randomBytes(3))
      const content = Buffer.concat(parts)
      const name: FileName = { type: 'pack', id: hashId(content) }
      await storage.write(name, parts)
      assert.equal(hashId(await storage.read(name)), name.id)

      const empty: FileName = { type: 'index', id: hashId(Buffer.alloc(0)) }
      await storage.write(empty, [])
      assert.equal(await storage.size(empty), 0)
    })

    promise('bytes that were taken may change, and are stored as they were', async (storage) => {
      const content = [randomBytes(9_000_000), randomBytes(3)]
      const name: FileName = { type: 'pack', id: hashId(Buffer.concat(content)) }
      let times = 0
      await storage.write(name, content, undefined, () => {
        times += 1
        for (const part of content) part.fill(0)
      })
      assert.ok(times <= 1)
      assert.equal(hashId(await storage.read(name)), name.id)
    })

    promise('the buffers of a caller stay its own', async (storage) => {
      const content = randomBytes(1000)
      const name: FileName = { type: 'snapshot', id: hashId(content) }
      const written = Buffer.from(content)
      await storage.write(name, written)
      written.fill(0)
      const read = await storage.read(name)
      assert.deepEqual(read, content)
      read.fill(0)
      assert.deepEqual(await storage.read(name), content)
    })

    promise('a name that is not there is not found, and says which', async (storage) => {
      for (const type of FILE_TYPES) {
        const name = type === 'config' ? CONFIG : { type, id: hashId(randomBytes(8)) }
        await rejects(storage.read(name), 'NOT_FOUND', name)
        await rejects(storage.read(name, { offset: 0, length: 1 }), 'NOT_FOUND', name)
        await rejects(storage.size(name), 'NOT_FOUND', name)
      }
    })

    promise('one ID may name a file of each type', async (storage) => {
      const id = hashId(randomBytes(8))
      for (const type of FILE_TYPES) {
        if (type !== 'config') await storage.write({ type, id }, Buffer.from(type))
      }
      await storage.remove({ type: 'lock', id })
      for (const type of FILE_TYPES) {
        if (type === 'config') continue
        if (type === 'lock') await rejects(storage.read({ type, id }), 'NOT_FOUND')
        else assert.equal((await storage.read({ type, id })).toString(), type)
      }
    })

    promise('a write never replaces a file', async (storage) => {
      for (const type of FILE_TYPES) {
        const content = randomBytes(500)
        const name = type === 'config' ? CONFIG : { type, id: hashId(content) }
        await storage.write(name, content)
        await rejects(storage.write(name, randomBytes(500)), 'EXISTS', name)
        await rejects(storage.write(name, content), 'EXISTS', name)
        assert.deepEqual(await storage.read(name), content)
        assert.equal((await listed(storage, type)).length, 1)
      }
    })

    promise('of many writers of one name exactly one succeeds', async (storage) => {
      const contents = Array.from({ length: 8 }, () => randomBytes(200_000))
      const outcomes = await Promise.allSettled(contents.map((content) => storage.write(CONFIG, content)))
      const winners = contents.filter((_, index) => outcomes[index]!.status === 'fulfilled')
      assert.equal(winners.length, 1)
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'EXISTS')
      }
      assert.deepEqual(await storage.read(CONFIG), winners[0])
    })

    promise('an aborted signal stops everything, with its own reason', async (storage) => {
      const name = await writeRandom(storage, 'pack', 1000)
      const reason = new Error('enough')
      const signal = AbortSignal.abort(reason)
      const is = (error: unknown) => error === reason
      await assert.rejects(listed(storage, 'pack', signal), is)
      await assert.rejects(storage.read(name, undefined, signal), is)
      await assert.rejects(storage.size(name, signal), is)
      await assert.rejects(storage.write({ type: 'pack', id: hashId(Buffer.of(1)) }, Buffer.of(1), signal), is)
      await assert.rejects(storage.remove(name, signal), is)
      assert.deepEqual(await listed(storage, 'pack'), [`pack/${name.id}: 1000`])
    })

    promise('a signal that aborts while listing stops it', async (storage) => {
      for (let count = 0; count < 5; count++) await writeRandom(storage, 'index', 10)
      const controller = new AbortController()
      const reason = new Error('enough')
      let seen = 0
      await assert.rejects(
        async () => {
          for await (const _ of storage.list('index', controller.signal)) {
            seen++
            controller.abort(reason)
          }
        },
        (error) => error === reason,
      )
      assert.equal(seen, 1)
    })

    promise('a signal that never aborts changes nothing', async (storage) => {
      const { signal } = new AbortController()
      const content = randomBytes(5_000_000)
      const name: FileName = { type: 'pack', id: hashId(content) }
      await storage.write(name, content, signal)
      assert.equal(await storage.size(name, signal), content.length)
      assert.equal(hashId(await storage.read(name, undefined, signal)), name.id)
      assert.equal((await listed(storage, 'pack', signal)).length, 1)
      await storage.remove(name, signal)
    })

    promise('an interrupted write leaves all or nothing, and can be repeated', async (storage) => {
      const content = randomBytes(16_000_000)
      const name: FileName = { type: 'pack', id: hashId(content) }
      for (const delay of [0, 1, 3, 6, 10]) {
        const controller = new AbortController()
        const reason = new Error('enough')
        const timer = setTimeout(() => controller.abort(reason), delay)
        const finished = await storage.write(name, content, controller.signal).then(
          () => true,
          (error: unknown) => {
            assert.equal(error, reason)
            return false
          },
        )
        clearTimeout(timer)
        if (finished) {
          assert.equal(hashId(await storage.read(name)), name.id)
          await storage.remove(name)
        } else {
          assert.deepEqual(await listed(storage, 'pack'), [])
          await rejects(storage.read(name), 'NOT_FOUND')
        }
      }
      await storage.write(name, content)
      assert.equal(hashId(await storage.read(name)), name.id)
    })

    promise('a removed file is gone, and nothing else is', async (storage) => {
      for (const type of FILE_TYPES) {
        const removed = type === 'config' ? CONFIG : { type, id: hashId(randomBytes(8)) }
        await storage.write(removed, Buffer.from('one'))
        const kept = type === 'config' ? undefined : await writeRandom(storage, type, 3)
        await storage.remove(removed)
        await rejects(storage.read(removed), 'NOT_FOUND')
        await rejects(storage.size(removed), 'NOT_FOUND')
        assert.deepEqual(await listed(storage, type), kept === undefined ? [] : [`${type}/${kept.id}: 3`])
      }
    })

    promise('removing what is not there is no error', async (storage) => {
      for (const type of FILE_TYPES) {
        await storage.remove(type === 'config' ? CONFIG : { type, id: hashId(randomBytes(8)) })
      }
    })

    promise('a removed name can be written again', async (storage) => {
      await storage.write(CONFIG, Buffer.from('one'))
      await storage.remove(CONFIG)
      await storage.write(CONFIG, Buffer.from('two'))
      assert.equal((await storage.read(CONFIG)).toString(), 'two')
    })

    promise('creating again leaves what is there as it is', async (storage) => {
      await storage.write(CONFIG, Buffer.from('one'))
      const name = await writeRandom(storage, 'pack', 100)
      await storage.create()
      assert.equal((await storage.read(CONFIG)).toString(), 'one')
      assert.equal(await storage.size(name), 100)
    })

    promise('a name that is none reaches nothing', async (storage) => {
      const id = hashId(randomBytes(8))
      const none: FileName[] = [
        { type: 'pack', id: '' },
        { type: 'pack', id: id.slice(1) },
        { type: 'pack', id: `${id}0` },
        { type: 'pack', id: `${id}\n` },
        { type: 'pack', id: id.replace(/./, 'A') },
        { type: 'snapshot', id: '../config' },
        { type: 'key', id: `../${'0'.repeat(61)}` },
        { type: 'config', id },
      ]
      for (const name of none) {
        await rejects(storage.read(name), 'INVALID_ID')
        await rejects(storage.size(name), 'INVALID_ID')
        await rejects(storage.write(name, Buffer.of(1)), 'INVALID_ID')
        await rejects(storage.remove(name), 'INVALID_ID')
      }
      for (const type of FILE_TYPES) assert.deepEqual(await listed(storage, type), [])
    })

    promise('many files are written and read at the same time', async (storage) => {
      const contents = Array.from({ length: 60 }, (_, index) => randomBytes(1000 + index * 997))
      const files = contents.map((content) => ({ name: { type: 'pack', id: hashId(content) } as const, content }))
      await Promise.all(files.map(({ name, content }) => storage.write(name, content)))
      await Promise.all(files.map(async ({ name, content }) => assert.deepEqual(await storage.read(name), content)))
      assert.equal((await listed(storage, 'pack')).length, files.length)
    })

    it('a location that is not there rejects instead of looking empty', {
      skip: missing === undefined && 'this kind is always there',
    }, async (test) => {
      const storage = await missing!(test)
      for (const type of FILE_TYPES) {
        const name = type === 'config' ? CONFIG : { type, id: hashId(randomBytes(8)) }
        await rejects(listed(storage, type), 'NOT_FOUND')
        await rejects(storage.read(name), 'NOT_FOUND')
        await rejects(storage.size(name), 'NOT_FOUND')
        await rejects(storage.write(name, Buffer.of(1)), 'NOT_FOUND')
      }
    })

    it('a write without room is refused, leaves nothing, and the room can still be used', {
      skip: small === undefined && 'this kind has no limit',
    }, async (test) => {
      const storage = await small!(test)
      if (storage === undefined) return test.skip('no storage with little room can be made here')
      await storage.create()
      const big = randomBytes(16 * 1024 * 1024)
      const name: FileName = { type: 'pack', id: hashId(big) }
      for (let attempt = 0; attempt < 3; attempt++) {
        await rejects(storage.write(name, big), 'NO_SPACE', name)
        assert.deepEqual(await listed(storage, 'pack'), [])
        await rejects(storage.read(name), 'NOT_FOUND')
      }
      const little = await writeRandom(storage, 'pack', 65536)
      assert.equal(hashId(await storage.read(little)), little.id)
      return undefined
    })

    it('every exception is from a promise that exists', () => {
      for (const name of Object.keys(skip)) assert.ok(names.has(name), `no test is called: ${name}`)
    })
  })
}

async function writeRandom(storage: Storage, type: FileType, size: number): Promise<FileName> {
  const content = randomBytes(size)
  const name: FileName = { type, id: hashId(content) }
  await storage.write(name, content)
  return name
}

async function listed(storage: Storage, type: FileType, signal?: AbortSignal): Promise<string[]> {
  const files: string[] = []
  for await (const { name, size } of storage.list(type, signal)) files.push(`${name.type}/${name.id}: ${size}`)
  return files.sort()
}

/** With `name`: the error must say of which file it speaks, to programs and to people. */
async function rejects(work: Promise<unknown>, code: EngineErrorCode, name?: FileName): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof EngineError, String(error))
    assert.equal(error.code, code, error.message)
    if (name !== undefined) {
      assert.equal(error.facts.type, name.type)
      assert.equal(error.facts.id, name.id)
      assert.ok(error.message.includes(describeName(name)), error.message)
    }
    return true
  })
}
