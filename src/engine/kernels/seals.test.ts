import assert from 'node:assert/strict'
import { createCipheriv, hash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { generateMasterKey, seal, unseal } from '../format/master-key.ts'
import { createKernels, type Implementation, type Kernels } from './kernels.ts'
import { opensslAes } from './openssl-aes.ts'
import { poly1305 } from './poly1305.ts'
import {
  createBatchOpener,
  createSealer,
  OPENER_MEMORY,
  SEALER_MEMORY,
  type SealedPlace,
  type Sealer,
} from './seals.ts'

const MIB = 1024 * 1024
const OVERHEAD = 32

interface Form {
  readonly name: string
  readonly implementation: Implementation
  readonly publicOnly: boolean
}
const FORMS: readonly Form[] = [
  { name: 'by OpenSSL directly', implementation: 'relaxed-simd', publicOnly: false },
  { name: 'by documented ciphers', implementation: 'relaxed-simd', publicOnly: true },
  { name: 'by documented ciphers and plain loops', implementation: 'plain', publicOnly: true },
]
const [BEST] = FORMS as [Form]

function sequence(first: number, length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => first + i))
}

function sealingRoom({ implementation, publicOnly }: Form = BEST, firstIv?: Buffer) {
  const key = generateMasterKey()
  const memoryBytes = 2 * SEALER_MEMORY + OPENER_MEMORY + 8 * MIB
  const kernels = createKernels({ memoryBytes, implementation })
  const pack = kernels.region('pack', 8 * MIB)
  const sealer = createSealer(kernels, key, { firstIv, publicOnly })
  const opener = createBatchOpener(kernels, key, { publicOnly })
  return { key, kernels, pack, sealer, opener, seal: sealAll(kernels, sealer) }
}

/** Seals messages one after the other from `at`. */
function sealAll({ memory }: Kernels, sealer: Sealer) {
  return (messages: readonly Uint8Array[], at: number): SealedPlace[] => {
    let end = at
    return messages.map((message) => {
      const offset = end
      memory.set(message, offset + 16)
      end = sealer.seal(offset, message.length)
      return { offset, length: end - offset }
    })
  }
}

test('this runtime exports what is called of OpenSSL', () => {
  assert.notEqual(opensslAes(), undefined)
})

for (const { name, publicOnly } of FORMS) {
  test(`${name}: the vector that restic opened comes out of a stream, too`, () => {
    const kernels = createKernels({ memoryBytes: MIB })
    const keys = { encrypt: sequence(0x80, 32), macK: sequence(0xa0, 16), macR: sequence(0xb0, 16) }
    const config = `{"version":2,"id":"${'0'.repeat(64)}","chunker_polynomial":"25b468838dcb75"}`
    const pack = kernels.region('pack', 1000)
    const sealer = createSealer(kernels, keys, { firstIv: sequence(0xd0, 16), publicOnly })
    kernels.memory.write(config, pack.offset + 16)
    assert.equal(sealer.seal(pack.offset, config.length), pack.offset + 155)
    assert.equal(
      hash('sha256', pack.bytes.subarray(0, 155)),
      '04a0bb7ba053d0fbc1b9a809c02b03c206165e826afea6cd1fa7db8d433f04c0',
    )
  })
}

