// Poly1305 (RFC 8439 section 2.5) modulo 2^130 - 5, with numbers of five limbs of 26 bits. Products of two limbs,
// one of them times 5, are below 2^58: a sum of five fits 64 bits with room for lazy carries.
//
// The multiplier r is that of a repository and is prepared once: its powers up to the fourth. A long message is
// then read four blocks at a time. Lane j of a vector belongs to block j of each four; every lane goes on by r^4,
// and at the end lane j is multiplied by r^(4 - j), which makes the sum of the lanes what one by one gives.

const BLOCK: usize = 16
const LIMB: u64 = 0x3ffffff
/** Shorter messages are not worth setting up lanes for. */
const WORTH_LANES: usize = 128

/** r as limbs: u64[5]. */
const R: usize = memory.data(5 * 8, 16)
/** r^4 and 5 r^4, limb by limb, in all lanes: v128[5], v128[5]. */
const STEP: usize = memory.data(10 * 16, 16)
/** The same for r^4, r^3, r^2, r in lanes 0 to 3. */
const LAST: usize = memory.data(10 * 16, 16)
/** The number so far, as limbs: u64[5]. */
const H: usize = memory.data(5 * 8, 16)
/** A last block that is not whole. */
const PADDED: usize = memory.data(16, 16)
/** A computed authenticator that is to be compared. */
const COMPUTED: usize = memory.data(16, 16)

/** Prepares the multiplier from its 16 bytes, which need not be clamped. */
export function setMacKey(r: usize): void {
  const lowMask: u64 = (0x0ffffffc << 32) | 0x0fffffff
  const highMask: u64 = (0x0ffffffc << 32) | 0x0ffffffc
  writeLimbs(R, load<u64>(r) & lowMask, load<u64>(r, 8) & highMask)
  memory.copy(H, R, 40)
  for (let lane: i32 = 3; lane >= 0; lane--) {
    for (let limb: usize = 0; limb < 5; limb++) {
      const value = <u32>load<u64>(H + 8 * limb)
      store<u32>(LAST + 16 * limb + 4 * <usize>lane, value)
      store<u32>(LAST + 16 * (limb + 5) + 4 * <usize>lane, 5 * value)
    }
    if (lane > 0) multiply()
  }
  for (let limb: usize = 0; limb < 10; limb++) {
    v128.store(STEP + 16 * limb, v128.load32_splat(LAST + 16 * limb))
  }
}

/** Writes the authenticator of the message with the 16 bytes at `s` as the addend; `mac` may be `s`. */
export function poly1305(message: usize, length: usize, s: usize, mac: usize): void {
  let at = message
  let rest = length
  if (rest >= WORTH_LANES) {
    const size = rest & ~(4 * BLOCK - 1)
    absorbFours(at, at + size)
    at += size
    rest -= size
  } else {
    memory.fill(H, 0, 40)
  }
  const whole = rest & ~(BLOCK - 1)
  absorb(at, at + whole, 1 << 24)
  at += whole
  rest -= whole
  if (rest > 0) {
    memory.fill(PADDED, 0, BLOCK)
    memory.copy(PADDED, at, rest)
    store<u8>(PADDED + rest, 1)
    absorb(PADDED, PADDED + BLOCK, 0)
  }
  finish(s, mac)
}

/** Whether the 16 bytes at `mac` are the authenticator. How long it takes does not depend on where they differ. */
export function isAuthentic(message: usize, length: usize, s: usize, mac: usize): bool {
  poly1305(message, length, s, COMPUTED)
  return ((load<u64>(COMPUTED) ^ load<u64>(mac)) | (load<u64>(COMPUTED, 8) ^ load<u64>(mac, 8))) === 0
}

/** 128 bits as limbs. */
function writeLimbs(to: usize, low: u64, high: u64): void {
  store<u64>(to, low & LIMB)
  store<u64>(to, (low >> 26) & LIMB, 8)
  store<u64>(to, ((low >> 52) | (high << 12)) & LIMB, 16)
  store<u64>(to, (high >> 14) & LIMB, 24)
  store<u64>(to, high >> 40, 32)
}

/** Multiplies the number so far by r. */
function multiply(): void {
  step(load<u64>(H), load<u64>(H, 8), load<u64>(H, 16), load<u64>(H, 24), load<u64>(H, 32))
}

