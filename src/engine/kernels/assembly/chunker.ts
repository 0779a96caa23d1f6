// Content-defined chunking (see ../chunker.ts for what a cut is), 16 places of a file at once.
//
// The digest depends on the last 64 bytes only, so a block of 16 stripes is searched side by side after 64 bytes
// of warming up each. The state is 7 vectors: vector i holds byte i of 16 digests. They are kept 56 bits wide,
// congruent to the digest modulo the polynomial of degree 53, so that multiplying by x^8 only renames vectors and
// reduces what left at the top. That reduction, and taking away the byte that leaves the window, are linear:
// each is a look-up by the low and one by the high half of a byte, which is what a swizzle does.
//
// Whether the low 20 bits of a digest are zero is tested for 16 of them, with the surplus bits 53-55 folded in,
// and once for 16 steps: a lane in which any of them was zero is then looked at again with exact digests.
// The tables are data, so that any polynomial will do.

const MIN_CHUNK: usize = 512 * 1024
const MAX_CHUNK: usize = 8 * 1024 * 1024
const WINDOW: usize = 64
const CUT_MASK: u64 = (1 << 20) - 1
const DEGREE: u64 = 53

/** Not a multiple of 4,096, or all stripes would compete for the same lines of the cache. */
const STRIPE: usize = 1088
const BLOCK: usize = 16 * STRIPE
/** With fewer bytes left than this, a search one by one is faster than that of a whole block. */
const WORTH_A_BLOCK: usize = 4096

/** For byte k of a digest at 64 k: look-ups by the low and the high half of the top byte, and of the leaving byte. */
const NIBBLES: usize = memory.data(7 * 64, 16)
/** What the surplus bits of a top byte add to bytes 0 and 1, by its high half; bit 52 is no surplus. */
const FOLD: usize = memory.data(2 * 16, 16)
/** As in the twin, by whole bytes: u64[256] each. */
const REDUCE: usize = memory.data(256 * 8, 16)
const LEAVE: usize = memory.data(256 * 8, 16)
/** The last 80 bytes of each stripe, as 5 tiles of 16 vectors: vector t of a tile holds byte t of 16 stripes. */
const TILE: usize = 256
const TILES: usize = memory.data(5 * 256, 16)

function timesX(value: u64, polynomial: u64): u64 {
  const shifted = value << 1
  return shifted & (1 << DEGREE) ? shifted ^ polynomial : shifted
}

/** `value` · x^`power`, reduced. */
function shiftMod(value: u64, power: i32, polynomial: u64): u64 {
  let result = value
  for (let i = 0; i < power; i++) result = timesX(result, polynomial)
  return result
}

/** A linear function of `bits` bits, by what it makes of bit 0; that of bit i is x^i times as much. */
function linear(index: u64, unit: u64, polynomial: u64): u64 {
  let result: u64 = 0
  let value = unit
  for (let rest = index; rest !== 0; rest >>= 1) {
    if (rest & 1) result ^= value
    value = timesX(value, polynomial)
  }
  return result
}

function writeNibbles(column: usize, unit: u64, polynomial: u64): void {
  for (let index: u64 = 0; index < 16; index++) {
    const value = linear(index, unit, polynomial)
    for (let byte: usize = 0; byte < 7; byte++) {
      store<u8>(NIBBLES + 64 * byte + 16 * column + <usize>index, <u8>(value >> (8 * <u64>byte)))
    }
  }
}

/** The polynomial must be of degree 53. */
export function setPolynomial(polynomial: u64): void {
  const x53 = polynomial ^ (1 << DEGREE)
  const x56 = shiftMod(x53, 3, polynomial)
  const x512 = shiftMod(x56, 512 - 56, polynomial)
  for (let byte: u64 = 0; byte < 256; byte++) {
    store<u64>(REDUCE + 8 * <usize>byte, linear(byte, x53, polynomial) ^ (byte << DEGREE))
    store<u64>(LEAVE + 8 * <usize>byte, linear(byte, x512, polynomial))
  }
  writeNibbles(0, x56, polynomial)
  writeNibbles(1, shiftMod(x56, 4, polynomial), polynomial)
  writeNibbles(2, x512, polynomial)
  writeNibbles(3, shiftMod(x512, 4, polynomial), polynomial)
  for (let index: u64 = 0; index < 16; index++) {
    const value = linear(index >> 1, x53, polynomial)
    store<u8>(FOLD + <usize>index, <u8>value)
    store<u8>(FOLD + 16 + <usize>index, <u8>(value >> 8))
  }
}

