import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ApplicationError } from '../error.ts'
import { paxRecords, rawEntry, rawTar } from './raw-tar.test-fixture.ts'
import { type ForeignTarEntry, packTar, type TarEntry, unpackTar } from './tar.ts'

async function* pieces(bytes: Buffer, size = bytes.length): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < bytes.length; offset += size) yield bytes.subarray(offset, offset + size)
}

type Packed = readonly [entry: TarEntry, content: Buffer]

async function pack(entries: readonly Packed[]): Promise<Buffer> {
  async function* source() {
    for (const [entry, content] of entries) {
      yield [entry, entry.type === 'file' ? pieces(content, 777) : undefined] as const
    }
  }
  return Buffer.concat(await Array.fromAsync(packTar(source())))
}

async function unpack(bytes: Buffer, size?: number): Promise<(readonly [entry: ForeignTarEntry, content: Buffer])[]> {
  const entries: (readonly [ForeignTarEntry, Buffer])[] = []
  for await (const [entry, content] of unpackTar(pieces(bytes, size))) {
    entries.push([entry, Buffer.concat(await Array.fromAsync(content))])
  }
  return entries
}

const file: TarEntry = {
  name: Buffer.from('a'),
  type: 'file',
  mode: 0o600,
  uid: 0,
  gid: 0,
  user: 'root',
  group: 'root',
  mtimeNs: 0n,
  size: 0,
  linkTarget: undefined,
}

const name = fc
  .array(fc.uint8Array({ minLength: 1, maxLength: 60 }), { minLength: 1, maxLength: 5 })
  .map((parts) =>
    Buffer.from(
      parts.map((part) => Buffer.from(part).toString('latin1').replaceAll(/[\0/]/g, '_')).join('/'),
      'latin1',
    ),
  )
const account = fc.stringMatching(/^[a-zü0-9_-]{0,40}$/)
const entry = fc
  .record({
    name: fc.oneof(
      name,
      fc
        .string({ unit: 'grapheme', minLength: 1, maxLength: 150 })
        .map((text) => Buffer.from(text.replaceAll(/[\0/]/g, '_'))),
    ),
    type: fc.constantFrom('file' as const, 'directory' as const, 'symlink' as const),
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: fc.nat(2 ** 32 - 2),
    gid: fc.nat(2 ** 32 - 2),
    user: account,
    group: account,
    mtimeNs: fc.bigInt({ min: -(10n ** 18n), max: 10n ** 19n }),
    content: fc.uint8Array({ maxLength: 2000 }),
    target: name,
  })
  .map(({ content, target, ...rest }): Packed => {
    const bytes = rest.type === 'file' ? Buffer.from(content) : Buffer.alloc(0)
    return [{ ...rest, size: bytes.length, linkTarget: rest.type === 'symlink' ? target : undefined }, bytes]
  })

test('what is packed is unpacked: any name, time, mode and owner', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 5 }), fc.integer({ min: 1, max: 3000 }), async (entries, size) => {
      assert.deepEqual(await unpack(await pack(entries), size), entries)
    }),
    { numRuns: 100 },
  )
})

test('GNU tar reads names of any bytes and length, times to the nanosecond, and mode 0', async () => {
  const raw = Buffer.from([0x78, 0xff, 0xfe])
  const packed = await pack([
    [{ ...file, name: raw, mode: 0 }, Buffer.alloc(0)],
    [
      { ...file, name: Buffer.from(`${'d/'.repeat(60)}long`), mtimeNs: 1_700_000_000_123_456_789n, size: 3 },
      Buffer.from('abc'),
    ],
    [{ ...file, name: Buffer.from('größe'), uid: 3_000_000, gid: 262_144, user: '' }, Buffer.alloc(0)],
    [{ ...file, name: Buffer.from('link'), type: 'symlink', linkTarget: raw }, Buffer.alloc(0)],
  ])
  const args = ['--numeric-owner', '--full-time', '--quoting-style=escape', '--utc', '-tvf', '-']
  const lines = execFileSync('tar', args, { input: packed, env: { ...process.env, LC_ALL: 'C.UTF-8' } })
    .toString()
    .trim()
    .split('\n')
  assert.match(lines[0] ?? '', /^---------- 0\/0 .* x\\377\\376$/)
  assert.match(lines[1] ?? '', /2023-11-14 22:13:20\.123456789 (d\/){60}long$/)
  assert.match(lines[2] ?? '', /3000000\/262144 .* größe$/)
  assert.match(lines[3] ?? '', /link -> x\\377\\376$/)
})