function step(h0: u64, h1: u64, h2: u64, h3: u64, h4: u64): void {
  const r0 = load<u64>(R)
  const r1 = load<u64>(R, 8)
  const r2 = load<u64>(R, 16)
  const r3 = load<u64>(R, 24)
  const r4 = load<u64>(R, 32)
  const d0 = h0 * r0 + 5 * (h1 * r4 + h2 * r3 + h3 * r2 + h4 * r1)
  const d1 = h0 * r1 + h1 * r0 + 5 * (h2 * r4 + h3 * r3 + h4 * r2)
  const d2 = h0 * r2 + h1 * r1 + h2 * r0 + 5 * (h3 * r4 + h4 * r3)
  const d3 = h0 * r3 + h1 * r2 + h2 * r1 + h3 * r0 + 5 * (h4 * r4)
  const d4 = h0 * r4 + h1 * r3 + h2 * r2 + h3 * r1 + h4 * r0
  carry(d0, d1, d2, d3, d4)
}

/** Writes the limbs of a sum of products: all below 2^26, but for the second, which may have a bit more. */
function carry(d0: u64, d1: u64, d2: u64, d3: u64, d4: u64): void {
  d1 += d0 >> 26
  d2 += d1 >> 26
  d3 += d2 >> 26
  d4 += d3 >> 26
  const first = (d0 & LIMB) + 5 * (d4 >> 26)
  store<u64>(H, first & LIMB)
  store<u64>(H, (d1 & LIMB) + (first >> 26), 8)
  store<u64>(H, d2 & LIMB, 16)
  store<u64>(H, d3 & LIMB, 24)
  store<u64>(H, d4 & LIMB, 32)
}

/** Takes up whole blocks one by one. `top` is the bit beyond each block, as it stands in the fifth limb. */
function absorb(from: usize, to: usize, top: u64): void {
  const r0 = load<u64>(R)
  const r1 = load<u64>(R, 8)
  const r2 = load<u64>(R, 16)
  const r3 = load<u64>(R, 24)
  const r4 = load<u64>(R, 32)
  const q1 = 5 * r1
  const q2 = 5 * r2
  const q3 = 5 * r3
  const q4 = 5 * r4
  let h0 = load<u64>(H)
  let h1 = load<u64>(H, 8)
  let h2 = load<u64>(H, 16)
  let h3 = load<u64>(H, 24)
  let h4 = load<u64>(H, 32)
  for (let at = from; at < to; at += BLOCK) {
    const low = load<u64>(at)
    const high = load<u64>(at, 8)
    h0 += low & LIMB
    h1 += (low >> 26) & LIMB
    h2 += ((low >> 52) | (high << 12)) & LIMB
    h3 += (high >> 14) & LIMB
    h4 += (high >> 40) | top
    let d0 = h0 * r0 + h1 * q4 + h2 * q3 + h3 * q2 + h4 * q1
    let d1 = h0 * r1 + h1 * r0 + h2 * q4 + h3 * q3 + h4 * q2
    let d2 = h0 * r2 + h1 * r1 + h2 * r0 + h3 * q4 + h4 * q3
    let d3 = h0 * r3 + h1 * r2 + h2 * r1 + h3 * r0 + h4 * q4
    let d4 = h0 * r4 + h1 * r3 + h2 * r2 + h3 * r1 + h4 * r0
    // Two chains of carries side by side, from limb 0 and from limb 3: half the waiting of one.
    d1 += d0 >> 26
    d4 += d3 >> 26
    d0 &= LIMB
    d3 &= LIMB
    d2 += d1 >> 26
    d0 += 5 * (d4 >> 26)
    h4 = d4 & LIMB
    d1 &= LIMB
    d3 += d2 >> 26
    h2 = d2 & LIMB
    h1 = d1 + (d0 >> 26)
    h0 = d0 & LIMB
    h4 += d3 >> 26
    h3 = d3 & LIMB
  }
  store<u64>(H, h0)
  store<u64>(H, h1, 8)
  store<u64>(H, h2, 16)
  store<u64>(H, h3, 24)
  store<u64>(H, h4, 32)
}

