import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { makeHistory } from '../../../test/equipment/history.ts'
import { type TemporaryFolder, temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { namesOf, overwrite, PASSWORD, testRepository } from '../../../test/equipment/test-repository.ts'
import type { PackId } from '../../engine/format/id.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import { localStorage } from '../../engine/storage/local.ts'
import type { OperationEvent } from '../event.ts'
import { check } from '../verify/check.ts'
import { type ScrubOptions, scrub } from './scrub.ts'

const DAY = 24 * 3600 * 1000
const START = Date.UTC(2026, 0, 1)

interface Place {
  readonly repository: Repository
  readonly stateFile: string
  readonly events: OperationEvent[]
  run(options?: Partial<ScrubOptions>): ReturnType<typeof scrub>
}

async function place(folder: TemporaryFolder): Promise<Place> {
  const location = join(folder.path, 'repository')
  const repository = await testRepository({ storage: localStorage(location) })
  await makeHistory(repository, { snapshots: 3 })
  const stateFile = join(folder.path, 'scrub.json')
  const events: OperationEvent[] = []
  return {
    repository,
    stateFile,
    events,
    run: (options) =>
      scrub(
        { location, password: async () => PASSWORD },
        {
          within: 5 * DAY,
          stateFile,
          observe: (event) => events.push(event),
          signal: new AbortController().signal,
          ...options,
        },
      ),
  }
}

describe('a scrub', () => {
  it('has read everything when the time is over, and then begins with what was read first', async () => {
    using folder = temporaryFolder()
    const { run, stateFile, repository } = await place(folder)
    const packs = (await namesOf(repository.storage, 'pack')).length
    let read = 0
    for (let day = 0; day < 5; day++) {
      const report = await run({ now: () => START + day * DAY })
      assert.deepEqual([report.outcome, report.packsOverdue], ['succeeded', 0])
      assert.ok(report.packsRead < packs)
      read += report.packsRead
    }
    assert.ok(read >= packs)
    const last = await run({ now: () => START + 5 * DAY })
    assert.deepEqual([last.packsUnread, last.packsOverdue], [0, 0])
    assert.ok(last.oldest!.getTime() > START)
    assert.equal(statSync(stateFile).mode & 0o777, 0o600)
  })

  it('reads a damaged pack again in every run, and fails until it is repaired', async () => {
    using folder = temporaryFolder()
    const { run, repository, events } = await place(folder)
    const [pack] = (await namesOf(repository.storage, 'pack')) as PackId[]
    const bytes = await repository.storage.read({ type: 'pack', id: pack! })
    bytes[3]! ^= 1
    await overwrite(repository.storage, { type: 'pack', id: pack! }, bytes)
    for (const day of [0, 50, 51]) {
      assert.equal((await run({ now: () => START + day * DAY, within: day === 0 ? DAY : 5 * DAY })).outcome, 'failed')
    }
    const found = events.filter((event) => event.type === 'finding' && event.finding.code === 'pack-damaged')
    assert.equal(found.length, 3)
  })

  it('begins anew when its state is broken or of another repository, and says so', async () => {
    using folder = temporaryFolder()
    const { run, stateFile, events } = await place(folder)
    const lost = () =>
      events.filter((event) => event.type === 'finding' && event.finding.code === 'scrub-state-lost').length
    await run()
    assert.equal(lost(), 0)
    const state = readFileSync(stateFile, 'utf8')
    const broken = [
      '',
      '[]',
      '{"version":2}',
      state.slice(0, -5),
      state.replace(/"repository":"./, '"repository":"x'),
      state.replace(/\[\d+/, '["x"'),
    ]
    for (const [number, text] of broken.entries()) {
      writeFileSync(stateFile, text)
      assert.equal((await run()).outcome, 'succeeded')
      assert.equal(lost(), number + 1, text)
    }
  })

  it('that is interrupted has noted what it read', async () => {
    using folder = temporaryFolder()
    const { run, stateFile } = await place(folder)
    const controller = new AbortController()
    const stop = (event: OperationEvent) => {
      if (event.type === 'progress' && event.phase === 'data' && event.done.files === 2)
        controller.abort(new Error('stop'))
    }
    await assert.rejects(run({ within: DAY, observe: stop, signal: controller.signal }), /stop/)
    const { packs, last_run } = JSON.parse(readFileSync(stateFile, 'utf8')) as {
      packs: Record<string, [number, number | null]>
      last_run: unknown
    }
    assert.equal(last_run, null)
    assert.ok(Object.values(packs).filter(([, read]) => read !== null).length >= 2)
  })
})

it('a check of a part reads that part, and the groups together read everything', async () => {
  using folder = temporaryFolder()
  const { repository } = await place(folder)
  const access = { location: repository.storage.location, password: async () => PASSWORD }
  const options = { readData: false, observe: () => {}, signal: new AbortController().signal }
  const all = await check(access, { ...options, readData: true })
  let bytes = 0
  for (const group of [1, 2, 3])
    bytes += (await check(access, { ...options, readDataSubset: { group, of: 3 } })).bytesRead
  assert.equal(bytes, all.bytesRead)
  const half = await check(access, { ...options, readDataSubset: { percent: 50 } })
  assert.ok(half.bytesRead > 0 && half.bytesRead < all.bytesRead)
  assert.ok((await loadIndex(repository)).index.packCount > 0)
})
