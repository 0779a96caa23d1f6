import type { FuzzRandom } from './fuzz-random.ts'

/** Longer inputs show nothing that these do not. */
export const MAX_INPUT = 256 * 1024

const BYTES = [0, 1, 2, 3, 0x0a, 0x20, 0x22, 0x28, 0x5c, 0x7f, 0x80, 0xc0, 0xed, 0xfe, 0xff]
const NUMBERS = [
  0, 1, 2, 15, 16, 31, 32, 33, 63, 64, 127, 128, 255, 256, 511, 512, 4095, 4096, 65535, 65536, 0xffffff, 0x1000000,
  0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
]

type Mutation = (bytes: Buffer, random: FuzzRandom, others: readonly Buffer[]) => Buffer

/** Where and how long: from anywhere, mostly short. */
function span(bytes: Buffer, random: FuzzRandom): readonly [start: number, end: number] {
  const start = random.below(bytes.length + 1)
  return [start, Math.min(bytes.length, start + 1 + random.small(bytes.length))]
}

function replace(bytes: Buffer, start: number, end: number, by: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, start), by, bytes.subarray(end)])
}

function changed(bytes: Buffer, random: FuzzRandom, change: (copy: Buffer, at: number) => void): Buffer {
  if (bytes.length === 0) return Buffer.of(random.pick(BYTES))
  const copy = Buffer.from(bytes)
  change(copy, random.below(copy.length))
  return copy
}

/** A number that matters, or one near to what stands there, in the size and order of some field. */
function writeNumber(copy: Buffer, at: number, random: FuzzRandom): void {
  const size = random.pick([2, 3, 4, 8])
  if (at + size > copy.length) return
  const near = size <= 4 ? copy.readUIntLE(at, size) + random.below(33) - 16 : random.word()
  const value = (random.oneIn(2) ? near : random.pick(NUMBERS)) >>> 0
  if (size === 8) {
    copy.writeBigUInt64LE((BigInt(value) << BigInt(random.pick([0, 21, 31, 32]))) & 0xffff_ffff_ffff_ffffn, at)
    return
  }
  const bits = size === 4 ? value : value & (2 ** (8 * size) - 1)
  if (random.oneIn(2)) copy.writeUIntLE(bits, at, size)
  else copy.writeUIntBE(bits, at, size)
}

const MUTATIONS: readonly Mutation[] = [
  (bytes, random) =>
    changed(bytes, random, (copy, at) => {
      copy[at]! ^= 1 << random.below(8)
    }),
  (bytes, random) =>
    changed(bytes, random, (copy, at) => {
      copy[at] = random.pick(BYTES)
    }),
  (bytes, random) =>
    changed(bytes, random, (copy, at) => {
      copy[at]! += random.below(33) - 16
    }),
  (bytes, random) => changed(bytes, random, (copy, at) => writeNumber(copy, at, random)),
  (bytes, random) => changed(bytes, random, (copy, at) => writeNumber(copy, at, random)),
  (bytes, random) => bytes.subarray(0, random.below(bytes.length + 1)),
  (bytes, random) => bytes.subarray(0, bytes.length - random.small(bytes.length + 1)),
  (bytes, random) => replace(bytes, ...span(bytes, random), Buffer.alloc(0)),
  (bytes, random) => {
    const [start, end] = span(bytes, random)
    return replace(bytes, end, end, bytes.subarray(start, end))
  },
  (bytes, random) => {
    const at = random.below(bytes.length + 1)
    return replace(bytes, at, at, Buffer.alloc(1 + random.small(64), random.pick(BYTES)))
  },
  (bytes, random, others) => {
    const other = random.pick(others)
    return replace(bytes, ...span(bytes, random), other.subarray(...span(other, random)))
  },
  (bytes, random, others) => {
    const other = random.pick(others)
    return Buffer.concat([
      bytes.subarray(0, random.below(bytes.length + 1)),
      other.subarray(random.below(other.length + 1)),
    ])
  },
  (bytes, random) => {
    const [start, end] = span(bytes, random)
    const piece = bytes.subarray(start, end)
    const limit = random.oneIn(40) ? MAX_INPUT - bytes.length : 2000
    const times = 1 + random.below(Math.max(1, Math.min(50_000, limit / Math.max(1, piece.length))))
    return replace(bytes, start, end, Buffer.alloc(piece.length * times, piece.length > 0 ? piece : 0))
  },
]

export function mutateBytes(bytes: Buffer, random: FuzzRandom, others: readonly Buffer[]): Buffer {
  let mutated = bytes
  for (let left = 1 + random.small(6); left > 0; left--) {
    mutated = random.pick(MUTATIONS)(mutated, random, others)
    if (mutated.length > MAX_INPUT) mutated = mutated.subarray(0, MAX_INPUT)
  }
  return mutated
}