/** The products of the low, the high two lanes. */
function low(a: v128, b: v128): v128 {
  return i64x2.extmul_low_i32x4_u(a, b)
}
function high(a: v128, b: v128): v128 {
  return i64x2.extmul_high_i32x4_u(a, b)
}
function sum(a: v128, b: v128, c: v128, d: v128, e: v128): v128 {
  return i64x2.add(i64x2.add(i64x2.add(a, b), i64x2.add(c, d)), e)
}

/** Takes up a whole number of fours of blocks, at least one, as the start of a message. */
function absorbFours(from: usize, to: usize): void {
  const mask = i32x4.splat(<i32>LIMB)
  const wideMask = i64x2.splat(LIMB)
  const top = i32x4.splat(1 << 24)
  let h0 = i64x2.splat(0)
  let h1 = h0
  let h2 = h0
  let h3 = h0
  let h4 = h0
  // Nothing times r^4 is nothing: the first round only takes up its blocks.
  for (let at = from, powers = STEP; ; at += 4 * BLOCK) {
    if (at === to) powers = LAST
    if (at !== from) {
      const r0 = v128.load(powers)
      const r1 = v128.load(powers, 16)
      const r2 = v128.load(powers, 32)
      const r3 = v128.load(powers, 48)
      const r4 = v128.load(powers, 64)
      const q1 = v128.load(powers, 96)
      const q2 = v128.load(powers, 112)
      const q3 = v128.load(powers, 128)
      const q4 = v128.load(powers, 144)
      let a0 = sum(low(h0, r0), low(h1, q4), low(h2, q3), low(h3, q2), low(h4, q1))
      let a1 = sum(low(h0, r1), low(h1, r0), low(h2, q4), low(h3, q3), low(h4, q2))
      let a2 = sum(low(h0, r2), low(h1, r1), low(h2, r0), low(h3, q4), low(h4, q3))
      let a3 = sum(low(h0, r3), low(h1, r2), low(h2, r1), low(h3, r0), low(h4, q4))
      let a4 = sum(low(h0, r4), low(h1, r3), low(h2, r2), low(h3, r1), low(h4, r0))
      let b0 = sum(high(h0, r0), high(h1, q4), high(h2, q3), high(h3, q2), high(h4, q1))
      let b1 = sum(high(h0, r1), high(h1, r0), high(h2, q4), high(h3, q3), high(h4, q2))
      let b2 = sum(high(h0, r2), high(h1, r1), high(h2, r0), high(h3, q4), high(h4, q3))
      let b3 = sum(high(h0, r3), high(h1, r2), high(h2, r1), high(h3, r0), high(h4, q4))
      let b4 = sum(high(h0, r4), high(h1, r3), high(h2, r2), high(h3, r1), high(h4, r0))
      if (at === to) {
        // The lanes are done: their sum is the number so far. Four limbs of 2^59 at most still fit 64 bits.
        carry(lanes(a0, b0), lanes(a1, b1), lanes(a2, b2), lanes(a3, b3), lanes(a4, b4))
        return
      }
      a1 = i64x2.add(a1, i64x2.shr_u(a0, 26))
      b1 = i64x2.add(b1, i64x2.shr_u(b0, 26))
      a4 = i64x2.add(a4, i64x2.shr_u(a3, 26))
      b4 = i64x2.add(b4, i64x2.shr_u(b3, 26))
      a0 = v128.and(a0, wideMask)
      b0 = v128.and(b0, wideMask)
      a3 = v128.and(a3, wideMask)
      b3 = v128.and(b3, wideMask)
      a2 = i64x2.add(a2, i64x2.shr_u(a1, 26))
      b2 = i64x2.add(b2, i64x2.shr_u(b1, 26))
      const a5 = i64x2.shr_u(a4, 26)
      const b5 = i64x2.shr_u(b4, 26)
      a0 = i64x2.add(a0, i64x2.add(a5, i64x2.shl(a5, 2)))
      b0 = i64x2.add(b0, i64x2.add(b5, i64x2.shl(b5, 2)))
      a3 = i64x2.add(a3, i64x2.shr_u(a2, 26))
      b3 = i64x2.add(b3, i64x2.shr_u(b2, 26))
      // Nothing is above 32 bits any more where it counts: what the masks below keep is in the low halves.
      a1 = i64x2.add(v128.and(a1, wideMask), i64x2.shr_u(a0, 26))
      b1 = i64x2.add(v128.and(b1, wideMask), i64x2.shr_u(b0, 26))
      a4 = i64x2.add(v128.and(a4, wideMask), i64x2.shr_u(a3, 26))
      b4 = i64x2.add(v128.and(b4, wideMask), i64x2.shr_u(b3, 26))
      h0 = v128.and(narrow(a0, b0), mask)
      h1 = narrow(a1, b1)
      h2 = v128.and(narrow(a2, b2), mask)
      h3 = v128.and(narrow(a3, b3), mask)
      h4 = narrow(a4, b4)
    }

    const block0 = v128.load(at)
    const block1 = v128.load(at, 16)
    const block2 = v128.load(at, 32)
    const block3 = v128.load(at, 48)
    const low01 = i32x4.shuffle(block0, block1, 0, 4, 1, 5)
    const low23 = i32x4.shuffle(block2, block3, 0, 4, 1, 5)
    const high01 = i32x4.shuffle(block0, block1, 2, 6, 3, 7)
    const high23 = i32x4.shuffle(block2, block3, 2, 6, 3, 7)
    const w0 = i64x2.shuffle(low01, low23, 0, 2)
    const w1 = i64x2.shuffle(low01, low23, 1, 3)
    const w2 = i64x2.shuffle(high01, high23, 0, 2)
    const w3 = i64x2.shuffle(high01, high23, 1, 3)
    h0 = i32x4.add(h0, v128.and(w0, mask))
    h1 = i32x4.add(h1, v128.and(v128.or(i32x4.shr_u(w0, 26), i32x4.shl(w1, 6)), mask))
    h2 = i32x4.add(h2, v128.and(v128.or(i32x4.shr_u(w1, 20), i32x4.shl(w2, 12)), mask))
    h3 = i32x4.add(h3, v128.and(v128.or(i32x4.shr_u(w2, 14), i32x4.shl(w3, 18)), mask))
    h4 = i32x4.add(h4, v128.or(i32x4.shr_u(w3, 8), top))
  }
}

