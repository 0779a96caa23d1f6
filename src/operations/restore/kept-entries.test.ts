import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { createExclusion } from '../../application/config/exclude.ts'
import { type KeptEntriesOptions, keptEntries } from './kept-entries.ts'

function put(folder: string, ...paths: string[]): void {
  for (const path of paths) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), path)
  }
}

async function keptIn(folder: string, options: Partial<KeptEntriesOptions>): Promise<string[]> {
  const kept = await keptEntries(folder, {
    component: 'all',
    leftOut: undefined,
    owned: new Map(),
    gaps: new Set(),
    signal: new AbortController().signal,
    ...options,
  })
  return kept.map((path) => path.slice(folder.length + 1))
}

test('what backups leave out stays, the outermost entry of it', async () => {
  using folder = temporaryFolder()
  put(folder.path, 'a.txt', 'x/node_modules/m/index.js', 'logs/a.log', 'b.log')
  put(folder.path, 'cache/blob')
  writeFileSync(join(folder.path, 'cache/CACHEDIR.TAG'), 'Signature: 8a477f597d28d172789f06886806bc55')
  symlinkSync('x/node_modules', join(folder.path, 'node_modules'))
  const leftOut = new Map([['all', createExclusion(['node_modules', '*.log'], folder.path)]])
  assert.deepEqual(await keptIn(folder.path, { leftOut }), [
    'b.log',
    'cache',
    'logs/a.log',
    'node_modules',
    'x/node_modules',
  ])
  assert.deepEqual(await keptIn(folder.path, {}), [], 'nobody knows what is left out without a config')
})

test('a component inside stays unless it is restored too, and then its own rules hold', async () => {
  using folder = temporaryFolder()
  put(folder.path, 'main.js', 'data/a.log', 'data/a.txt', 'secrets/.env')
  const at = (name: string) => join(folder.path, name)
  const owned = new Map([
    [at('data'), { component: 'data', restored: true }],
    [at('secrets'), { component: 'secrets', restored: false }],
  ])
  const leftOut = new Map([
    ['all', createExclusion(['data', 'secrets'], folder.path)],
    ['data', createExclusion(['*.log'], folder.path)],
  ])
  assert.deepEqual(await keptIn(folder.path, { owned, leftOut }), ['data/a.log', 'secrets'])
})

test('of a folder that is left out only the restored component in it is replaced', async () => {
  using folder = temporaryFolder()
  put(folder.path, 'out/a', 'out/deep/b', 'out/deep/in/c', 'out/z/d')
  const owned = new Map([[join(folder.path, 'out/deep/in'), { component: 'in', restored: true }]])
  const leftOut = new Map([['all', createExclusion(['/out'], folder.path)]])
  assert.deepEqual(await keptIn(folder.path, { owned, leftOut }), ['out/a', 'out/deep/b', 'out/z'])
})

test('what the snapshot lacks stays', async () => {
  using folder = temporaryFolder()
  put(folder.path, 'auth.db', 'auth.db-wal', 'notes')
  const gaps = new Set(['auth.db', 'auth.db-wal', 'absent'].map((name) => join(folder.path, name)))
  assert.deepEqual(await keptIn(folder.path, { gaps }), ['auth.db', 'auth.db-wal'])
})
