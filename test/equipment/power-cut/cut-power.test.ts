import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { mkdir, open, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { seededRandom } from '../../../bench/seeded-random.ts'
import { randomBytes } from '../random-bytes.ts'
import { makeScene } from '../repository-operations.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { canTrace, traceSystemCalls } from '../trace-system-calls.ts'
import { type Chance, cutPower, EXTREMES, randomChance } from './cut-power.ts'
import { writeFolder } from './folder-content.ts'
import { type Recording, recordChanges } from './record-changes.ts'

const CONTENT = randomBytes(10_000, 'content')

describe('the model of a power cut', () => {
  it('content that was not synchronized may be lost, torn or whole behind a name that is there', async () => {
    const states = await statesAfter(async (at) => {
      await writeContent(at('a'), { isSynchronized: false })
      await synchronize(at('.'))
    })
    const sizes = new Set(states.map((state) => state.get('a')?.length))
    assert.ok(sizes.has(0) && sizes.has(CONTENT.length) && !sizes.has(undefined))
    const torn = states.filter((state) => state.get('a')!.length > 0 && !state.get('a')!.equals(CONTENT))
    assert.ok(torn.length > 0)
    for (const state of torn) {
      const content = state.get('a')!
      for (let block = 0; block < content.length; block += 4096) {
        const piece = content.subarray(block, block + 4096)
        const isThere = piece.equals(CONTENT.subarray(block, block + piece.length))
        assert.ok(isThere || piece.every((byte) => byte === 0), 'a block is there or reads as zeros')
      }
    }
  })

  it('content that was synchronized is whole wherever it has a name, and the name may be missing', async () => {
    const states = await statesAfter((at) => writeContent(at('a'), { isSynchronized: true }))
    for (const state of states) assert.ok(!state.has('a') || state.get('a')!.equals(CONTENT))
    assert.deepEqual(new Set(states.map((state) => state.has('a'))), new Set([true, false]))
  })

  it('a name is kept by the fsync of its folder alone, and one that was removed stays away by it', async () => {
    const states = await statesAfter(async (at) => {
      await writeContent(at('a'), { isSynchronized: true })
      await writeContent(at('b'), { isSynchronized: true })
      await synchronize(at('.'))
      await unlink(at('a'))
      await synchronize(at('.'))
      await unlink(at('b'))
    })
    assert.deepEqual(new Set(states.map((state) => [...state.keys()].join())), new Set(['', 'b']))
  })

  it('of a rename either name may be there, both or none', async () => {
    const states = await statesAfter(async (at) => {
      await writeContent(at('a'), { isSynchronized: true })
      await synchronize(at('.'))
      await rename(at('a'), at('b'))
    })
    assert.deepEqual(new Set(states.map((state) => [...state.keys()].sort().join())), new Set(['', 'a', 'b', 'a,b']))
  })

  it('a folder that is lost is lost with what is in it, whatever was synchronized there', async () => {
    const states = await statesAfter(async (at) => {
      await mkdir(at('folder'))
      await writeContent(at('folder/a'), { isSynchronized: true })
      await synchronize(at('folder'))
    })
    assert.deepEqual(new Set(states.map((state) => [...state.keys()].join())), new Set(['', 'folder,folder/a']))
  })

  it('what has not been answered may have happened, and no fsync covers it', async () => {
    const recording = await recordingOf(async (at) => {
      await Promise.all([writeContent(at('a'), { isSynchronized: true }), synchronize(at('.'))])
    })
    const created = recording.moments.findIndex(
      (moment) => moment.at === 'end' && recording.calls[moment.call]!.call === 'create',
    )
    const found = new Set(statesOf(recording, created).map((state) => state.has('a')))
    assert.deepEqual(found, new Set([true, false]))
  })
})

describe('the record', { skip: !canTrace() && 'needs strace' }, () => {
  it('of a backup and a prune is what the system was asked for, call by call', async () => {
    using folder = temporaryFolder()
    const { repository, source } = await makeScene(folder.path)
    const location = join(folder.path, 'repository')
    mkdirSync(location)
    writeFolder(location, repository)
    const program = join(import.meta.dirname, 'record-program.ts')
    const { calls, output } = traceSystemCalls(location, [
      '--disable-warning=ExperimentalWarning',
      program,
      location,
      source,
    ])
    const recorded = output.split('\n').filter((line) => line !== '' && !line.startsWith('close '))
    const asked = calls
      .filter(({ name, creates }) => name !== 'close' && (name !== 'open' || creates))
      .map(({ name, paths, creates }) =>
        [
          creates ? 'create' : name === 'fsync' || name === 'fdatasync' ? 'sync' : name,
          ...paths.map((path) => path.slice(location.length + 1)),
        ].join(' '),
      )
    assert.ok(recorded.length > 100)
    assert.deepEqual(recorded, asked)
  })
})

async function recordingOf(work: (at: (path: string) => string) => Promise<void>): Promise<Recording> {
  using folder = temporaryFolder()
  using recorder = recordChanges(folder.path)
  await work((path) => join(folder.path, path))
  return recorder
}

async function statesAfter(work: (at: (path: string) => string) => Promise<void>): Promise<Map<string, Buffer>[]> {
  const recording = await recordingOf(work)
  return statesOf(recording, recording.moments.length)
}

function statesOf(recording: Recording, cut: number): Map<string, Buffer>[] {
  const random = seededRandom('states')
  const chances: Chance[] = [...Object.values(EXTREMES)]
  for (let state = 0; state < 200; state++) chances.push(randomChance(random.next))
  return chances.map((chance) => cutPower(recording, cut, chance) as Map<string, Buffer>)
}

async function writeContent(path: string, { isSynchronized }: { isSynchronized: boolean }): Promise<void> {
  const file = await open(path, 'wx')
  await file.writev([CONTENT.subarray(0, 8192)])
  await file.writev([CONTENT.subarray(8192)])
  if (isSynchronized) await file.sync()
  await file.close()
}

async function synchronize(path: string): Promise<void> {
  const folder = await open(path, 'r')
  await folder.sync()
  await folder.close()
}
