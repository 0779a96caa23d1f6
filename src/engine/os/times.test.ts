import assert from 'node:assert/strict'
import { lstatSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setTimes } from './times.ts'

describe('times', { skip: process.platform !== 'linux' && 'needs Linux' }, () => {
  it('both are set to the nanosecond', (test) => {
    const file = temporaryFile(test)
    for (const [atime, mtime] of [
      [1_700_000_000_123_456_789n, 1_600_000_000_987_654_321n],
      [0n, 1n],
      [999_999_999n, 1_000_000_000n],
      [2n ** 31n * 1_000_000_000n + 7n, 4_102_444_800_000_000_001n], // beyond 2038
    ] as const) {
      setTimes(file, atime, mtime)
      assert.deepEqual(timesOf(file), { atime, mtime })
    }
  })

  it('times before 1970 are negative, and exact', (test) => {
    const file = temporaryFile(test)
    for (const ns of [
      -1n,
      -999_999_999n,
      -1_000_000_000n,
      -1_000_000_001n,
      -86_400_000_000_123n,
      -2_000_000_000_999_999_999n,
    ]) {
      setTimes(file, ns, ns - 1n)
      assert.deepEqual(timesOf(file), { atime: ns, mtime: ns - 1n })
    }
  })

  it('a symbolic link is not followed', (test) => {
    const file = temporaryFile(test)
    setTimes(file, 1n, 2n)
    const link = Buffer.from(`${file}-link`)
    symlinkSync(file, link)
    setTimes(link, 3_000_000_000n, -4n)
    assert.deepEqual(timesOf(link), { atime: 3_000_000_000n, mtime: -4n })
    assert.deepEqual(timesOf(file), { atime: 1n, mtime: 2n })
  })

  it('folders and names that are not UTF-8 have times too', (test) => {
    const file = temporaryFile(test)
    const odd = Buffer.concat([file, Buffer.of(0xff)])
    writeFileSync(odd, '')
    const folder = Buffer.from(join(file.toString(), '..'))
    for (const path of [odd, folder]) {
      setTimes(path, 5n, 6n)
      assert.deepEqual(timesOf(path), { atime: 5n, mtime: 6n })
    }
  })

  it('a missing file is not found, and a NUL byte does not lead elsewhere', (test) => {
    const file = temporaryFile(test)
    assert.throws(() => setTimes(Buffer.from(`${file}-missing`), 0n, 0n), { code: 'NOT_FOUND' })
    assert.throws(() => setTimes(Buffer.from(`${file}\0`), 0n, 0n), { code: 'HOSTILE' })
  })
})

function temporaryFile(test: TestContext): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-times-'))
  test.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'file')
  writeFileSync(file, '')
  return Buffer.from(file)
}

function timesOf(path: Buffer): { atime: bigint; mtime: bigint } {
  const { atimeNs, mtimeNs } = lstatSync(path, { bigint: true })
  return { atime: atimeNs, mtime: mtimeNs }
}
