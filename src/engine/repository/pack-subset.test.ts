import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { hashId, type PackId } from '../format/id.ts'
import { choosePacks, parsePackSubset, parseSize } from './pack-subset.ts'

describe('a subset of the packs', () => {
  it('is read as restic reads it', () => {
    assert.deepEqual(parsePackSubset('2/5'), { group: 2, of: 5 })
    assert.deepEqual(parsePackSubset('12.5%'), { percent: 12.5 })
    assert.deepEqual(parsePackSubset('50M'), { bytes: 50 * 2 ** 20 })
    assert.deepEqual(parsePackSubset('2g'), { bytes: 2 ** 31 })
  })

  it('is nothing else', () => {
    for (const text of ['', '0/5', '6/5', '1/257', '0%', '101%', '0', '-1', '1.5M', '5 M', '5x', '1/2/3']) {
      assert.equal(parsePackSubset(text), undefined, text)
    }
    assert.equal(parseSize('9999999t'), undefined)
  })

  const packs = Array.from({ length: 300 }, (_, i) => ({ id: hashId<PackId>(Buffer.from([i, i >> 8])), size: 1000 }))

  it('of all groups is all packs, each once, told by the first byte of the ID', () => {
    const groups = [1, 2, 3, 4, 5].map((group) => choosePacks(packs, { group, of: 5 }))
    assert.deepEqual(new Set(groups.flat()), new Set(packs))
    assert.equal(groups.flat().length, packs.length)
    assert.ok(groups[1]!.every(({ id }) => Number.parseInt(id.slice(0, 2), 16) % 5 === 1))
  })

  it('of a share is so many packs, rounded down but at least one, chosen by chance', () => {
    assert.equal(choosePacks(packs, { percent: 33.5 }).length, 100)
    assert.equal(choosePacks(packs, { percent: 0.01 }).length, 1)
    assert.equal(choosePacks([], { percent: 50 }).length, 0)
    const chosen = choosePacks(packs, { percent: 100 }, () => 0)
    assert.deepEqual(new Set(chosen), new Set(packs))
    assert.notDeepEqual(choosePacks(packs, { percent: 10 }), choosePacks(packs, { percent: 10 }))
  })

  it('of a size is the share of packs that the size is of all bytes', () => {
    assert.equal(choosePacks(packs, { bytes: 30_000 }).length, 30)
    assert.equal(choosePacks(packs, { bytes: 1 }).length, 1)
    assert.equal(choosePacks(packs, { bytes: 2 ** 50 }).length, 300)
  })
})
