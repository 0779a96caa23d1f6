import { isUtf8 } from 'node:buffer'

/**
 * Joins what the two functions make of the stretches of valid UTF-8 and of the bytes between them. Like Go, and unlike
 * `TextDecoder`, it takes an invalid sequence (truncated, overlong, a surrogate) byte by byte.
 */
export function mapUtf8(bytes: Buffer, ofText: (text: string) => string, ofByte: (byte: number) => string): string {
  if (isUtf8(bytes)) return ofText(bytes.toString('utf8'))
  let mapped = ''
  let start = 0
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes[at]!)
    if (length === 1 || (length > 1 && isUtf8(bytes.subarray(at, at + length)))) {
      at += length
      continue
    }
    if (at > start) mapped += ofText(bytes.toString('utf8', start, at))
    mapped += ofByte(bytes[at]!)
    at += 1
    start = at
  }
  return start < bytes.length ? mapped + ofText(bytes.toString('utf8', start)) : mapped
}

/** How long the sequence is that this byte promises to begin; 0 for a byte that begins none. */
function sequenceLength(byte: number): number {
  if (byte < 0x80) return 1
  if (byte < 0xc2) return 0
  if (byte < 0xe0) return 2
  if (byte < 0xf0) return 3
  return byte < 0xf5 ? 4 : 0
}