/** The low halves of four 64-bit lanes. */
function narrow(a: v128, b: v128): v128 {
  return i32x4.shuffle(a, b, 0, 2, 4, 6)
}

function lanes(a: v128, b: v128): u64 {
  const both = i64x2.add(a, b)
  return <u64>i64x2.extract_lane(both, 0) + <u64>i64x2.extract_lane(both, 1)
}

/** Reduces the number so far, adds s modulo 2^128 and writes the sum. */
function finish(s: usize, mac: usize): void {
  // Twice around, so that the second limb is below 2^26, too.
  carry(load<u64>(H), load<u64>(H, 8), load<u64>(H, 16), load<u64>(H, 24), load<u64>(H, 32))
  carry(load<u64>(H), load<u64>(H, 8), load<u64>(H, 16), load<u64>(H, 24), load<u64>(H, 32))
  let h0 = load<u64>(H)
  let h1 = load<u64>(H, 8)
  let h2 = load<u64>(H, 16)
  let h3 = load<u64>(H, 24)
  let h4 = load<u64>(H, 32)

  // The number less 2^130 - 5, which counts unless it is negative.
  let g0 = h0 + 5
  let g1 = h1 + (g0 >> 26)
  let g2 = h2 + (g1 >> 26)
  let g3 = h3 + (g2 >> 26)
  const g4 = h4 + (g3 >> 26)
  const reduced: u64 = 0 - (g4 >> 26)
  g0 &= LIMB
  g1 &= LIMB
  g2 &= LIMB
  g3 &= LIMB
  h0 ^= (h0 ^ g0) & reduced
  h1 ^= (h1 ^ g1) & reduced
  h2 ^= (h2 ^ g2) & reduced
  h3 ^= (h3 ^ g3) & reduced
  h4 ^= (h4 ^ g4) & reduced

  const lowHalf = h0 | (h1 << 26) | (h2 << 52)
  const highHalf = (h2 >> 12) | (h3 << 14) | (h4 << 40)
  const lowSum = lowHalf + load<u64>(s)
  const highSum = highHalf + load<u64>(s, 8) + <u64>(lowSum < lowHalf)
  store<u64>(mac, lowSum)
  store<u64>(mac, highSum, 8)
}
