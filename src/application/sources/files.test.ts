import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import type { Capture } from './capture.ts'
import { type CaptureFilesOptions, captureFiles } from './files.ts'

interface Place {
  readonly data: string
  readonly work: string
  readonly options: CaptureFilesOptions
}

function place(t: TestContext): Place {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-files-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const data = join(directory, 'data')
  const work = join(directory, 'work')
  mkdirSync(data)
  return { data, work, options: { excluded: () => false, workDirectory: work, previousDatabases: [] } }
}

function createDatabase(path: string, sql = 'CREATE TABLE t(x); INSERT INTO t VALUES (1)'): void {
  const connection = new DatabaseSync(path)
  connection.exec(sql)
  connection.close()
}

const component = (...paths: string[]) => ({ name: 'data', kind: 'files', paths })
const kinds = (capture: Capture): Record<string, string> =>
  Object.fromEntries([...capture.substitutes].map(([path, { kind }]) => [path.slice(path.lastIndexOf('/') + 1), kind]))
const codes = (capture: Capture): string[] => capture.findings.map(({ severity, code }) => `${severity} ${code}`)

test('databases are copied, their logs left out, secrets set aside, and nothing stays when it is disposed', async (t) => {
  const { data, work, options } = place(t)
  createDatabase(join(data, 'app.db'))
  writeFileSync(join(data, '.env'), 'TOKEN=x')
  writeFileSync(join(data, 'plain.txt'), '')
  const capture = await captureFiles(component(data), options)
  assert.deepEqual(capture.targets, [Buffer.from(data)])
  assert.deepEqual(kinds(capture), {
    '.env': 'left-out',
    'app.db': 'copy',
    'app.db-wal': 'left-out',
    'app.db-shm': 'left-out',
    'app.db-journal': 'left-out',
  })
  assert.deepEqual(capture.secrets, [Buffer.from(join(data, '.env'))])
  assert.deepEqual(codes(capture), [])
  const substitute = capture.substitutes.get(join(data, 'app.db'))
  assert.ok(substitute?.kind === 'copy')
  assert.ok(substitute.copy.startsWith(work))
  assert.equal(substitute.storedAs, undefined)
  assert.equal(capture.databases[0]?.path, join(data, 'app.db'))
  await capture[Symbol.asyncDispose]()
  await capture[Symbol.asyncDispose]()
  assert.deepEqual(readdirSync(work), [])
})

test('a component without databases makes no folder', async (t) => {
  const { data, work, options } = place(t)
  await using capture = await captureFiles(component(data), options)
  assert.equal(capture.substitutes.size, 0)
  assert.equal(existsSync(work), false)
})

test('a database that the previous snapshot holds and that did not change is not copied', async (t) => {
  const { data, work, options } = place(t)
  createDatabase(join(data, 'app.db'))
  const first = await captureFiles(component(data), options)
  await first[Symbol.asyncDispose]()
  // As if it had been captured long after its last write.
  const previousDatabases = first.databases.map((record) => ({
    ...record,
    capturedAt: String(BigInt(record.capturedAt) * 2n),
  }))
  await using second = await captureFiles(component(data), { ...options, previousDatabases })
  assert.deepEqual(second.substitutes.get(join(data, 'app.db')), { kind: 'unchanged' })
  assert.equal(second.substitutes.get(join(data, 'app.db-journal'))?.kind, 'left-out')
  assert.deepEqual(second.databases, previousDatabases)
  assert.deepEqual(
    readdirSync(work).flatMap((name) => readdirSync(join(work, name))),
    [],
  )
})

test('a damaged database is stored under another name only, and is an error', async (t) => {
  const { data, options } = place(t)
  const path = join(data, 'app.db')
  createDatabase(path)
  const bytes = readFileSync(path)
  bytes.fill(0x5a, 4096)
  writeFileSync(path, bytes)
  createDatabase(join(data, 'sound.db'))
  await using capture = await captureFiles(component(data), options)
  assert.deepEqual(codes(capture), ['error database-corrupt'])
  assert.equal(capture.findings[0]?.component, 'data')
  const substitute = capture.substitutes.get(path)
  assert.ok(substitute?.kind === 'copy')
  assert.equal(substitute.storedAs, 'app.db.corrupt')
  assert.deepEqual(readFileSync(substitute.copy), bytes)
  assert.equal(capture.substitutes.get(join(data, 'sound.db'))?.kind, 'copy')
})

