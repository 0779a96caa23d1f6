import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { hashId } from '../format/id.ts'
import { describeStorage } from './conformance.test-suite.ts'
import { withFaults } from './faults.ts'
import { memoryStorage } from './memory.ts'
import type { FileName, Storage } from './storage.ts'

const A: FileName = { type: 'pack', id: hashId(Buffer.from('a')) }
const B: FileName = { type: 'pack', id: hashId(Buffer.from('b')) }
const CONFIG: FileName = { type: 'config', id: '' }

describeStorage('faultless', async () => withFaults(memoryStorage(), []))

describe('injected faults', () => {
  it('the nth call that fits fails, with nothing done, and is counted', async () => {
    const memory = memoryStorage()
    const storage = withFaults(memory, [{ on: 'write', type: 'pack', nth: 2, effect: 'fail' }])
    await storage.write(CONFIG, Buffer.from('config'))
    await storage.write(A, Buffer.from('a'))
    assert.deepEqual(storage.fired, [0])
    await assert.rejects(storage.write(B, Buffer.from('b')), { code: 'STORAGE' })
    await assert.rejects(memory.size(B), { code: 'NOT_FOUND' })
    await storage.write(B, Buffer.from('b'))
    assert.deepEqual(storage.fired, [1])
  })

  it('without a number every call that fits fails, with the error that is given', async () => {
    const error = new Error('no network')
    const methods = ['create', 'list', 'read', 'size', 'write', 'remove'] as const
    const storage = withFaults(
      memoryStorage(),
      methods.map((on) => ({ on, effect: 'fail', error })),
    )
    const is = (reason: unknown) => reason === error
    for (let round = 0; round < 2; round++) {
      await assert.rejects(storage.create(), is)
      await assert.rejects(sizesOf(storage), is)
      await assert.rejects(storage.read(A), is)
      await assert.rejects(storage.size(A), is)
      await assert.rejects(storage.write(A, Buffer.from('a')), is)
      await assert.rejects(storage.remove(A), is)
    }
    assert.deepEqual(storage.fired, [2, 2, 2, 2, 2, 2])
  })

  it('a lost answer is of something that happened', async () => {
    const memory = memoryStorage()
    const storage = withFaults(memory, [
      { on: 'write', effect: 'lose-answer', nth: 1 },
      { on: 'remove', effect: 'lose-answer', nth: 1 },
      { on: 'list', effect: 'lose-answer', nth: 1 },
    ])
    await assert.rejects(storage.write(A, Buffer.from('a')), { code: 'STORAGE' })
    assert.equal((await memory.read(A)).toString(), 'a')
    const seen: FileName[] = []
    await assert.rejects(async () => {
      for await (const { name } of storage.list('pack')) seen.push(name)
    })
    assert.deepEqual(seen, [A])
    await assert.rejects(storage.remove(A), { code: 'STORAGE' })
    await assert.rejects(memory.size(A), { code: 'NOT_FOUND' })
    assert.deepEqual(storage.fired, [1, 1, 1])
  })

  it('short and flipped content comes and goes without an error', async () => {
    const memory = memoryStorage()
    const storage = withFaults(memory, [
      { on: 'write', nth: 1, effect: 'short' },
      { on: 'write', nth: 2, effect: 'flip' },
      { on: 'read', nth: 3, effect: 'short' },
      { on: 'read', nth: 4, effect: 'flip' },
      { on: 'list', nth: 1, effect: 'short' },
    ])
    const content = Buffer.from('0123')
    await storage.write(A, content)
    await storage.write(B, [content.subarray(0, 2), content.subarray(2)])
    assert.equal(content.toString(), '0123')
    assert.equal((await storage.read(A)).toString(), '01')
    assert.equal((await storage.read(B)).toString(), '0133')
    assert.equal((await storage.read(B)).toString(), '01')
    assert.equal((await storage.read(B)).toString(), '0123')
    assert.deepEqual(await sizesOf(storage), [2])
    assert.deepEqual(await sizesOf(storage), [2, 4])
    assert.deepEqual(storage.fired, [1, 1, 1, 1, 1])
  })

  it('what is late happens after what began later', async () => {
    const storage = withFaults(memoryStorage(), [{ on: 'write', nth: 1, effect: 'late' }])
    const order: string[] = []
    await Promise.all([
      storage.write(A, Buffer.from('a')).then(() => order.push('late')),
      storage.write(B, Buffer.from('b')).then(() => order.push('in time')),
    ])
    assert.deepEqual(order, ['in time', 'late'])
    assert.deepEqual(storage.fired, [1])
  })

  it('what is repeated gets the second answer', async () => {
    const memory = memoryStorage()
    const methods = ['write', 'list', 'read', 'remove'] as const
    const storage = withFaults(
      memory,
      methods.map((on) => ({ on, nth: 1, effect: 'duplicate' })),
    )
    await assert.rejects(storage.write(A, Buffer.from('a')), { code: 'EXISTS' })
    assert.deepEqual(await sizesOf(storage), [1, 1])
    assert.equal((await storage.read(A)).toString(), 'a')
    await storage.remove(A)
    assert.deepEqual(await sizesOf(storage), [])
    assert.deepEqual(storage.fired, [1, 1, 1, 1])
  })

  it('of two faults that fit a call the first happens', async () => {
    const storage = withFaults(memoryStorage(), [
      { on: 'size', nth: 1, effect: 'fail', error: new Error('first') },
      { on: 'size', effect: 'fail', error: new Error('second') },
    ])
    await assert.rejects(storage.size(A), /first/)
    await assert.rejects(storage.size(A), /second/)
    assert.deepEqual(storage.fired, [1, 1])
  })

  it('a fault that could never happen is refused', () => {
    assert.throws(() => withFaults(memoryStorage(), [{ on: 'size', effect: 'flip' }]), TypeError)
    assert.throws(() => withFaults(memoryStorage(), [{ on: 'list', effect: 'flip' }]), TypeError)
    assert.throws(() => withFaults(memoryStorage(), [{ on: 'remove', effect: 'short' }]), TypeError)
  })
})

async function sizesOf(storage: Storage): Promise<number[]> {
  const sizes: number[] = []
  for await (const { size } of storage.list('pack')) sizes.push(size)
  return sizes
}