test('archives of GNU tar in its own formats are read', async () => {
  const listing = ['node_modules/tar-stream/package.json', 'node_modules/tar-stream/pack.js']
  for (const format of ['gnu', 'oldgnu', 'posix', 'ustar']) {
    const packed = execFileSync('tar', [
      '-cf',
      '-',
      `--format=${format}`,
      `--transform=s,^,${'x'.repeat(90)}/,`,
      ...listing,
    ])
    const entries = await unpack(packed)
    assert.deepEqual(
      entries.map(([found]) => found.name.toString()),
      listing.map((path) => `${'x'.repeat(90)}/${path}`),
      format,
    )
    assert.ok(entries.every(([found, content]) => found.size === content.length && content.length > 100))
  }
})

test('content of another size than announced is an error, never a wrong archive', async () => {
  await assert.rejects(pack([[{ ...file, size: 5 }, Buffer.from('four')]]), /Size mismatch/)
  await assert.rejects(pack([[{ ...file, size: 3 }, Buffer.from('four')]]), /Size mismatch/)
})

test('content that nobody reads is passed over', async () => {
  const packed = rawTar({ name: 'a', content: Buffer.alloc(100_000) }, { name: 'b', content: 'x' })
  const names: string[] = []
  for await (const [found] of unpackTar(pieces(packed, 5000))) names.push(found.name.toString())
  assert.deepEqual(names, ['a', 'b'])
})

test('what is no archive, or not a whole one, is refused', async () => {
  const isSeal = (error: ApplicationError) => {
    assert.equal(error.code, 'SEAL')
    return true
  }
  const whole = rawTar({ name: 'a', content: Buffer.alloc(2000) })
  await assert.rejects(unpack(Buffer.from('no tar at all'.repeat(100))), isSeal)
  await assert.rejects(unpack(whole.subarray(0, 1500)), isSeal)
  await assert.rejects(unpack(rawTar({ name: 'a', size: 2 ** 50 })), isSeal)
  await assert.rejects(unpack(rawTar({ name: 'x', type: 'x', size: 2 ** 40 })), isSeal)
  const flipped = Buffer.from(whole)
  flipped[3] = 1
  await assert.rejects(unpack(flipped), isSeal)
  for (const size of ['-5', 'NaN', 'x']) {
    const records = paxRecords({ size })
    await assert.rejects(
      unpack(rawTar({ name: 'x', type: 'x', content: records }, { name: 'a', content: 'abc' })),
      isSeal,
      size,
    )
  }
  const notText = paxRecords({ path: Buffer.from([0xff]) })
  await assert.rejects(unpack(rawTar({ name: 'x', type: 'x', content: notText }, { name: 'a' })), isSeal)
  const sparse = paxRecords({ 'GNU.sparse.major': '1' })
  await assert.rejects(unpack(rawTar({ name: 'x', type: 'x', content: sparse }, { name: 'a' })), isSeal)
})

test('an error of the source comes through, and an early end releases it', async () => {
  const broken = new Error('no more')
  async function* failing(): AsyncGenerator<Buffer> {
    yield rawEntry({ name: 'a', content: 'abc' })
    throw broken
  }
  await assert.rejects(async () => {
    for await (const _ of unpackTar(failing()));
  }, broken)
  let released = false
  async function* endless(): AsyncGenerator<Buffer> {
    try {
      for (let index = 0; ; index++) yield rawEntry({ name: `${index}`, content: Buffer.alloc(50_000) })
    } finally {
      released = true
    }
  }
  for await (const _ of unpackTar(endless())) break
  assert.ok(released)
})
