import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import type { ApplicationError } from '../error.ts'
import { paxRecords, type RawEntry, rawEntry, rawTar } from './raw-tar.test-fixture.ts'
import { extractSecrets } from './secrets.ts'

const isRoot = process.geteuid?.() === 0
let folder: string
let target: string
let outside: string
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-extract-'))
})
after(() => rmSync(folder, { recursive: true, force: true }))
beforeEach(() => {
  target = join(folder, 'target')
  outside = join(folder, 'outside')
  mkdirSync(target)
  mkdirSync(outside)
  writeFileSync(join(outside, 'victim'), 'untouched', { mode: 0o600 })
})
afterEach(() => {
  assert.deepEqual(readdirSync(folder).sort(), ['outside', 'target'], 'nothing beside the target')
  assert.deepEqual(readdirSync(outside), ['victim'])
  assert.equal(readFileSync(join(outside, 'victim'), 'utf8'), 'untouched')
  assert.equal(lstatSync(join(outside, 'victim')).mode & 0o777, 0o600)
  assert.deepEqual(
    readdirSync(target, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.holdfast-')),
    [],
    'no temporary file is left',
  )
  rmSync(target, { recursive: true })
  rmSync(outside, { recursive: true })
})

async function* stream(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < bytes.length; offset += 4000) yield bytes.subarray(offset, offset + 4000)
}

const extract = (...entries: RawEntry[]) => extractSecrets(stream(gzipSync(rawTar(...entries))), target)

function refuses(message: RegExp, code = 'SEAL') {
  return (error: ApplicationError) => {
    assert.equal(error.code, code, error.stack)
    assert.match(error.message, message)
    return true
  }
}

test('files, folders, links and hard links come out with modes and times', async () => {
  const written = await extract(
    { name: 'opt/app/secrets/', type: '5', mode: 0o750, mtime: 1_600_000_000 },
    { name: './opt/app/secrets/.env', content: 'TOKEN=1', mode: 0o640, mtime: 1_500_000_000 },
    { name: 'opt/app/secrets/same', type: '1', linkTarget: 'opt/app/secrets/.env' },
    { name: 'opt/app/secrets/link', type: '2', linkTarget: '/etc/anything', mtime: 1_400_000_000 },
  )
  assert.deepEqual(written, [
    { path: '/opt/app/secrets/.env', bytes: 7 },
    { path: '/opt/app/secrets/same', bytes: 7 },
    { path: '/opt/app/secrets/link', bytes: 0 },
  ])
  const root = join(target, 'opt/app/secrets')
  assert.deepEqual(readdirSync(root).sort(), ['.env', 'link', 'same'])
  const info = lstatSync(join(root, '.env'))
  assert.deepEqual([info.mode & 0o7777, info.mtimeMs, info.nlink], [0o640, 1_500_000_000_000, 2])
  assert.deepEqual([lstatSync(root).mode & 0o7777, lstatSync(root).mtimeMs], [0o750, 1_600_000_000_000])
  assert.equal(lstatSync(join(root, 'link')).mtimeMs, 1_400_000_000_000)
})

test('what is there already is replaced, and only what is selected is written', async () => {
  mkdirSync(join(target, 'app'), { mode: 0o711 })
  writeFileSync(join(target, 'app/.env'), 'old', { mode: 0o666 })
  writeFileSync(join(target, 'app/other'), 'stays')
  const bytes = gzipSync(
    rawTar({ name: 'app/.env', content: 'new', mode: 0o600 }, { name: 'app/other', content: 'no' }),
  )
  const select = (path: string) => path === '/app/.env'
  assert.deepEqual(await extractSecrets(stream(bytes), target, { select }), [{ path: '/app/.env', bytes: 3 }])
  assert.equal(readFileSync(join(target, 'app/.env'), 'utf8'), 'new')
  assert.equal(lstatSync(join(target, 'app/.env')).mode & 0o777, 0o600)
  assert.equal(readFileSync(join(target, 'app/other'), 'utf8'), 'stays')
  assert.equal(lstatSync(join(target, 'app')).mode & 0o777, 0o711)
})

