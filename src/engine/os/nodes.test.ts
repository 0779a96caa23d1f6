import assert from 'node:assert/strict'
import {
  closeSync,
  ftruncateSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { dataExtents, makeDevice, makeFifo } from './nodes.ts'

const isRoot = process.getuid?.() === 0
const BLOCK = 1024 * 1024

describe('special files', { skip: process.platform !== 'linux' && 'needs Linux' }, () => {
  it('a named pipe has the mode less the umask', (test) => {
    const path = Buffer.from(join(temporaryFolder(test), 'pipe'))
    const umask = process.umask(0o027)
    try {
      makeFifo(path, 0o666)
    } finally {
      process.umask(umask)
    }
    const stats = lstatSync(path)
    assert.ok(stats.isFIFO())
    assert.equal(stats.mode & 0o7777, 0o640)
    assert.throws(() => makeFifo(path, 0o600), { code: 'EXISTS' })
  })

  it('devices have their kind, number and mode', { skip: !isRoot && 'needs root' }, (test) => {
    const folder = temporaryFolder(test)
    const umask = process.umask(0)
    try {
      for (const [kind, source] of [
        ['char', '/dev/null'],
        ['char', '/dev/zero'],
      ] as const) {
        const path = Buffer.from(join(folder, source.replaceAll('/', '-')))
        const { rdev } = lstatSync(source, { bigint: true })
        makeDevice(path, kind, 0o640, rdev)
        const made = lstatSync(path, { bigint: true })
        assert.ok(made.isCharacterDevice())
        assert.equal(made.rdev, rdev)
        assert.equal(made.mode & 0o7777n, 0o640n)
      }
      // Major 0xfff and minor 0xfffff, the largest that Linux has: 12 and 20 bits, spread over the number by glibc.
      const largest = Buffer.from(join(folder, 'largest'))
      makeDevice(largest, 'block', 0o600, 0xff_ff_ff_ffn)
      const made = lstatSync(largest, { bigint: true })
      assert.ok(made.isBlockDevice())
      assert.equal(made.rdev, 0xff_ff_ff_ffn)
    } finally {
      process.umask(umask)
    }
  })

  it('a number that no device has makes none', (test) => {
    const path = Buffer.from(join(temporaryFolder(test), 'device'))
    for (const device of [-1n, 1n << 64n, (1n << 64n) + 259n]) {
      assert.throws(() => makeDevice(path, 'char', 0o600, device), { code: 'SYSTEM' })
    }
    assert.throws(() => lstatSync(path), { code: 'ENOENT' })
  })

  it('a mode cannot change the kind', (test) => {
    const path = Buffer.from(join(temporaryFolder(test), 'pipe'))
    makeFifo(path, 0o100600)
    assert.ok(lstatSync(path).isFIFO())
  })

  it('a NUL byte does not lead elsewhere', (test) => {
    const path = Buffer.from(join(temporaryFolder(test), 'pipe\0'))
    assert.throws(() => makeFifo(path, 0o600), { code: 'HOSTILE' })
    assert.throws(() => makeDevice(path, 'char', 0o600, 259n), { code: 'HOSTILE' })
  })
})

describe('data extents', { skip: process.platform !== 'linux' && 'needs Linux' }, () => {
  it('a file without holes is one extent, an empty one none', (test) => {
    withFile(test, (fd) => {
      assert.deepEqual([...dataExtents(fd, 0)], [])
      writeSync(fd, 'data')
      assert.deepEqual([...dataExtents(fd, 4)], [{ offset: 0, length: 4 }])
    })
  })

  it('holes at the start, in between and at the end are left out', (test) => {
    withFile(test, (fd) => {
      writeSync(fd, Buffer.alloc(BLOCK, 'a'), 0, BLOCK, 2 * BLOCK)
      writeSync(fd, 'b', 5 * BLOCK)
      ftruncateSync(fd, 100 * BLOCK)
      const extents = [...dataExtents(fd, 100 * BLOCK)]
      assert.equal(extents.length, 2)
      assert.deepEqual(extents[0], { offset: 2 * BLOCK, length: BLOCK })
      assert.equal(extents[1]!.offset, 5 * BLOCK)
      assert.ok(extents[1]!.length < BLOCK)
    })
  })

  it('a file that is nothing but a hole has no data, however large', (test) => {
    withFile(test, (fd) => {
      ftruncateSync(fd, 2 ** 40)
      assert.deepEqual([...dataExtents(fd, 2 ** 40)], [])
    })
  })

  it('nothing beyond the given size is reported', (test) => {
    withFile(test, (fd) => {
      writeSync(fd, Buffer.alloc(2 * BLOCK, 'a'))
      assert.deepEqual([...dataExtents(fd, 1000)], [{ offset: 0, length: 1000 }])
      ftruncateSync(fd, 10 * BLOCK)
      writeSync(fd, 'b', 8 * BLOCK)
      assert.deepEqual([...dataExtents(fd, 4 * BLOCK)], [{ offset: 0, length: 2 * BLOCK }])
    })
  })

  it('a file that became shorter ends early', (test) => {
    withFile(test, (fd) => {
      writeSync(fd, Buffer.alloc(BLOCK, 'a'))
      assert.deepEqual([...dataExtents(fd, 10 * BLOCK)], [{ offset: 0, length: BLOCK }])
      ftruncateSync(fd, 0)
      assert.deepEqual([...dataExtents(fd, BLOCK)], [])
    })
  })

  it('what lies outside of extents reads as zeros', (test) => {
    withFile(test, (fd) => {
      const size = 24 * BLOCK
      const expected = Buffer.alloc(size)
      for (const block of [1, 2, 7, 11, 12, 20]) {
        expected.fill(block, block * BLOCK + 17, block * BLOCK + 5000)
        writeSync(fd, expected, block * BLOCK + 17, 4983, block * BLOCK + 17)
      }
      ftruncateSync(fd, size)
      const seen = Buffer.alloc(size)
      for (const { offset, length } of dataExtents(fd, size)) readSync(fd, seen, offset, length, offset)
      assert.ok(seen.equals(expected))
    })
  })

  it('what cannot be searched is an error', () => {
    assert.throws(() => [...dataExtents(987_654, 1)], { code: 'SYSTEM' })
  })
})

function temporaryFolder(test: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-nodes-'))
  test.after(() => rmSync(folder, { recursive: true }))
  return folder
}

function withFile(test: TestContext, work: (fd: number) => void): void {
  const path = join(temporaryFolder(test), 'file')
  writeFileSync(path, '')
  const fd = openSync(path, 'r+')
  try {
    work(fd)
  } finally {
    closeSync(fd)
  }
}
