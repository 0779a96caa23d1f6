import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { hashId, type PackId } from '../format/id.ts'
import type { PackToRead } from './check-data.ts'
import { NO_SCRUB_STATE, planScrub, type ScrubRecord, type ScrubState } from './plan-scrub.ts'

const DAY = 24 * 3600 * 1000
const START = Date.UTC(2026, 0, 1)

const packOf = (number: number, size = 1000): PackToRead => ({
  id: hashId<PackId>(Buffer.from(`pack ${number}`)),
  size,
})

/** A run: what was read, and what is remembered afterwards. */
function run(
  packs: readonly PackToRead[],
  state: ScrubState,
  now: number,
  within: number,
  finishes = true,
  reads = Number.POSITIVE_INFINITY,
) {
  const { read, records } = planScrub(packs, state, { within, now })
  const after = new Map<PackId, ScrubRecord>(records)
  const done = read.slice(0, reads)
  for (const { id } of done) after.set(id, { ...after.get(id)!, read: now })
  return { read: done, state: { lastRun: finishes ? now : state.lastRun, packs: after } }
}

describe('a scrub', () => {
  it('reads every pack within the time, whatever the sizes, the days between runs and the packs that come and go', () => {
    const scenario = fc.record({
      within: fc.constantFrom(7, 30, 90).map((days) => days * DAY),
      sizes: fc.array(fc.integer({ min: 1, max: 20_000_000 }), { minLength: 1, maxLength: 40 }),
      gaps: fc.array(fc.constantFrom(0.5, 1, 1, 1, 1.01, 2, 3), { minLength: 60, maxLength: 200 }),
      growth: fc.constantFrom(0, 0, 1, 3),
    })
    fc.assert(
      fc.property(scenario, ({ within, sizes, gaps, growth }) => {
        const packs = sizes.map((size, number) => packOf(number, size))
        const known = new Map(packs.map(({ id }) => [id, START]))
        let state = NO_SCRUB_STATE
        let now = START
        for (const gap of gaps) {
          for (let i = 0; i < growth; i++) packs.push(packOf(packs.length, sizes[packs.length % sizes.length]))
          for (const { id } of packs) if (!known.has(id)) known.set(id, now)
          const result = run(packs, state, now, within)
          state = result.state
          for (const { id } of result.read) known.set(id, now)
          // Until the next run, which comes after at most three days.
          for (const time of known.values()) assert.ok(now - time <= within + 3 * DAY, 'a pack waits too long')
          now += gap * DAY
        }
      }),
      { numRuns: 60 },
    )
  })

  it('spreads its work: a daily run reads about its share, and never a pack twice before all others', () => {
    const packs = Array.from({ length: 90 }, (_, number) => packOf(number))
    let state = NO_SCRUB_STATE
    const reads: PackId[] = []
    for (let day = 0; day < 29; day++) {
      const result = run(packs, state, START + day * DAY, 30 * DAY)
      assert.ok(result.read.length >= 2 && result.read.length <= 4, `${result.read.length} packs on day ${day}`)
      reads.push(...result.read.map(({ id }) => id))
      state = result.state
    }
    assert.deepEqual([new Set(reads).size, reads.length], [87, 87])
  })

  it('goes on where it was cut short, without reading more for it', () => {
    const packs = Array.from({ length: 100 }, (_, number) => packOf(number))
    const first = run(packs, NO_SCRUB_STATE, START, 10 * DAY)
    const cut = run(packs, first.state, START + DAY, 10 * DAY, false, 4)
    const resumed = run(packs, cut.state, START + DAY + 1000, 10 * DAY)
    const all = [...first.read, ...cut.read, ...resumed.read].map(({ id }) => id)
    assert.equal(new Set(all).size, all.length)
    assert.ok(resumed.read.length >= 6 && resumed.read.length <= 8, `${resumed.read.length}`)
  })

  it('catches up after it did not run for a while', () => {
    const packs = Array.from({ length: 100 }, (_, number) => packOf(number))
    const first = run(packs, NO_SCRUB_STATE, START, 10 * DAY)
    assert.equal(run(packs, first.state, START + 4 * DAY, 10 * DAY).read.length, 40)
    assert.equal(run(packs, first.state, START + 50 * DAY, 10 * DAY).read.length, 100)
  })

  it('without its state begins anew', () => {
    const packs = Array.from({ length: 20 }, (_, number) => packOf(number))
    assert.equal(planScrub(packs, NO_SCRUB_STATE, { within: 10 * DAY, now: START }).read.length, 2)
  })

  it('does not believe what a wrong clock has noted', () => {
    const pack = packOf(1)
    const state: ScrubState = {
      lastRun: START + 100 * DAY,
      packs: new Map([[pack.id, { seen: START + 99 * DAY, read: START + 100 * DAY }]]),
    }
    const { read, records } = planScrub([pack], state, { within: DAY, now: START })
    assert.deepEqual([read, records.get(pack.id)], [[pack], { seen: START, read: undefined }])
  })

  it('forgets packs that are gone, and reads nothing where nothing is', () => {
    const { read, records } = planScrub(
      [],
      { lastRun: START, packs: new Map([[packOf(1).id, { seen: START, read: START }]]) },
      { within: DAY, now: START },
    )
    assert.deepEqual([read, records.size], [[], 0])
  })
})