/** The length of the chunk at `start`, or 0 when more bytes are needed: the contract of the twin. */
export function chunkLength(start: usize, end: usize, final: bool): usize {
  const limit = min(end, start + MAX_CHUNK)
  const memoryEnd = (<usize>memory.size()) << 16
  if (limit - start >= MIN_CHUNK && limit > start) {
    // The first byte whose end may be a cut.
    let at = start + MIN_CHUNK - 1
    while (at < limit) {
      // The last block may reach beyond the limit: what is found there does not count.
      const cut =
        limit - at >= WORTH_A_BLOCK && at + BLOCK <= memoryEnd
          ? searchBlock(at)
          : searchBytes(at, min(at + BLOCK, limit))
      if (cut !== 0 && cut <= limit) return cut - start
      at += BLOCK
    }
    if (limit === start + MAX_CHUNK) return MAX_CHUNK
  }
  return final ? end - start : 0
}

/** The first cut after one of the bytes from `from` to `to`, or 0; exact, byte by byte. */
function searchBytes(from: usize, to: usize): usize {
  let digest: u64 = 0
  let at = from - WINDOW
  for (; at < from; at++) {
    digest = ((digest << 8) | load<u8>(at)) ^ load<u64>(REDUCE + <usize>((digest >> 45) << 3))
  }
  for (; at < to; at++) {
    const left = load<u64>(LEAVE + ((<usize>load<u8>(at - WINDOW)) << 3))
    digest = ((digest << 8) | load<u8>(at)) ^ left ^ load<u64>(REDUCE + <usize>((digest >> 45) << 3))
    if ((digest & CUT_MASK) === 0) return at + 1
  }
  return 0
}

function lookUp(table: v128, index: v128): v128 {
  // Indexes are below 16, where the relaxed form does the same on every processor.
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(table, index) : i8x16.swizzle(table, index)
}

function lowHalf(bytes: v128): v128 {
  return v128.and(bytes, i8x16.splat(15))
}

function highHalf(bytes: v128): v128 {
  return i8x16.shr_u(bytes, 4)
}

/** What the byte that left at the top adds to byte `byte` of the digests. */
function reduced(byte: usize, low: v128, high: v128): v128 {
  const table = NIBBLES + 64 * byte
  return v128.xor(lookUp(v128.load(table), low), lookUp(v128.load(table, 16), high))
}

/** The same for the byte that left the window. */
function taken(byte: usize, low: v128, high: v128): v128 {
  const table = NIBBLES + 64 * byte
  return v128.xor(lookUp(v128.load(table, 32), low), lookUp(v128.load(table, 48), high))
}

/** The first cut after one of the bytes of the block at `block`, or 0. Reads from 64 bytes before it. */
function searchBlock(block: usize): usize {
  let d0 = i64x2.splat(0)
  let d1 = d0
  let d2 = d0
  let d3 = d0
  let d4 = d0
  let d5 = d0
  let d6 = d0
  for (let tile: usize = 0; tile < 4; tile++) {
    const entering = TILES + tile * TILE
    readTile(block - WINDOW + 16 * tile, entering)
    for (let step: usize = 0; step < TILE; step += 16) {
      const low = lowHalf(d6)
      const high = highHalf(d6)
      d6 = v128.xor(d5, reduced(6, low, high))
      d5 = v128.xor(d4, reduced(5, low, high))
      d4 = v128.xor(d3, reduced(4, low, high))
      d3 = v128.xor(d2, reduced(3, low, high))
      d2 = v128.xor(d1, reduced(2, low, high))
      d1 = v128.xor(d0, reduced(1, low, high))
      d0 = v128.xor(v128.load(entering + step), reduced(0, low, high))
    }
  }

  const fold0 = v128.load(FOLD)
  const fold1 = v128.load(FOLD, 16)
  let found: usize = 0
  /** Cuts in this lane or after it come after the one that was found. */
  let lanes: usize = 16
  let slot: usize = 4
  let high = highHalf(d6)
  for (let offset: usize = 0; offset < STRIPE; offset += 16) {
    const entering = TILES + slot * TILE
    slot = slot === 4 ? 0 : slot + 1
    const leaving = TILES + slot * TILE
    readTile(block + offset, entering)
    let nearest = i8x16.splat(-1)
    for (let step: usize = 0; step < TILE; step += 16) {
      const low = lowHalf(d6)
      const left = v128.load(leaving + step)
      const leftLow = lowHalf(left)
      const leftHigh = highHalf(left)
      d6 = v128.xor(v128.xor(d5, reduced(6, low, high)), taken(6, leftLow, leftHigh))
      d5 = v128.xor(v128.xor(d4, reduced(5, low, high)), taken(5, leftLow, leftHigh))
      d4 = v128.xor(v128.xor(d3, reduced(4, low, high)), taken(4, leftLow, leftHigh))
      d3 = v128.xor(v128.xor(d2, reduced(3, low, high)), taken(3, leftLow, leftHigh))
      d2 = v128.xor(v128.xor(d1, reduced(2, low, high)), taken(2, leftLow, leftHigh))
      d1 = v128.xor(v128.xor(d0, reduced(1, low, high)), taken(1, leftLow, leftHigh))
      d0 = v128.xor(v128.xor(v128.load(entering + step), reduced(0, low, high)), taken(0, leftLow, leftHigh))
      high = highHalf(d6)
      const rest = v128.or(v128.xor(d0, lookUp(fold0, high)), v128.xor(d1, lookUp(fold1, high)))
      nearest = i8x16.min_u(nearest, rest)
    }
    let zeros = i8x16.bitmask(i8x16.eq(nearest, i8x16.splat(0)))
    while (zeros !== 0) {
      const lane = <usize>ctz(zeros)
      zeros &= zeros - 1
      if (lane >= lanes) break
      const from = block + lane * STRIPE + offset
      const cut = searchBytes(from, from + 16)
      if (cut !== 0) {
        if (lane === 0) return cut
        found = cut
        lanes = lane
        break
      }
    }
  }
  return found
}

