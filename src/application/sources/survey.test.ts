import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { type Survey, surveyFiles } from './survey.ts'

function folder(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-survey-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

function createDatabase(path: string): void {
  const connection = new DatabaseSync(path)
  connection.exec('CREATE TABLE t(x)')
  connection.close()
}

const survey = (path: string, options = {}): Promise<Survey> => surveyFiles(Buffer.from(path), options)
const names = (root: string, paths: readonly Buffer[]): string[] => paths.map((path) => relative(root, path.toString()))

test('databases are found by their header, whatever they are called, with the files that belong to them', async (t) => {
  const root = folder(t)
  mkdirSync(join(root, 'deep/er'), { recursive: true })
  createDatabase(join(root, 'deep/er/cache'))
  createDatabase(join(root, 'app.db'))
  for (const suffix of ['-wal', '-shm', '-journal', '-mj0123456AB', '-walrus'])
    writeFileSync(join(root, `app.db${suffix}`), '')
  writeFileSync(join(root, 'other-wal'), '')
  writeFileSync(join(root, 'not.db'), Buffer.alloc(4096))
  writeFileSync(join(root, 'empty.db'), '')
  const found = await survey(root)
  assert.deepEqual(names(root, found.databases), ['app.db', 'deep/er/cache'])
  assert.deepEqual(names(root, found.databaseSidecars), [
    'app.db-journal',
    'app.db-mj0123456AB',
    'app.db-shm',
    'app.db-wal',
  ])
  assert.deepEqual(found.opaqueDatabases, [])
  assert.equal(found.files, 10)
  assert.equal(found.bytes, 2 * 8192 + 4096)
})

test('a database that a crash left with a ragged end is found by its name or by what lies beside it', async (t) => {
  const root = folder(t)
  for (const name of ['ragged.sqlite', 'ragged']) {
    createDatabase(join(root, name))
    writeFileSync(join(root, name), 'x', { flag: 'a' })
  }
  writeFileSync(join(root, 'ragged-journal'), '')
  assert.deepEqual(names(root, (await survey(root)).databases), ['ragged', 'ragged.sqlite'])
})

test('a database without a readable header is told by the log beside it', async (t) => {
  const root = folder(t)
  const journal = Buffer.from('d9d505f920a163d700000000', 'hex')
  writeFileSync(join(root, 'sealed.db'), Buffer.alloc(4096, 0xc3))
  writeFileSync(join(root, 'sealed.db-journal'), journal)
  writeFileSync(join(root, 'diary'), 'text')
  writeFileSync(join(root, 'diary-journal'), 'text')
  assert.deepEqual(names(root, (await survey(root)).opaqueDatabases), ['sealed.db'])
})

test('secrets are found by name, private keys in .pem files by content, also behind a long chain', async (t) => {
  const root = folder(t)
  const key = '-----BEGIN RSA PRIVATE KEY-----\n'
  for (const name of ['.env.production', 'tls.key', '.env.example', 'notes.txt']) writeFileSync(join(root, name), key)
  writeFileSync(join(root, 'privkey.pem'), key)
  writeFileSync(join(root, 'cert.pem'), '-----BEGIN CERTIFICATE-----\n')
  // The marker lies across the border of two reads.
  writeFileSync(join(root, 'bundle.pem'), `${'x'.repeat(256 * 1024 - 10)}${key}`)
  const found = await survey(root)
  assert.deepEqual(names(root, found.secrets), ['.env.production', 'bundle.pem', 'privkey.pem', 'tls.key'])
  assert.deepEqual(found.databases, [])
})

test('a database with a name like a secret is a database', async (t) => {
  const root = folder(t)
  createDatabase(join(root, 'id_store'))
  const found = await survey(root)
  assert.deepEqual(names(root, found.databases), ['id_store'])
  assert.deepEqual(found.secrets, [])
})

test('what is excluded or a tagged cache is not looked at', async (t) => {
  const root = folder(t)
  for (const name of ['node_modules', 'cache', 'keep']) {
    mkdirSync(join(root, name))
    createDatabase(join(root, name, 'app.db'))
  }
  writeFileSync(join(root, 'cache/CACHEDIR.TAG'), '')
  writeFileSync(join(root, 'keep/CACHEDIR.TAG'), '')
  const found = await survey(root, {
    excluded: (path: Buffer, isDirectory: boolean) => isDirectory && path.toString().endsWith('node_modules'),
    isTaggedCache: async (path: Buffer) => path.toString().endsWith('/cache'),
  })
  assert.deepEqual(names(root, found.databases), ['keep/app.db'])
  assert.deepEqual(
    found.excluded.map(({ path, reason }) => [relative(root, path.toString()), reason]),
    [
      ['cache', 'tagged as a cache (CACHEDIR.TAG)'],
      ['node_modules', 'excluded by a pattern'],
    ],
  )
})

test('links are not followed, but one that leads to a database or a secret is told', async (t) => {
  const root = folder(t)
  const outside = folder(t)
  createDatabase(join(outside, 'app.db'))
  writeFileSync(join(outside, 'environment'), 'A=1')
  mkdirSync(join(outside, 'big'))
  symlinkSync(join(outside, 'app.db'), join(root, 'app.db'))
  symlinkSync(join(outside, 'environment'), join(root, '.env'))
  symlinkSync(join(outside, 'big'), join(root, 'big'))
  symlinkSync('nowhere', join(root, 'dangling'))
  symlinkSync('loop', join(root, 'loop'))
  const found = await survey(root)
  assert.deepEqual(found.databases, [])
  assert.deepEqual(found.secrets, [])
  assert.deepEqual(
    found.links.map(({ path, target, to }) => [
      relative(root, path.toString()),
      relative(outside, target.toString()),
      to,
    ]),
    [
      ['.env', 'environment', 'secret'],
      ['app.db', 'app.db', 'database'],
    ],
  )
  assert.deepEqual(found.unreadable, [])
})

test('FIFOs, sockets and names of any bytes do not stop it', async (t) => {
  const root = folder(t)
  execFileSync('mkfifo', [join(root, 'app.db'), join(root, 'x.pem')])
  const odd = Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff, 0x0a]), Buffer.from('.key')])
  writeFileSync(odd, 'x')
  const found = await survey(root)
  assert.deepEqual(found.databases, [])
  assert.deepEqual(found.secrets, [odd])
  assert.equal(found.files, 1)
})

