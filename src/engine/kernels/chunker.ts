import { CHUNKER_DEGREE, degree, mod } from './polynomial.ts'

// Content-defined chunking: a chunk ends where a hash of its last 64 bytes has 20 zero bits, so that an
// insertion moves cuts only near itself. The hash is w₀·x^(8·63) + … + w₆₃ modulo the repository's polynomial P
// of degree 53 over GF(2); rolling, a byte that comes in multiplies by x^8, and the one that leaves is added away.
//
// The digest of 53 bits is held in two 32-bit halves, and what depends on one byte comes from tables.

/** No chunk is shorter, but for the last of a file. */
export const MIN_CHUNK = 512 * 1024
/** No chunk is longer. */
export const MAX_CHUNK = 8 * 1024 * 1024

const WINDOW = 64
/** 20 bits: cuts are 1 MiB apart on average, after the minimum. */
const CUT_MASK = (1 << 20) - 1

export interface Chunker {
  /**
   * The length of the chunk that starts at `start`, where `end` is the end of the bytes known so far and
   * `final` says that the file ends there. 0 asks for more bytes: fewer than `MAX_CHUNK` are there, hold no
   * cut, and are not final; it is also the answer where no bytes are left. Nothing is remembered between
   * calls, so the next one starts over: offer `MAX_CHUNK` bytes or the rest of the file whenever possible.
   */
  nextLength(bytes: Uint8Array, start: number, end: number, final: boolean): number
}

/** The polynomial must be of degree 53, and irreducible for cuts that other programs find, too. */
export function createChunker(polynomial: bigint): Chunker {
  if (degree(polynomial) !== CHUNKER_DEGREE) {
    throw new RangeError(`Cannot chunk with a polynomial of degree ${degree(polynomial)}: expected ${CHUNKER_DEGREE}`)
  }
  // By the top 8 bits of a digest that was just multiplied by x^8: clears them and adds their residue.
  const reduce = byteTable((byte) => {
    const high = byte << BigInt(CHUNKER_DEGREE)
    return high ^ mod(high, polynomial)
  })
  // By the byte that leaves: its share in the digest after the multiplication by x^8.
  const leave = byteTable((byte) => mod(byte << BigInt(8 * WINDOW), polynomial))
  const { high: reduceHigh, low: reduceLow } = reduce
  const { high: leaveHigh, low: leaveLow } = leave

  return {
    nextLength(bytes, start, end, final) {
      const limit = Math.min(end, start + MAX_CHUNK)
      const first = start + MIN_CHUNK
      if (limit >= first) {
        let high = 0
        let low = 0
        let at = first - WINDOW
        while (at < first) {
          const top = high >>> 13
          high = ((high << 8) | (low >>> 24)) ^ reduceHigh[top]!
          low = (low << 8) ^ bytes[at++]! ^ reduceLow[top]!
        }
        while ((low & CUT_MASK) !== 0 && at < limit) {
          const left = bytes[at - WINDOW]!
          const top = high >>> 13
          high = ((high << 8) | (low >>> 24)) ^ leaveHigh[left]! ^ reduceHigh[top]!
          low = (low << 8) ^ bytes[at++]! ^ leaveLow[left]! ^ reduceLow[top]!
        }
        if ((low & CUT_MASK) === 0 || at === start + MAX_CHUNK) return at - start
      }
      return final ? end - start : 0
    },
  }
}

/** The values of a function that is linear over GF(2), for every byte, as 32-bit halves. */
function byteTable(linear: (byte: bigint) => bigint): { high: Int32Array; low: Int32Array } {
  const high = new Int32Array(256)
  const low = new Int32Array(256)
  for (let bit = 1; bit < 256; bit <<= 1) {
    const value = linear(BigInt(bit))
    high[bit] = Number(BigInt.asIntN(32, value >> 32n))
    low[bit] = Number(BigInt.asIntN(32, value))
    for (let rest = 1; rest < bit; rest++) {
      high[bit + rest] = high[bit]! ^ high[rest]!
      low[bit + rest] = low[bit]! ^ low[rest]!
    }
  }
  return { high, low }
}