const hostile: readonly (readonly [promise: string, message: RegExp, ...entries: RawEntry[]])[] = [
  ['an absolute name', /its name is absolute/, { name: '/tmp/holdfast-absolute', content: 'x' }],
  ['".." at the start', /holds "\.\."/, { name: '../outside/victim', content: 'x' }],
  ['".." in the middle', /holds "\.\."/, { name: 'a/../../outside/victim', content: 'x' }],
  ['".." at the end', /holds "\.\."/, { name: 'a/..', type: '5' }],
  [
    '".." in a pax name',
    /holds "\.\."/,
    { name: 'x', type: 'x', content: paxRecords({ path: '../outside/victim' }) },
    { name: 'a', content: 'x' },
  ],
  [
    '".." in a GNU long name',
    /holds "\.\."/,
    { name: '././@LongLink', type: 'L', content: '../outside/victim\0' },
    { name: 'a', content: 'x' },
  ],
  [
    'a NUL in a pax name',
    /NUL/,
    { name: 'x', type: 'x', content: paxRecords({ path: 'a\0/../../outside/victim' }) },
    { name: 'a', content: 'x' },
  ],
  ['an empty name', /its name is empty/, { name: '', content: 'x' }],
  [
    'a name too long for a file system',
    /too long a part/,
    { name: 'x', type: 'x', content: paxRecords({ path: 'n'.repeat(300) }) },
    { name: 'a' },
  ],
  [
    'a link, then a file through it',
    /under an entry that is no folder/,
    { name: 'a', type: '2', linkTarget: '../outside' },
    { name: 'a/victim', content: 'x' },
  ],
  [
    'a file through a link to come',
    /other entries lie under it/,
    { name: 'a/victim', content: 'x' },
    { name: 'a', type: '2', linkTarget: '../outside' },
  ],
  [
    'a link, then a folder of the same name, then a file',
    /occurs twice/,
    { name: 'a', type: '2', linkTarget: '../outside' },
    { name: 'a', type: '5' },
    { name: 'a/victim' },
  ],
  [
    'a link, then a file of the same name',
    /occurs twice/,
    { name: 'a', type: '2', linkTarget: '../outside/victim' },
    { name: 'a', content: 'x' },
  ],
  ['the same name in two spellings', /occurs twice/, { name: 'a/b', content: 'x' }, { name: './a//./b', content: 'y' }],
  ['a hard link out', /original holds "\.\."/, { name: 'a', type: '1', linkTarget: '../outside/victim' }],
  ['an absolute hard link', /original is absolute/, { name: 'a', type: '1', linkTarget: '/etc/passwd' }],
  ['a hard link to what is not in the archive', /not extracted/, { name: 'a', type: '1', linkTarget: 'b' }],
  ['a hard link without an original', /original is empty/, { name: 'a', type: '1' }],
  ['a character device', /no file, folder or link/, { name: 'null', type: '3' }],
  ['a block device', /no file, folder or link/, { name: 'disk', type: '4' }],
  ['a pipe', /no file, folder or link/, { name: 'pipe', type: '6' }],
  ['a type that nobody knows', /no file, folder or link/, { name: 'a', type: 'Z' }],
  ['a size beyond the disk', /claims 1125899906842624 bytes/, { name: 'a', size: 2 ** 50 }],
  ['a size beyond the archive', /Cannot (read|unpack)/, { name: 'a', size: 1_000_000 }],
  [
    'a size beyond the archive in a pax header',
    /Cannot (read|unpack)/,
    { name: 'x', type: 'x', content: paxRecords({ size: '99999' }) },
    { name: 'a', content: 'abc' },
  ],
]

for (const [promise, message, ...entries] of hostile) {
  test(`${promise} is refused, and writes nothing`, async () => {
    await assert.rejects(extract({ name: 'honest', content: 'first' }, ...entries), refuses(message))
    assert.ok(!readdirSync(target, { recursive: true, encoding: 'utf8' }).some((name) => /honest|victim/.test(name)))
  })
}

test('a link that was there before does not lead out of the target', async () => {
  symlinkSync(outside, join(target, 'app'))
  await assert.rejects(extract({ name: 'app/victim', content: 'x' }), refuses(/leads out of/))
  symlinkSync(join(outside, 'victim'), join(target, 'file'))
  await extract({ name: 'file', content: 'replaces the link' })
  assert.ok(lstatSync(join(target, 'file')).isFile())
})

test('a link of the administrator inside the target is followed', async () => {
  mkdirSync(join(target, 'srv/app'), { recursive: true })
  symlinkSync('srv', join(target, 'opt'))
  await extract({ name: 'opt/app/.env', content: 'x' })
  assert.equal(readFileSync(join(target, 'srv/app/.env'), 'utf8'), 'x')
})

