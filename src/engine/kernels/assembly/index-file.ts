// The JSON of an index file in the very form in which it is always written, to columns. What is and what is not that
// form says ../../format/scan-index-file.ts, the twin. The end is looked at once a blob, so up to 256 bytes beyond it are read.

const SHORTEST_LENGTH: u64 = 32
const LONGEST_LENGTH: u64 = 0xffffffff
const NONE: u64 = u64.MAX_VALUE

const PACK_BYTES: usize = 36

/** `{"packs":[` */
const OPENING = memory.data<u8>([0x7b, 0x22, 0x70, 0x61, 0x63, 0x6b, 0x73, 0x22, 0x3a, 0x5b])
/** `","blobs":[` */
const BLOBS = memory.data<u8>([0x22, 0x2c, 0x22, 0x62, 0x6c, 0x6f, 0x62, 0x73, 0x22, 0x3a, 0x5b])
/** `,"length":` */
const LENGTH = memory.data<u8>([0x2c, 0x22, 0x6c, 0x65, 0x6e, 0x67, 0x74, 0x68, 0x22, 0x3a])
/** `","type":"data","offset":` and the same of a tree */
const DATA = memory.data<u8>([
  0x22, 0x2c, 0x22, 0x74, 0x79, 0x70, 0x65, 0x22, 0x3a, 0x22, 0x64, 0x61, 0x74, 0x61, 0x22, 0x2c, 0x22, 0x6f, 0x66,
  0x66, 0x73, 0x65, 0x74, 0x22, 0x3a,
])
const TREE = memory.data<u8>([
  0x22, 0x2c, 0x22, 0x74, 0x79, 0x70, 0x65, 0x22, 0x3a, 0x22, 0x74, 0x72, 0x65, 0x65, 0x22, 0x2c, 0x22, 0x6f, 0x66,
  0x66, 0x73, 0x65, 0x74, 0x22, 0x3a,
])
/** `,"uncompressed_length":` */
const PLAIN_LENGTH = memory.data<u8>([
  0x2c, 0x22, 0x75, 0x6e, 0x63, 0x6f, 0x6d, 0x70, 0x72, 0x65, 0x73, 0x73, 0x65, 0x64, 0x5f, 0x6c, 0x65, 0x6e, 0x67,
  0x74, 0x68, 0x22, 0x3a,
])

/** `{"id` and `d":"`: with one byte of both, `{"id":"` */
const ID_START: u32 = 0x6469227b
const ID_END: u32 = 0x223a2264
const COMMA: u8 = 0x2c
const BRACE: u8 = 0x7d
const BRACKET: u8 = 0x5d
const NEWLINE: u8 = 0x0a

/** Where the scan is. */
let at: usize = 0

/**
 * Number of blobs, or -1 for what has another form or more than `capacity` blobs. At `to` are then columns of so many: IDs of
 * 32 bytes, offsets, lengths and lengths of plaintexts of 4, and kinds of 1 (bit 0: a tree, bit 1: compressed). At `packs` is
 * the number of packs, and of each 32 bytes of ID and 4 that say which blob is its first one.
 */
