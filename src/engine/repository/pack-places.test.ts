import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Worker } from 'node:worker_threads'
import { PackPlaces } from './pack-places.ts'

/** Another thread that releases a place after some milliseconds, or closes all. */
async function later(places: PackPlaces, milliseconds: number, what: 'release' | 'close', place = 0): Promise<Worker> {
  const module = JSON.stringify(new URL('./pack-places.ts', import.meta.url).href)
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(${module}).then(({ PackPlaces }) => {
      parentPort.postMessage('ready')
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${milliseconds})
      new PackPlaces(workerData).${what}(${place})
    })`
  const worker = new Worker(code, { eval: true, workerData: places.buffer })
  await new Promise((resolve) => worker.once('message', resolve))
  return worker
}

describe('PackPlaces', () => {
  it('gives the same place again and again where packs are stored in time', async () => {
    const places = new PackPlaces()
    for (let i = 0; i < 3; i++) {
      const place = places.take()
      assert.equal(place, 0)
      assert.ok(places.isFirstEnough)
      places.release(place)
    }
    const first = places.take()
    const other = await later(places, 10, 'release', first)
    assert.equal(places.take(), first)
    await other.terminate()
  })

  it('gives the spare one where storing takes long, and does not wait for the next packs', () => {
    const places = new PackPlaces()
    const first = places.take()
    const spare = places.take()
    assert.notEqual(spare, first)
    assert.ok(!places.isFirstEnough)
    const before = performance.now()
    for (let i = 0; i < 10; i++) {
      places.release(spare)
      assert.equal(places.take(), spare)
    }
    assert.ok(performance.now() - before < 600, 'waiting for each would take 1000')
    places.release(first)
    places.release(spare)
    for (let i = 0; i < 20; i++) places.release(places.take())
    assert.ok(places.isFirstEnough)
  })

  it('blocks while both are taken, until either is released', async () => {
    for (const released of [0, 1]) {
      const places = new PackPlaces()
      places.take()
      places.take()
      const other = await later(places, 20, 'release', released)
      assert.equal(places.take(), released)
      await other.terminate()
    }
  })

  it('ends with INTERRUPTED once closed, also for who waits', async () => {
    const places = new PackPlaces()
    places.take()
    places.take()
    const other = await later(places, 20, 'close')
    assert.throws(() => places.take(), { code: 'INTERRUPTED' })
    assert.throws(() => places.take(), { code: 'INTERRUPTED' })
    places.release(0)
    assert.throws(() => places.take(), { code: 'INTERRUPTED' })
    await other.terminate()
  })
})
