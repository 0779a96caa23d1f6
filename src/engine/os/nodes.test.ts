import assert from 'node:assert/strict'
import { lstatSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { makeDevice, makeFifo } from './nodes.ts'

const isRoot = process.getuid?.() === 0

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

function temporaryFolder(test: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-nodes-'))
  test.after(() => rmSync(folder, { recursive: true }))
  return folder
}