/** The first, the second half of both vectors, byte by byte in turn. */
function zipLow(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
}
function zipHigh(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
}

/** Turns 16 bytes of each of 16 stripes into 16 vectors. Zipping halves four times is the transposition. */
function readTile(from: usize, to: usize): void {
  let a0 = v128.load(from)
  let a1 = v128.load(from, STRIPE)
  let a2 = v128.load(from, 2 * STRIPE)
  let a3 = v128.load(from, 3 * STRIPE)
  let a4 = v128.load(from, 4 * STRIPE)
  let a5 = v128.load(from, 5 * STRIPE)
  let a6 = v128.load(from, 6 * STRIPE)
  let a7 = v128.load(from, 7 * STRIPE)
  let a8 = v128.load(from, 8 * STRIPE)
  let a9 = v128.load(from, 9 * STRIPE)
  let aa = v128.load(from, 10 * STRIPE)
  let ab = v128.load(from, 11 * STRIPE)
  let ac = v128.load(from, 12 * STRIPE)
  let ad = v128.load(from, 13 * STRIPE)
  let ae = v128.load(from, 14 * STRIPE)
  let af = v128.load(from, 15 * STRIPE)

  const b0 = zipLow(a0, a8)
  const b1 = zipHigh(a0, a8)
  const b2 = zipLow(a1, a9)
  const b3 = zipHigh(a1, a9)
  const b4 = zipLow(a2, aa)
  const b5 = zipHigh(a2, aa)
  const b6 = zipLow(a3, ab)
  const b7 = zipHigh(a3, ab)
  const b8 = zipLow(a4, ac)
  const b9 = zipHigh(a4, ac)
  const ba = zipLow(a5, ad)
  const bb = zipHigh(a5, ad)
  const bc = zipLow(a6, ae)
  const bd = zipHigh(a6, ae)
  const be = zipLow(a7, af)
  const bf = zipHigh(a7, af)

  a0 = zipLow(b0, b8)
  a1 = zipHigh(b0, b8)
  a2 = zipLow(b1, b9)
  a3 = zipHigh(b1, b9)
  a4 = zipLow(b2, ba)
  a5 = zipHigh(b2, ba)
  a6 = zipLow(b3, bb)
  a7 = zipHigh(b3, bb)
  a8 = zipLow(b4, bc)
  a9 = zipHigh(b4, bc)
  aa = zipLow(b5, bd)
  ab = zipHigh(b5, bd)
  ac = zipLow(b6, be)
  ad = zipHigh(b6, be)
  ae = zipLow(b7, bf)
  af = zipHigh(b7, bf)

  zipTwice(to, a0, a4, a8, ac)
  zipTwice(to + 64, a1, a5, a9, ad)
  zipTwice(to + 128, a2, a6, aa, ae)
  zipTwice(to + 192, a3, a7, ab, af)
}

/** The last two rounds, which mix only every fourth vector. */
function zipTwice(to: usize, a0: v128, a4: v128, a8: v128, ac: v128): void {
  const even0 = zipLow(a0, a8)
  const even1 = zipHigh(a0, a8)
  const odd0 = zipLow(a4, ac)
  const odd1 = zipHigh(a4, ac)
  v128.store(to, zipLow(even0, odd0))
  v128.store(to, zipHigh(even0, odd0), 16)
  v128.store(to, zipLow(even1, odd1), 32)
  v128.store(to, zipHigh(even1, odd1), 48)
}