test('a single file can be the target', async (t) => {
  const root = folder(t)
  createDatabase(join(root, 'app.db'))
  writeFileSync(join(root, 'app.db-wal'), '')
  writeFileSync(join(root, '.env'), '')
  const database = await survey(join(root, 'app.db'))
  assert.deepEqual(names(root, database.databases), ['app.db'])
  assert.deepEqual(names(root, database.databaseSidecars), ['app.db-wal'])
  assert.deepEqual(names(root, (await survey(join(root, '.env'))).secrets), ['.env'])
  await assert.rejects(survey(join(root, 'absent')), { code: 'ENOENT' })
})

test('what this user may not read is told with its path', async (t) => {
  if (process.getuid?.() === 0) {
    const root = folder(t)
    mkdirSync(join(root, 'closed'))
    writeFileSync(join(root, 'closed.db'), Buffer.alloc(4096))
    for (const name of ['closed', 'closed.db']) chmodSync(join(root, name), 0)
    chmodSync(root, 0o755)
    process.seteuid?.(65534)
    try {
      const found = await survey(root)
      assert.deepEqual(
        found.unreadable.map(({ path, reason }) => [relative(root, path.toString()), reason]),
        [
          ['closed', 'permission denied'],
          ['closed.db', 'permission denied'],
        ],
      )
    } finally {
      process.seteuid?.(0)
    }
  } else t.skip('needs root, to become somebody else')
})

test('ordinary files are not opened', async (t) => {
  const root = folder(t)
  const path = join(root, 'plain.txt')
  writeFileSync(path, 'x'.repeat(1000))
  utimesSync(path, 1, 1_700_000_000)
  await survey(root)
  assert.equal(statSync(path).atimeMs, 1000)
})

test('it stops when told to, and lets others work meanwhile', async (t) => {
  const root = folder(t)
  for (let index = 0; index < 3000; index++) writeFileSync(join(root, `f${index}`), '')
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  const slow = (): boolean => {
    const end = performance.now() + 0.05
    while (performance.now() < end);
    return false
  }
  await survey(root, { excluded: slow })
  clearInterval(timer)
  assert.ok(turns > 3, `${turns} turns for others`)
  const stop = new AbortController()
  const running = survey(root, { excluded: slow, signal: stop.signal })
  stop.abort(new Error('enough'))
  await assert.rejects(running, /enough/)
})
