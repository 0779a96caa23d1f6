import { EngineError } from '../error.ts'
import { describeName } from './layout.ts'
import type { ByteRange, FileName } from './storage.ts'

/**
 * Where a range lies in a file of `size` bytes. Throws `TRUNCATED` unless all of it lies within, and `STORAGE` for a range
 * that no file has (negative, fractional).
 */
export function resolveRange(
  name: FileName,
  range: ByteRange | undefined,
  size: number,
  location: string,
): { offset: number; length: number } {
  if (range === undefined) return { offset: 0, length: size }
  const { offset, length } = 'fromEnd' in range ? { offset: size - range.fromEnd, length: range.fromEnd } : range
  if (
    !Number.isSafeInteger(length) ||
    length < 0 ||
    !Number.isSafeInteger(offset) ||
    (offset < 0 && !('fromEnd' in range))
  ) {
    throw new EngineError(
      'STORAGE',
      `Cannot read the range ${JSON.stringify(range)} of ${describeName(name)}: expected whole numbers of at least 0`,
    )
  }
  if (offset < 0 || offset + length > size)
    throw truncated(name, size, 'fromEnd' in range ? length : offset + length, location)
  return { offset, length }
}

export function truncated(name: FileName, size: number, expected: number, location: string): EngineError {
  return new EngineError(
    'TRUNCATED',
    `Cannot read ${describeName(name)} in ${location}: it has ${size} bytes, expected at least ${expected}`,
    { facts: { type: name.type, id: name.id, location, size, expected } },
  )
}