for (const form of FORMS) {
  test(`${form.name}: what a stream seals, the master key opens, whatever the lengths`, () => {
    const lengths = fc.array(
      fc.oneof(fc.nat(70), fc.nat(5000), fc.constantFrom(0, 15, 16, 17, 40_000, 65_535, 65_536, 65_537)),
      { maxLength: 40 },
    )
    fc.assert(
      fc.property(lengths, (lengths) => {
        const { key, kernels, pack, seal } = sealingRoom(form)
        const messages = lengths.map((length) => randomBytes(length))
        const places = seal(messages, pack.offset + 3)
        for (const [i, { offset, length }] of places.entries()) {
          assert.deepEqual(unseal(key, kernels.memory.subarray(offset, offset + length)), messages[i])
        }
      }),
      { numRuns: 25 },
    )
  })

  test(`${form.name}: what the master key sealed, a batch opens in place`, () => {
    const { key, kernels, pack, opener } = sealingRoom(form)
    // Around the length from which on messages have their own cipher, and more of the others than fit one batch.
    const lengths = [0, 1, 15, 16, 17, 16383, 16384, 16385, 100_000, ...Array.from({ length: 60 }, (_, i) => 200 * i)]
    const messages = lengths.map((length) => randomBytes(length))
    let at = pack.offset + 1
    const places = messages.map((message) => {
      const sealed = seal(key, message)
      sealed.copy(kernels.memory, at)
      at += sealed.length
      return { offset: at - sealed.length, length: sealed.length }
    })
    assert.deepEqual(opener.open(places), [])
    for (const [i, { offset, length }] of places.entries()) {
      const plaintext = kernels.memory.subarray(offset + 16, offset + length - 16)
      assert.ok(messages[i]!.equals(plaintext), `message ${i} of ${lengths[i]} bytes`)
    }
  })

  test(`${form.name}: thousands of tiny messages go both ways`, () => {
    const { kernels, pack, seal, opener } = sealingRoom(form)
    const messages = Array.from({ length: 9000 }, (_, i) => Buffer.from(`message ${i}`))
    const places = seal(messages, pack.offset)
    assert.deepEqual(opener.open(places), [])
    for (const [i, { offset, length }] of places.entries()) {
      assert.equal(kernels.memory.toString('latin1', offset + 16, offset + length - 16), `message ${i}`)
    }
  })

  test(`${form.name}: a message that was changed, is too short or has an IV of zeros is named and left alone; the others open`, () => {
    const { kernels, pack, seal, opener } = sealingRoom(form)
    const messages = [100, 20_000, 300, 60, 70, 200, 0].map((length) => randomBytes(length))
    const places = seal(messages, pack.offset)
    const { memory } = kernels
    memory[places[0]!.offset + 5]! ^= 1 // IV
    memory[places[1]!.offset + 10_000]! ^= 0x80 // ciphertext
    memory[places[2]!.offset + places[2]!.length - 1]! ^= 2 // authenticator
    memory.fill(0, places[3]!.offset, places[3]!.offset + 16)
    places[4] = { offset: places[4]!.offset, length: 31 }
    const before = Buffer.from(pack.bytes)
    assert.deepEqual(opener.open(places), [0, 1, 2, 3, 4])
    const { offset, length } = places[5]!
    assert.deepEqual(Buffer.from(memory.subarray(offset + 16, offset + length - 16)), messages[5])
    before.copy(memory, offset, offset - pack.offset, offset - pack.offset + length)
    assert.ok(pack.bytes.equals(before))
  })

  test(`${form.name}: an IV of zeros is refused even when its authenticator matches`, () => {
    const { key, kernels, pack, opener } = sealingRoom(form)
    const halfOfKey = createCipheriv('aes-128-ecb', key.macK, null).setAutoPadding(false).update(Buffer.alloc(16))
    poly1305(Buffer.concat([key.macR, halfOfKey]), Buffer.alloc(10)).copy(kernels.memory, pack.offset + 26)
    assert.deepEqual(opener.open([{ offset: pack.offset, length: 42 }]), [0])
  })

  test(`${form.name}: a place outside of the regions is an error before anything is opened`, () => {
    const { kernels, pack, seal, opener } = sealingRoom(form)
    const places = seal([randomBytes(100)], pack.offset)
    const before = Buffer.from(pack.bytes)
    for (const offset of [0, -5, kernels.memory.length, Number.NaN]) {
      assert.throws(() => opener.open([...places, { offset, length: 100 }]), RangeError)
    }
    assert.ok(pack.bytes.equals(before))
  })

  test(`${form.name}: no IV comes twice, no counter block is used twice, and empty messages count`, () => {
    const { pack, kernels, seal } = sealingRoom(form)
    const messages = Array.from({ length: 400 }, (_, i) => Buffer.alloc([0, 1, 16, 17, 1000][i % 5]!))
    const places = seal(messages, pack.offset)
    const used = new Set<bigint>()
    for (const { offset, length } of places) {
      const first = BigInt(`0x${kernels.memory.toString('hex', offset, offset + 16)}`)
      assert.ok(first > 0n && first < 1n << 127n)
      // The IV itself, and the blocks that follow it.
      for (let block = 0n; block === 0n || block < Math.ceil((length - OVERHEAD) / 16); block++) {
        assert.ok(!used.has(first + block))
        used.add(first + block)
      }
    }
  })

  test(`${form.name}: counters carry over all words`, () => {
    const firstIv = Buffer.from('00000000ffffffffffffffffffffff00', 'hex')
    const { key, kernels, pack, seal, opener } = sealingRoom(form, firstIv)
    const messages = Array.from({ length: 30 }, () => randomBytes(400))
    const places = seal(messages, pack.offset)
    for (const [i, { offset, length }] of places.entries()) {
      assert.deepEqual(unseal(key, kernels.memory.subarray(offset, offset + length)), messages[i])
    }
    assert.deepEqual(opener.open(places), [])
    const { offset, length } = places.at(-1)!
    assert.equal(kernels.memory.readUInt32BE(offset), 1)
    assert.deepEqual(Buffer.from(kernels.memory.subarray(offset + 16, offset + length - 16)), messages.at(-1))
  })
}

test('a sealer that failed half-way seals nothing more: its counter and its cipher may have parted', () => {
  const { key, kernels, pack } = sealingRoom()
  let fails = true
  const faulty = {
    ...kernels,
    region: (name: string, length: number) => kernels.region(name, length),
    poly1305(...args: Parameters<typeof kernels.poly1305>) {
      if (fails) throw new Error('a fault')
      kernels.poly1305(...args)
    },
  }
  const sealer = createSealer(faulty, key)
  assert.throws(() => sealer.seal(pack.offset, 5), /a fault/)
  fails = false
  assert.throws(() => sealer.seal(pack.offset, 5), /failed half-way/)
})

test('two writers start at different counters', () => {
  const ivs = new Set<string>()
  for (let i = 0; i < 20; i++) {
    const { kernels, pack, seal } = sealingRoom()
    const [place] = seal([Buffer.alloc(1)], pack.offset)
    ivs.add(kernels.memory.toString('hex', place!.offset, place!.offset + 16))
  }
  assert.equal(ivs.size, 20)
})

test('a place outside of the memory is refused, and nothing is sealed', () => {
  const { kernels, pack, sealer } = sealingRoom()
  for (const offset of [-1, 0, kernels.memory.length - 131, Number.NaN]) {
    assert.throws(() => sealer.seal(offset, 100), RangeError)
  }
  assert.throws(() => sealer.seal(pack.offset, -1), RangeError)
  assert.ok(pack.bytes.subarray(0, 200).every((byte) => byte === 0))
  assert.equal(sealer.seal(pack.offset, 100), pack.offset + 132)
})
