// What AES in counter mode needs beside AES, so that one cipher can make the key stream of many messages at once.

/** The byte order of a counter block is that of the network; numbers here are little-endian. */
function reversed(value: v128): v128 {
  return i8x16.shuffle(value, value, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
}

/** Writes `count` counter blocks: the 128-bit number at `counter`, and each the one before plus 1, modulo 2^128. */
export function counterBlocks(counter: usize, count: usize, to: usize): void {
  let value = reversed(v128.load(counter))
  const one = i64x2(1, 0)
  for (let at = to, end = to + 16 * count; at < end; at += 16) {
    v128.store(at, reversed(value))
    value = i64x2.add(value, one)
    if (i64x2.extract_lane(value, 0) === 0) value = i64x2.add(value, i64x2(0, 1))
  }
}

/** Adds the bytes at `source` to as many at `target`, bit by bit. */
export function xor(target: usize, source: usize, length: usize): void {
  const end = target + length
  const distance = source - target
  let at = target
  for (const whole = target + (length & ~31); at < whole; at += 32) {
    v128.store(at, v128.xor(v128.load(at), v128.load(at + distance)))
    v128.store(at, v128.xor(v128.load(at, 16), v128.load(at + distance, 16)), 16)
  }
  for (; at < end; at++) store<u8>(at, load<u8>(at) ^ load<u8>(at + distance))
}
