// Holes of files: long runs of zeros need not be written.

/** Where the run of zeros that starts at `from` ends: the first other byte, or `end`. */
export function zeroEnd(from: usize, end: usize): usize {
  let at = from
  while (end - at >= 64) {
    const first = v128.or(v128.load(at), v128.load(at, 16))
    const second = v128.or(v128.load(at, 32), v128.load(at, 48))
    if (v128.any_true(v128.or(first, second))) break
    at += 64
  }
  while (end - at >= 8 && load<u64>(at) === 0) at += 8
  while (at < end && load<u8>(at) === 0) at++
  return at
}

/** The first of the blocks of `size` bytes, counted from `from`, that is all zeros, or `end`; the last may be shorter. */
export function zeroBlock(from: usize, end: usize, size: usize): usize {
  let at = from
  while (end - at > size) {
    const next = at + size
    if (zeroEnd(at, next) === next) return at
    at = next
  }
  return zeroEnd(at, end) === end ? at : end
}