test('a database that cannot be captured is left out, never copied as a file, and the rest goes on', async (t) => {
  const { data, work, options } = place(t)
  for (const name of ['locked.db', 'sound.db']) createDatabase(join(data, name))
  const lock =
    "const { DatabaseSync } = require('node:sqlite'); new DatabaseSync(process.argv[1]).exec('BEGIN EXCLUSIVE')"
  const application = spawn(process.execPath, [
    '-e',
    `${lock}; console.log('ready'); setInterval(() => {}, 1e6)`,
    join(data, 'locked.db'),
  ])
  t.after(() => application.kill('SIGKILL'))
  await once(application.stdout, 'data')
  await using capture = await captureFiles(component(data), { ...options, patienceMs: 200 })
  assert.deepEqual(codes(capture), ['error database-in-use'])
  assert.match(capture.findings[0]?.message ?? '', new RegExp(`node \\(${application.pid}\\)`))
  assert.equal(kinds(capture)['locked.db'], 'left-out')
  assert.equal(kinds(capture)['sound.db'], 'copy')
  assert.deepEqual(
    capture.databases.map(({ path }) => path),
    [join(data, 'sound.db')],
  )
  const copies = readdirSync(work).flatMap((name) => readdirSync(join(work, name)))
  assert.equal(copies.length, 1)
})

test('a work folder that cannot be made is refused', async (t) => {
  const { data, options } = place(t)
  createDatabase(join(data, 'app.db'))
  await assert.rejects(captureFiles(component(data), { ...options, workDirectory: '/dev/null/work' }), {
    code: 'SOURCE',
  })
})

test('a missing path is an error among the findings; a component of which nothing is there is refused', async (t) => {
  const { data, options } = place(t)
  await using capture = await captureFiles(component(data, join(data, 'absent')), options)
  assert.deepEqual(codes(capture), ['error missing'])
  assert.ok(capture.findings[0]?.hint)
  assert.deepEqual(capture.targets, [Buffer.from(data)])
  await assert.rejects(captureFiles(component(join(data, 'absent'), '/nowhere/at/all'), options), { code: 'SOURCE' })
})

test('a path that is a symbolic link is stored with what it leads to', async (t) => {
  const { data, options } = place(t)
  const volume = join(dirname(data), 'volume')
  mkdirSync(volume)
  createDatabase(join(volume, 'app.db'))
  symlinkSync(volume, join(data, 'link'))
  await using capture = await captureFiles(component(join(data, 'link')), options)
  assert.deepEqual(capture.targets.map(String), [join(data, 'link'), volume])
  assert.equal(capture.substitutes.get(join(volume, 'app.db'))?.kind, 'copy')
})

test('a link inside that leads to a database elsewhere is a warning, unless that one is backed up too', async (t) => {
  const { data, options } = place(t)
  const outside = join(dirname(data), 'outside.db')
  createDatabase(outside)
  symlinkSync(outside, join(data, 'app.db'))
  await using alone = await captureFiles(component(data), options)
  assert.deepEqual(codes(alone), ['warning linked-outside'])
  await using both = await captureFiles(component(data, outside), options)
  assert.deepEqual(codes(both), [])
  const isCovered = (path: Buffer): boolean => path.toString() === outside
  await using elsewhere = await captureFiles(component(data), { ...options, isCovered })
  assert.deepEqual(codes(elsewhere), [])
})

test('overlapping paths capture each database once', async (t) => {
  const { data, options } = place(t)
  mkdirSync(join(data, 'inner'))
  createDatabase(join(data, 'inner', 'app.db'))
  await using capture = await captureFiles(component(data, join(data, 'inner'), data), options)
  assert.equal(capture.databases.length, 1)
  assert.deepEqual(capture.targets, [Buffer.from(data)])
})

test('a component of kind sqlite must hold a database', async (t) => {
  const { data, options } = place(t)
  writeFileSync(join(data, 'encrypted.db'), Buffer.alloc(4096, 0xc3))
  createDatabase(join(data, 'app.db'))
  const paths = [join(data, 'encrypted.db'), join(data, 'app.db')]
  await using capture = await captureFiles({ name: 'db', kind: 'sqlite', paths }, options)
  assert.deepEqual(codes(capture), ['error database-not-captured'])
  assert.equal(capture.substitutes.get(join(data, 'encrypted.db'))?.kind, 'left-out')
  assert.equal(capture.substitutes.get(join(data, 'app.db'))?.kind, 'copy')
})

test('an encrypted database among files is stored as it lies, and said to be uncertain', async (t) => {
  const { data, options } = place(t)
  writeFileSync(join(data, 'sealed.db'), Buffer.alloc(4096, 0xc3))
  writeFileSync(join(data, 'sealed.db-journal'), Buffer.from('d9d505f920a163d700000000', 'hex'))
  await using capture = await captureFiles(component(data), options)
  assert.deepEqual(codes(capture), ['error database-opaque'])
  assert.equal(capture.substitutes.size, 0)
})

test('an abort removes what was copied so far', async (t) => {
  const { data, work, options } = place(t)
  for (let index = 0; index < 20; index++) createDatabase(join(data, `${index}.db`))
  const stop = new AbortController()
  const running = captureFiles(component(data), { ...options, signal: stop.signal })
  const timer = setInterval(() => {
    if (existsSync(work) && readdirSync(work).some((name) => readdirSync(join(work, name)).length > 2))
      stop.abort(new Error('enough'))
  }, 1)
  await assert.rejects(running, /enough/)
  clearInterval(timer)
  assert.deepEqual(readdirSync(work), [])
})