export function scanIndex(
  from: usize,
  end: usize,
  canCompress: bool,
  to: usize,
  capacity: usize,
  packs: usize,
  packCapacity: usize,
): i32 {
  const offsets = to + 32 * capacity
  const lengths = offsets + 4 * capacity
  const plains = lengths + 4 * capacity
  const kinds = plains + 4 * capacity
  let count: usize = 0
  let packCount: usize = 0
  let pack = packs + 4

  if (load<u64>(from) !== load<u64>(OPENING) || load<u16>(from, 8) !== load<u16>(OPENING, 8)) return -1
  at = from + 10
  if (load<u8>(at) === BRACKET) {
    at++
  } else {
    for (;;) {
      if (packCount === packCapacity || at >= end) return -1
      if (!readId(pack)) return -1
      if (load<u64>(at) !== load<u64>(BLOBS) || load<u32>(at, 7) !== load<u32>(BLOBS, 7)) return -1
      at += 11
      store<u32>(pack, <u32>count, 32)
      pack += PACK_BYTES
      packCount++
      if (load<u8>(at) === BRACKET) {
        at++
      } else {
        for (;;) {
          if (count === capacity || at >= end) return -1
          if (!readId(to + 32 * count)) return -1
          const start = v128.load(at)
          const rest = v128.load(at, 9)
          let kind: u8 = 0
          if (v128.any_true(v128.xor(rest, v128.load(DATA, 9))) || v128.any_true(v128.xor(start, v128.load(DATA)))) {
            if (v128.any_true(v128.xor(rest, v128.load(TREE, 9)))) return -1
            if (v128.any_true(v128.xor(start, v128.load(TREE)))) return -1
            kind = 1
          }
          at += 25
          const offset = readNumber()
          if (offset === NONE) return -1
          if (load<u64>(at) !== load<u64>(LENGTH) || load<u16>(at, 8) !== load<u16>(LENGTH, 8)) return -1
          at += 10
          const length = readNumber()
          if (length === NONE || length < SHORTEST_LENGTH) return -1
          let plain: u64 = 0
          if (load<u8>(at) === COMMA) {
            if (v128.any_true(v128.xor(v128.load(at), v128.load(PLAIN_LENGTH)))) return -1
            if (load<u64>(at, 15) !== load<u64>(PLAIN_LENGTH, 15)) return -1
            at += 23
            plain = readNumber()
            if (plain === NONE || (plain > 0 && !canCompress)) return -1
            if (plain > 0) kind |= 2
          }
          if (load<u8>(at++) !== BRACE) return -1
          store<u32>(offsets + 4 * count, <u32>offset)
          store<u32>(lengths + 4 * count, <u32>length)
          store<u32>(plains + 4 * count, <u32>plain)
          store<u8>(kinds + count, kind)
          count++
          const next = load<u8>(at++)
          if (next === BRACKET) break
          if (next !== COMMA) return -1
        }
      }
      if (load<u8>(at++) !== BRACE) return -1
      const next = load<u8>(at++)
      if (next === BRACKET) break
      if (next !== COMMA) return -1
    }
  }
  if (load<u8>(at) !== BRACE || load<u8>(at, 1) !== NEWLINE || at + 2 !== end) return -1
  store<u32>(packs, <u32>packCount)
  return <i32>count
}

/** Reads `{"id":"` and 64 digits. */
function readId(to: usize): bool {
  if (load<u32>(at) !== ID_START || load<u32>(at, 3) !== ID_END) return false
  const first = nibbles(v128.load(at, 7))
  const second = nibbles(v128.load(at, 23))
  const third = nibbles(v128.load(at, 39))
  const fourth = nibbles(v128.load(at, 55))
  // What is no digit has the top bit.
  if (i8x16.bitmask(v128.or(v128.or(first, second), v128.or(third, fourth))) !== 0) return false
  v128.store(to, i8x16.narrow_i16x8_u(paired(first), paired(second)))
  v128.store(to, i8x16.narrow_i16x8_u(paired(third), paired(fourth)), 16)
  at += 71
  return true
}

/** What 16 digits in lower case stand for. */
function nibbles(text: v128): v128 {
  const decimal = i8x16.sub(text, i8x16.splat(0x30))
  const letter = i8x16.sub(text, i8x16.splat(0x61))
  const isDecimal = i8x16.lt_u(decimal, i8x16.splat(10))
  const isLetter = i8x16.lt_u(letter, i8x16.splat(6))
  const value = v128.bitselect(decimal, i8x16.add(letter, i8x16.splat(10)), isDecimal)
  return v128.or(value, v128.not(v128.or(isDecimal, isLetter)))
}

/** The first of two is the higher one. */
function paired(nibbles: v128): v128 {
  return v128.and(v128.or(i16x8.shl(nibbles, 4), i16x8.shr_u(nibbles, 8)), i16x8.splat(0xff))
}

/** A number of at most 32 bits without zeros before it. */
function readNumber(): u64 {
  const start = at
  let value: u64 = 0
  for (;;) {
    const digit = <u32>load<u8>(at) - 0x30
    if (digit > 9) break
    value = value * 10 + digit
    at++
    if (at - start > 10) return NONE
  }
  if (at === start || value > LONGEST_LENGTH || (at - start > 1 && load<u8>(start) === 0x30)) return NONE
  return value
}
