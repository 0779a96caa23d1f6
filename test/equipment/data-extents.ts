import { constants } from 'node:os'
import { cFunction } from '../../src/engine/os/c-library.ts'

const lseek = cFunction<[number, number, number]>('int64_t lseek(int fd, int64_t offset, int whence)')

// lseek(2); not among Node's constants.
const SEEK_DATA = 3
const SEEK_HOLE = 4

/** Offset and length of the parts of an open file, up to `size`, that are no holes. */
export function dataExtents(fd: number, size: number): [offset: number, length: number][] {
  const extents: [number, number][] = []
  for (let position = 0; position < size; ) {
    const start = lseek(fd, position, SEEK_DATA)
    if (start === -constants.errno.ENXIO) break // a hole up to the end
    const end = Math.min(lseek(fd, start, SEEK_HOLE), size)
    if (start < 0 || end <= start) throw new Error(`Cannot find the holes of a file: ${start} to ${end}`)
    extents.push([start, end - start])
    position = end
  }
  return extents
}
