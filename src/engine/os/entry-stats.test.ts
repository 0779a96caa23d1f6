import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  closeSync,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { EntryStats, FolderEntries, STATS_WORDS } from './entry-stats.ts'
import { setExtendedAttribute } from './extended-attributes.ts'

type Numbers = Parameters<typeof EntryStats.of>[0]

const numbersOf = (stats: EntryStats) => ({
  dev: stats.dev,
  ino: stats.ino,
  mode: BigInt(stats.mode),
  nlink: BigInt(stats.nlink),
  uid: BigInt(stats.uid),
  gid: BigInt(stats.gid),
  rdev: stats.rdev,
  size: BigInt(stats.size),
  mtimeNs: stats.mtimeNs,
  ctimeNs: stats.ctimeNs,
})

function expected({ dev, ino, mode, nlink, uid, gid, rdev, size, mtimeNs, ctimeNs }: Numbers) {
  return { dev, ino, mode, nlink, uid, gid, rdev, size, mtimeNs, ctimeNs }
}

const SOME = expected(lstatSync('/', { bigint: true }))

test('of every kind of entry they are what lstat says, before 1970 and after 2038 too', () => {
  using folder = temporaryFolder()
  const at = (name: string) => `${folder.path}/${name}`
  writeFileSync(at('file'), 'content')
  mkdirSync(at('folder'))
  symlinkSync('nowhere', at('link'))
  for (const [name, seconds] of [
    ['early', -1_000_000.25],
    ['late', 5_000_000_000.75],
  ] as const) {
    writeFileSync(at(name), '')
    utimesSync(at(name), seconds, seconds)
  }
  for (const path of [
    ...['file', 'folder', 'link', 'early', 'late'].map(at),
    '/dev/null',
    '/dev/tty',
    '/proc/self/stat',
  ]) {
    const found = EntryStats.atPath(Buffer.from(path))
    const { ino: _, ...same } = numbersOf(found)
    const { ino: __, ...wanted } = expected(lstatSync(path, { bigint: true }))
    assert.deepEqual(same, wanted, path)
  }
  assert.equal(EntryStats.atPath(Buffer.from(at('file'))).ino, lstatSync(at('file'), { bigint: true }).ino)
  assert.ok(EntryStats.atPath(Buffer.from(at('folder'))).isDirectory())
  assert.ok(!EntryStats.atPath(Buffer.from(at('link'))).isFile())
})

test('of an open file they are what fstat says', () => {
  const descriptor = openSync(process.execPath, 'r')
  try {
    const found = EntryStats.ofDescriptor(descriptor)
    assert.deepEqual(numbersOf(found), expected(fstatSync(descriptor, { bigint: true })))
    assert.ok(found.equals(EntryStats.atPath(Buffer.from(process.execPath))))
  } finally {
    closeSync(descriptor)
  }
  assert.throws(() => EntryStats.ofDescriptor(descriptor), { code: 'EBADF' })
})

test('what is not there, and a path that no call takes, are errors of the system', () => {
  assert.throws(() => EntryStats.atPath(Buffer.from('/not/there')), { code: 'ENOENT' })
  assert.throws(() => EntryStats.atPath(Buffer.from(`/${'x'.repeat(5000)}`)), { code: 'ENAMETOOLONG' })
  assert.throws(() => EntryStats.atPath(Buffer.from('/a\0b')), { code: 'ERR_INVALID_ARG_VALUE' })
})

