import { createCipheriv, hash } from 'node:crypto'
import { EngineError } from '../error.ts'
import { MIN_CHUNK } from './chunker.ts'
import { createKernels, type Implementation, type KernelsOptions } from './kernels.ts'
import { opensslAes } from './openssl-aes.ts'
import { createBatchOpener, createSealer, OPENER_MEMORY, SEALER_MEMORY } from './seals.ts'
import { createZstdContext, type ZstdContext } from './zstd-context.ts'

// Tested at every start, against vectors that other programs agree with: a processor, a memory or a runtime that
// computes something else must not get to write a repository, where it would show when it is too late.

export interface SelfTestReport {
  readonly kernels: Implementation
  readonly zstd: ZstdContext['kind']
  readonly milliseconds: number
}

/** The first chunk of the vector of the format reference, section 9: the key stream of AES-256-CTR from zeros. */
const POLYNOMIAL = 0x25b468838dcb75n
const FIRST_CHUNK = 547920
const CHUNKER_BYTES = 576 * 1024
const KEY_STREAM_HASH = '982a9dedc5b18d95c7f28b6fea7b947b912006251361cc2235274cccd387b443'

/** Of section 2.3: what this is sealed to has the hash below. */
const CONFIG = `{"version":2,"id":"${'0'.repeat(64)}","chunker_polynomial":"25b468838dcb75"}`
const CONFIG_HASH = '04a0bb7ba053d0fbc1b9a809c02b03c206165e826afea6cd1fa7db8d433f04c0'
const CONFIG_KEYS = { encrypt: count(0x80, 32), macK: count(0xa0, 16), macR: count(0xb0, 16) }
const CONFIG_IV = count(0xd0, 16)

/** 1,000 times "hello ", by libzstd 1.5.7. */
const FRAME = Buffer.from('28b52ffd6070167500003068656c6c6f2001006797be1401', 'hex')

/** Key, message and authenticator of RFC 8439, section 2.5.2 and appendix A.3: 7, 8, 10, 11. */
const RFC_VECTORS: readonly (readonly [key: string, message: string, mac: string])[] = [
  [
    '85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b',
    Buffer.from('Cryptographic Forum Research Group').toString('hex'),
    'a8061dc1305136c6c22b8baf0c0127a9',
  ],
  [`02${'00'.repeat(31)}`, 'ff'.repeat(16), `03${'00'.repeat(15)}`],
  [`02${'00'.repeat(15)}${'ff'.repeat(16)}`, `02${'00'.repeat(15)}`, `03${'00'.repeat(15)}`],
  [`01${'00'.repeat(31)}`, `${'ff'.repeat(16)}fb${'fe'.repeat(15)}${'01'.repeat(16)}`, '00'.repeat(16)],
  [`02${'00'.repeat(31)}`, `fd${'ff'.repeat(15)}`, `fa${'ff'.repeat(15)}`],
]

/** An index file of one pack with a tree and a file's blob, and the columns that it is scanned to. */
const INDEX_ID = '0123456789abcdef'.repeat(4)
const INDEX_FILE = `{"packs":[{"id":"${INDEX_ID}","blobs":[\
{"id":"${INDEX_ID}","type":"tree","offset":0,"length":4294967295,"uncompressed_length":5},\
{"id":"${INDEX_ID}","type":"data","offset":67305985,"length":32}]}]}
`
const INDEX_COLUMNS = Buffer.from(`${INDEX_ID.repeat(2)}0000000001020304ffffffff2000000005000000000000000300`, 'hex')

const SCRATCH = 16 * 1024

/**
 * Throws `SELF_CHECK` with the name of the kernel that failed. Takes a few milliseconds, beside what loading the native module takes
 * that the kernels are called through.
 */
