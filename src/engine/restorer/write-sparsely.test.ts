import assert from 'node:assert/strict'
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, statSync } from 'node:fs'
import { describe, it } from 'node:test'
import { dataExtents } from '../../../test/equipment/data-extents.ts'
import { randomBytes } from '../../../test/equipment/random-bytes.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { writeSparsely } from './write-sparsely.ts'

const KIB = 1024
const x = (length: number) => Buffer.alloc(length, 'x')
const zeros = (length: number) => Buffer.alloc(length)

/** The file that these pieces make one after the other: its content, its parts that are no holes, and its bytes on disk. */
function written(pieces: readonly Buffer[]) {
  using folder = temporaryFolder()
  const path = `${folder.path}/file`
  const fd = openSync(path, 'w+')
  try {
    let position = 0
    let end = 0
    for (const piece of pieces) {
      end = Math.max(end, writeSparsely(fd, piece, position))
      position += piece.length
    }
    assert.equal(end, fstatSync(fd).size) // only a hole at the end is not there yet
    ftruncateSync(fd, position)
    const extents = dataExtents(fd, position).map(([offset, length]) => [offset / KIB, length / KIB])
    return { content: readFileSync(path), extents, bytesOnDisk: statSync(path).blocks * 512 }
  } finally {
    closeSync(fd)
  }
}

describe('writeSparsely', () => {
  it('leaves holes where long runs of zeros lie', () => {
    const { extents } = written([x(64 * KIB), zeros(128 * KIB), x(64 * KIB), zeros(1024 * KIB)])
    assert.deepEqual(extents, [
      [0, 64],
      [192, 64],
    ])
  })

  it('places holes by the position in the file, not in the piece', () => {
    const { extents } = written([x(1000), Buffer.concat([zeros(64 * KIB * 3 - 1000), x(64 * KIB)])])
    assert.deepEqual(extents, [
      [0, 64],
      [192, 64],
    ])
  })

  it('makes no blocks for a file of zeros', () => {
    const { content, bytesOnDisk } = written(Array.from({ length: 40 }, () => zeros(512 * KIB)))
    assert.equal(content.length, 20 * 1024 * KIB)
    assert.equal(bytesOnDisk, 0)
  })

  it('gives the same bytes as writing all of them, whatever lies where', () => {
    const parts = [
      zeros(1),
      x(1),
      zeros(64 * KIB - 1),
      zeros(64 * KIB),
      x(100),
      zeros(200 * KIB),
      randomBytes(70 * KIB, 1),
      zeros(64 * KIB + 1),
      zeros(0),
    ]
    for (let shift = 0; shift < parts.length; shift++) {
      const turned = [...parts.slice(shift), ...parts.slice(0, shift)]
      const expected = Buffer.concat(turned)
      assert.ok(written(turned).content.equals(expected))
      assert.ok(written([expected]).content.equals(expected))
      assert.ok(written([expected.subarray(0, 12345), expected.subarray(12345)]).content.equals(expected))
    }
  })
})
