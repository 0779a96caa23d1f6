// Poly1305 (RFC 8439 section 2.5): the message, in blocks of 16 bytes, is evaluated as a polynomial at r
// modulo 2^130 - 5, and s is added modulo 2^128.
//
// Numbers are kept as six limbs of 22 bits in doubles, signed after a carry. A limb of a product is then a
// sum of six terms and below 2^52, so doubles hold it exactly, and 36 multiplications do for a block where
// limbs of 13 bits, for products that fit 32-bit integers, need 100. 2^132 ≡ 20, hence the factor 20.

const LIMB = 0x3fffff
/** Adding and taking away 1.5 · 2^(52 + 22) rounds a double to a multiple of 2^22: what a limb carries over. */
const ROUND = 1.5 * 2 ** 74
const PER_LIMB = 2 ** -22
const PRIME = (1n << 130n) - 5n

/**
 * The 16-byte authenticator of the message under the one-time key `r || s` (32 bytes). `r` need not be
 * clamped. Not constant in time to the standards of native code; compare results with `timingSafeEqual`.
 */
export function poly1305(key: Uint8Array, message: Uint8Array): Buffer {
  if (key.length !== 32) throw new RangeError(`Cannot authenticate with a key of ${key.length} bytes: expected 32`)
  const k = new DataView(key.buffer, key.byteOffset, 32)
  const k0 = k.getUint32(0, true) & 0x0fffffff
  const k1 = k.getUint32(4, true) & 0x0ffffffc
  const k2 = k.getUint32(8, true) & 0x0ffffffc
  const k3 = k.getUint32(12, true) & 0x0ffffffc
  const r0 = k0 & LIMB
  const r1 = ((k0 >>> 22) | (k1 << 10)) & LIMB
  const r2 = ((k1 >>> 12) | (k2 << 20)) & LIMB
  const r3 = (k2 >>> 2) & LIMB
  const r4 = ((k2 >>> 24) | (k3 << 8)) & LIMB
  const r5 = k3 >>> 14
  const q1 = 20 * r1
  const q2 = 20 * r2
  const q3 = 20 * r3
  const q4 = 20 * r4
  const q5 = 20 * r5

  const rest = message.length % 16
  const whole = message.length - rest
  // Every whole block has a further bit 128, bit 18 of the sixth limb; in a shorter last one the bit
  // beyond its end stands in the padded block itself.
  const parts = [{ view: new DataView(message.buffer, message.byteOffset, whole), end: whole, top: 1 << 18 }]
  if (rest > 0) {
    const last = new Uint8Array(16)
    last.set(message.subarray(whole))
    last[rest] = 1
    parts.push({ view: new DataView(last.buffer), end: 16, top: 0 })
  }

  let h0 = 0
  let h1 = 0
  let h2 = 0
  let h3 = 0
  let h4 = 0
  let h5 = 0
  for (const { view, end, top } of parts) {
    for (let at = 0; at < end; at += 16) {
      const w0 = view.getInt32(at, true)
      const w1 = view.getInt32(at + 4, true)
      const w2 = view.getInt32(at + 8, true)
      const w3 = view.getInt32(at + 12, true)
      h0 += w0 & LIMB
      h1 += ((w0 >>> 22) | (w1 << 10)) & LIMB
      h2 += ((w1 >>> 12) | (w2 << 20)) & LIMB
      h3 += (w2 >>> 2) & LIMB
      h4 += ((w2 >>> 24) | (w3 << 8)) & LIMB
      h5 += (w3 >>> 14) | top

      let d0 = h0 * r0 + h1 * q5 + h2 * q4 + h3 * q3 + h4 * q2 + h5 * q1
      let d1 = h0 * r1 + h1 * r0 + h2 * q5 + h3 * q4 + h4 * q3 + h5 * q2
      let d2 = h0 * r2 + h1 * r1 + h2 * r0 + h3 * q5 + h4 * q4 + h5 * q3
      let d3 = h0 * r3 + h1 * r2 + h2 * r1 + h3 * r0 + h4 * q5 + h5 * q4
      let d4 = h0 * r4 + h1 * r3 + h2 * r2 + h3 * r1 + h4 * r0 + h5 * q5
      let d5 = h0 * r5 + h1 * r4 + h2 * r3 + h3 * r2 + h4 * r1 + h5 * r0

      // Two chains of carries side by side, from limb 0 and from limb 3: half the waiting of one.
      let c = d0 + ROUND - ROUND
      let e = d3 + ROUND - ROUND
      h0 = d0 - c
      h3 = d3 - e
      d1 += c * PER_LIMB
      d4 += e * PER_LIMB
      c = d1 + ROUND - ROUND
      e = d4 + ROUND - ROUND
      h1 = d1 - c
      h4 = d4 - e
      d2 += c * PER_LIMB
      d5 += e * PER_LIMB
      c = d2 + ROUND - ROUND
      e = d5 + ROUND - ROUND
      h2 = d2 - c
      h5 = d5 - e
      d3 = h3 + c * PER_LIMB
      d0 = h0 + e * PER_LIMB * 20
      c = d0 + ROUND - ROUND
      e = d3 + ROUND - ROUND
      h0 = d0 - c
      h3 = d3 - e
      h1 += c * PER_LIMB
      h4 += e * PER_LIMB
    }
  }

  let sum = 0n
  for (const limb of [h5, h4, h3, h2, h1, h0]) sum = (sum << 22n) + BigInt(limb)
  sum = ((sum % PRIME) + PRIME) % PRIME
  sum += k.getBigUint64(16, true) + (k.getBigUint64(24, true) << 64n)
  const mac = Buffer.allocUnsafe(16)
  mac.writeBigUInt64LE(BigInt.asUintN(64, sum), 0)
  mac.writeBigUInt64LE(BigInt.asUintN(64, sum >> 64n), 8)
  return mac
}