export function selfTest(options: Omit<KernelsOptions, 'memoryBytes'> = {}): SelfTestReport {
  opensslAes()
  const start = performance.now()
  const kernels = createKernels({
    ...options,
    memoryBytes: CHUNKER_BYTES + SCRATCH + SEALER_MEMORY + OPENER_MEMORY,
  })
  const { memory } = kernels
  const scratch = kernels.region('scratch', SCRATCH).offset
  const input = kernels.region('input', CHUNKER_BYTES)
  const test = (name: string, passes: () => boolean): void => {
    let cause: unknown
    try {
      if (passes()) return
    } catch (error) {
      cause = error
    }
    throw new EngineError('SELF_CHECK', `Cannot rely on ${name} (${kernels.implementation}): its results are wrong`, {
      facts: { kernel: name, implementation: kernels.implementation },
      hint: 'The memory or processor of this machine is likely faulty, or the installation damaged: test before the next backup',
      cause,
    })
  }
  const write = (at: number, bytes: Uint8Array): void => memory.set(bytes, at)
  const holds = (at: number, expected: Buffer): boolean => expected.equals(memory.subarray(at, at + expected.length))

  const keyStream = createCipheriv('aes-256-ctr', Buffer.alloc(32), Buffer.alloc(16)).update(input.bytes)
  write(input.offset, keyStream)
  test('SHA-256', () => hash('sha256', keyStream) === KEY_STREAM_HASH)
  test('chunker', () => {
    kernels.setPolynomial(POLYNOMIAL)
    const cut = input.offset + FIRST_CHUNK
    const shorter = cut - MIN_CHUNK - 2000
    return (
      kernels.chunkLength(input.offset, input.end, false) === FIRST_CHUNK &&
      kernels.chunkLength(input.offset, cut, false) === FIRST_CHUNK &&
      kernels.chunkLength(input.offset, cut - 1, false) === 0 &&
      kernels.chunkLength(input.offset, cut - 1, true) === FIRST_CHUNK - 1 &&
      // So near to the end that it is found one by one.
      kernels.chunkLength(shorter, cut + 100, false) === cut - shorter
    )
  })

  test('Poly1305', () => {
    const mac = scratch
    const s = scratch + 16
    const isRight = (key: Buffer, at: number, length: number, expected: string): boolean => {
      const wanted = Buffer.from(expected, 'hex')
      kernels.setMacKey(key.subarray(0, 16))
      write(s, key.subarray(16))
      kernels.poly1305(at, length, s, mac)
      if (!holds(mac, wanted) || !kernels.isAuthentic(at, length, s, mac)) return false
      memory[mac + 9]! ^= 0x10
      return !kernels.isAuthentic(at, length, s, mac)
    }
    const ones = scratch + 32
    memory.fill(0xff, ones, ones + 1007)
    return (
      isRight(keyStream.subarray(0, 32), input.offset + 1000, 1000, 'a76415e0c06da27be63ee84886236889') &&
      isRight(Buffer.alloc(32, 0xff), ones, 1007, 'e8942e7f18704b8ad892273f874ce45d') &&
      RFC_VECTORS.every(([key, message, expected]) => {
        const bytes = Buffer.from(message, 'hex')
        write(scratch + 2048, bytes)
        return isRight(Buffer.from(key, 'hex'), scratch + 2048, bytes.length, expected)
      })
    )
  })

  test('counter blocks', () => {
    const first = Buffer.alloc(16, 0xff)
    first[15] = 0xfe
    write(scratch, first)
    kernels.counterBlocks(scratch, 4, scratch + 16)
    const expected = Buffer.alloc(64)
    expected.fill(0xff, 0, 32)
    expected[15] = 0xfe
    expected[63] = 1
    return holds(scratch + 16, expected)
  })
  test('exclusive or', () => {
    write(scratch, keyStream.subarray(0, 100))
    kernels.xor(scratch, input.offset + 1, 99)
    const expected = Buffer.from(keyStream.subarray(0, 100))
    for (let i = 0; i < 99; i++) expected[i]! ^= keyStream[i + 1]!
    return holds(scratch, expected)
  })
  test('zero runs', () => {
    memory.fill(0, scratch, scratch + 400)
    memory[scratch + 5] = 1
    memory[scratch + 333] = 0x80
    return (
      kernels.zeroEnd(scratch + 6, scratch + 400) === scratch + 333 &&
      kernels.zeroEnd(scratch + 6, scratch + 300) === scratch + 300 &&
      kernels.zeroBlock(scratch, scratch + 400, 100) === scratch + 100 &&
      kernels.zeroBlock(scratch + 300, scratch + 400, 200) === scratch + 400 &&
      kernels.zeroBlock(scratch + 334, scratch + 400, 200) === scratch + 334
    )
  })

  // Plain, it is left to the parsers.
  test('index scan', () => {
    const json = Buffer.from(INDEX_FILE)
    const rooms = { to: scratch + 1024, blobs: 2, packsTo: scratch + 2048, packs: 1 }
    const count = (): number => kernels.scanIndex(scratch, scratch + json.length, true, rooms)
    write(scratch, json)
    if (kernels.implementation === 'plain') return count() === -1
    if (count() !== 2 || !holds(rooms.to, INDEX_COLUMNS)) return false
    return json.every((byte, i) => {
      memory[scratch + i] = 0x67 // neither a digit nor in its place
      const isRefused = byte === 0x67 || count() === -1
      memory[scratch + i] = byte
      return isRefused
    })
  })

  test('sealing', () => {
    const sealer = createSealer(kernels, CONFIG_KEYS, { firstIv: CONFIG_IV })
    const places = []
    for (let at = scratch; places.length < 2; at = places.at(-1)!.end) {
      memory.write(CONFIG, at + 16)
      places.push({ offset: at, length: CONFIG.length + 32, end: sealer.seal(at, CONFIG.length) })
    }
    const [first, second] = places as [(typeof places)[0], (typeof places)[0]]
    if (hash('sha256', memory.subarray(first.offset, first.end)) !== CONFIG_HASH) return false
    memory[first.end - 20]! ^= 1
    const failed = createBatchOpener(kernels, CONFIG_KEYS).open(places)
    return failed.length === 1 && failed[0] === 0 && holds(second.offset + 16, Buffer.from(CONFIG))
  })

  const zstd = createZstdContext()
  test('zstd', () => {
    const content = Buffer.alloc(6000)
    return zstd.decompress(FRAME, content) && content.equals(Buffer.alloc(6000, 'hello '))
  })
  zstd.close()
  return { kernels: kernels.implementation, zstd: zstd.kind, milliseconds: performance.now() - start }
}

function count(first: number, length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => first + i))
}