test('every number survives the way through words, and each of them makes a difference', () => {
  const time = fc.bigInt(-(2n ** 62n), 2n ** 62n)
  const long = fc.bigInt(0n, 2n ** 64n - 1n)
  const word = fc.bigInt(0n, 2n ** 32n - 1n)
  const some = fc.record({
    dev: long,
    ino: long,
    rdev: long,
    mode: word,
    nlink: word,
    uid: word,
    gid: word,
    size: fc.bigInt(0n, 2n ** 53n - 1n),
    mtimeNs: time,
    ctimeNs: time,
  })
  fc.assert(
    fc.property(some, (numbers) => {
      const stats = EntryStats.of(numbers as Numbers)
      assert.deepEqual(numbersOf(stats), { ...numbers })
      assert.equal(BigInt(stats.mtimeSeconds) * 1_000_000_000n + BigInt(stats.mtimeNanoseconds), numbers.mtimeNs)
      assert.ok(stats.mtimeNanoseconds >= 0 && stats.mtimeNanoseconds < 1e9)
      const words = new Uint32Array(3 * STATS_WORDS)
      stats.copyTo(words, STATS_WORDS)
      assert.ok(new EntryStats(words, STATS_WORDS).equals(stats))
      assert.ok(new EntryStats(stats.toWords()).equals(stats))
      for (const key of Object.keys(numbers) as (keyof typeof numbers)[]) {
        const other = EntryStats.of({ ...numbers, [key]: numbers[key] ^ 1n } as Numbers)
        assert.ok(!other.equals(stats), key)
      }
    }),
  )
  assert.deepEqual(numbersOf(EntryStats.of(SOME as Numbers)), SOME)
})

test('names of a folder are looked at in blocks, whatever bytes they are of, and what has gone has no stats', () => {
  using folder = temporaryFolder()
  const raw = [Buffer.from('zz-\xff\xfe', 'latin1'), Buffer.from('zz-ä')]
  const at = (name: Buffer) => Buffer.concat([Buffer.from(`${folder.path}/`), name])
  const plain = Array.from({ length: 600 }, (_, i) => Buffer.from(String(i).padStart(3, '0')))
  for (const [i, name] of [...plain, ...raw].entries()) writeFileSync(at(name), 'x'.repeat(i))
  const names = [...plain, ...raw].map((name) => name.toString('latin1'))
  const entries = new FolderEntries(Buffer.from(folder.path), [...names, 'zzz-gone', `zzz-${'x'.repeat(5000)}`])
  for (const [i, name] of names.entries()) {
    const found = entries.stats(i)!
    assert.deepEqual(numbersOf(found), expected(lstatSync(at(Buffer.from(name, 'latin1')), { bigint: true })))
    assert.ok(found.isBare)
  }
  assert.equal(entries.stats(602), undefined)
  assert.equal(entries.stats(603), undefined)
})

test('an entry with an extended attribute is not bare', () => {
  using folder = temporaryFolder()
  const names = ['with', 'without']
  for (const name of names) writeFileSync(`${folder.path}/${name}`, '')
  setExtendedAttribute(Buffer.from(`${folder.path}/with`), 'user.note', Buffer.from('x'))
  const entries = new FolderEntries(Buffer.from(folder.path), names)
  assert.deepEqual(
    names.map((_, i) => entries.stats(i)!.isBare),
    [false, true],
  )
  assert.equal(EntryStats.atPath(Buffer.from(`${folder.path}/without`)).isBare, false)
})

test('what changed before some second is not asked for extended attributes, and counts as without any for who knows it', () => {
  using folder = temporaryFolder()
  for (const name of ['a', 'b']) writeFileSync(`${folder.path}/${name}`, '')
  const later = Math.floor(Date.now() / 1000) + 60
  const [asked, unasked] = [FolderEntries.in(Buffer.from(folder.path)), FolderEntries.in(Buffer.from(folder.path))]
  assert.equal(asked.stats(0)!.isUnasked, false)
  const first = unasked.stats(0, later)!
  assert.deepEqual([first.isUnasked, first.isBare, first.isOlderThan(later)], [true, false, true])
  assert.equal(first.isOlderThan(later - 600), false)
  assert.ok(first.equals(asked.stats(0)!))
  first.takeAsBare()
  assert.deepEqual([unasked.stats(0)!.isUnasked, unasked.stats(0)!.isBare], [false, true])
  assert.equal(unasked.stats(1, later)!.isUnasked, true)
  assert.equal(unasked.fingerprint(), asked.fingerprint())
  setExtendedAttribute(Buffer.from(`${folder.path}/b`), 'user.note', Buffer.from('x'))
  const changed = FolderEntries.in(Buffer.from(folder.path)).stats(1, later - 600)!
  assert.deepEqual([changed.isUnasked, changed.isBare], [false, false])
})