test("root does not follow another user's link to a folder that is not theirs", {
  skip: !isRoot && 'needs root',
}, async () => {
  mkdirSync(join(target, 'app'))
  chownSync(join(target, 'app'), 4242, 4242)
  mkdirSync(join(target, 'etc'))
  symlinkSync('../etc', join(target, 'app/secrets'))
  await assert.rejects(
    extract({ name: 'app/secrets/passwd', content: 'x' }),
    refuses(/another user could have made it/),
  )
  mkdirSync(join(target, 'app/own'))
  chownSync(join(target, 'app/own'), 4242, 4242)
  symlinkSync('own', join(target, 'app/current'))
  await extract({ name: 'app/current/.env', content: 'x' })
  assert.deepEqual(readdirSync(join(target, 'app/own')), ['.env'])
})

test('a folder in the place of a file is left alone', async () => {
  mkdirSync(join(target, 'a'))
  await assert.rejects(extract({ name: 'a', content: 'x' }), refuses(/a folder is there/, 'SOURCE'))
})

test('nothing of a damaged archive is published, not even what came before the damage', async () => {
  const packed = gzipSync(rawTar({ name: 'first', content: 'x' }, { name: 'big', content: Buffer.alloc(100_000, 'y') }))
  const flipped = Buffer.from(packed)
  flipped[flipped.length - 6] = (flipped[flipped.length - 6] as number) ^ 1
  await assert.rejects(extractSecrets(stream(flipped), target), refuses(/Cannot/))
  await assert.rejects(extractSecrets(stream(packed.subarray(0, packed.length - 20)), target), refuses(/Cannot/))
  await assert.rejects(extractSecrets(stream(Buffer.from('no gzip')), target), refuses(/Cannot unpack the secrets/))
  const broken = new Error('not authentic')
  async function* unproven(): AsyncGenerator<Buffer> {
    yield* stream(packed)
    throw broken
  }
  await assert.rejects(extractSecrets(unproven(), target), broken)
  assert.deepEqual(readdirSync(target), [])
})

test('an abort leaves nothing behind and gives its reason', async () => {
  const controller = new AbortController()
  const reason = new Error('stop')
  async function* aborting(): AsyncGenerator<Buffer> {
    const packed = gzipSync(rawEntry({ name: 'a', content: Buffer.alloc(50_000, 'abc') }))
    yield packed.subarray(0, packed.length >> 1)
    controller.abort(reason)
    yield packed.subarray(packed.length >> 1)
  }
  await assert.rejects(extractSecrets(aborting(), target, { signal: controller.signal }), reason)
  assert.deepEqual(readdirSync(target), [])
})

test('a file is never open to more than its mode says, and setuid is not for secrets', async () => {
  const modes = new Set<number>()
  async function* watched(): AsyncGenerator<Buffer> {
    const packed = gzipSync(rawTar({ name: 'a', content: Buffer.alloc(3_000_000, 'abc'), mode: 0o4400 }), { level: 0 })
    for await (const piece of stream(packed)) {
      for (const name of readdirSync(target)) modes.add(lstatSync(join(target, name)).mode & 0o7777)
      yield piece
    }
  }
  const umask = process.umask(0)
  try {
    await extractSecrets(watched(), target)
  } finally {
    process.umask(umask)
  }
  assert.ok(modes.size > 0)
  for (const mode of modes) assert.ok([0o600, 0o400].includes(mode), mode.toString(8))
  assert.equal(lstatSync(join(target, 'a')).mode & 0o7777, 0o400)
})

test('owners come back by name, else by number; and stay those of the process when not wanted', {
  skip: !isRoot && 'needs root',
}, async () => {
  const source = join(target, 'made')
  mkdirSync(source)
  writeFileSync(join(source, 'named'), '')
  writeFileSync(join(source, 'numbered'), '')
  chownSync(join(source, 'numbered'), 54321, 12345)
  const daemon = Number(execFileSync('id', ['-u', 'daemon']))
  chownSync(join(source, 'named'), daemon, 0)
  chmodSync(join(source, 'named'), 0o400)
  const packed = execFileSync('tar', ['-cz', '-C', target, 'made'])
  rmSync(source, { recursive: true })
  await extractSecrets(stream(packed), target)
  const owner = (name: string) => [lstatSync(join(source, name)).uid, lstatSync(join(source, name)).gid]
  assert.deepEqual(
    [owner('named'), owner('numbered')],
    [
      [daemon, 0],
      [54321, 12345],
    ],
  )
  rmSync(source, { recursive: true })
  await extractSecrets(stream(packed), target, { owners: false })
  assert.deepEqual(
    [owner('named'), owner('numbered')],
    [
      [0, 0],
      [0, 0],
    ],
  )
})