test('the fingerprint of a folder is another one after each change of an entry that lstat tells of', () => {
  using folder = temporaryFolder()
  const at = (name: string) => `${folder.path}/${name}`
  const fingerprint = (before?: number) => {
    const entries = FolderEntries.in(Buffer.from(folder.path))
    entries.look(0, entries.names.length)
    return entries.fingerprint(before)
  }
  for (let n = 0; n < 900; n++)
    writeFileSync(at(`file ${n} of a long name, so that all of them do not fit into the usual place`), 'x')
  writeFileSync(at('ä'), 'content')
  mkdirSync(at('folder'))
  symlinkSync('target', at('link'))
  let last = fingerprint()
  assert.equal(last?.length, 32)
  assert.equal(fingerprint(), last)
  const changes: readonly (readonly [string, () => void])[] = [
    ['written to', () => appendFileSync(at('ä'), '!')],
    ['another mode', () => chmodSync(at('ä'), 0o600)],
    ['another time', () => utimesSync(at('ä'), 1, 1)],
    ['further link', () => linkSync(at('ä'), at('folder/again'))],
    ['renamed', () => renameSync(at('ä'), at('ö'))],
    ['no link', () => rmSync(at('link'))],
    ['another link', () => symlinkSync('other', at('link'))],
    ['a link less', () => rmSync(at('folder/again'))],
    ['another folder', () => renameSync(at('folder'), at('folder 2'))],
    ['a name more', () => writeFileSync(at('z'), '')],
    ['a name less', () => rmSync(at('z'))],
  ]
  for (const [what, change] of changes) {
    change()
    const now = fingerprint()
    assert.ok(now !== undefined && now !== last, what)
    assert.equal(fingerprint(), now)
    last = now
  }
  using other = temporaryFolder()
  assert.notEqual(
    FolderEntries.in(Buffer.from(other.path)).fingerprint(),
    FolderEntries.in(Buffer.from(`${other.path}/`)).fingerprint(),
  )
})

test('a folder has no fingerprint while more is to be said of an entry than lstat does', () => {
  using folder = temporaryFolder()
  const fingerprint = (before?: number) => {
    const entries = FolderEntries.in(Buffer.from(folder.path))
    entries.look(0, entries.names.length)
    return entries.fingerprint(before)
  }
  const later = Date.now() / 1000 + 60
  const plain = fingerprint()
  assert.ok(plain !== undefined)
  writeFileSync(`${folder.path}/with`, '')
  const bare = fingerprint()
  assert.equal(fingerprint(later), bare)
  setExtendedAttribute(Buffer.from(`${folder.path}/with`), 'user.note', Buffer.from('x'))
  assert.equal(fingerprint(), undefined)
  // The change time, which `before` relies on, tells of the attribute.
  assert.notEqual(fingerprint(later), bare)
  assert.equal(fingerprint(Date.now() / 1000 - 60), undefined)
  rmSync(`${folder.path}/with`)
  assert.equal(fingerprint(), plain)

  assert.equal(new FolderEntries(Buffer.from(folder.path), ['gone']).fingerprint(), undefined)
  writeFileSync(`${folder.path}/twice`, '')
  const twice = new FolderEntries(Buffer.from(folder.path), ['twice', 'twice'])
  twice.look(0, 2)
  assert.equal(twice.fingerprint(), undefined)
  execFileSync('mkfifo', [`${folder.path}/pipe`])
  assert.equal(fingerprint(), undefined)
})
