/**
 * What the kernels do per second of processor time of one thread, beside their twins and what Node has built in. The
 * clock of the wall is not looked at: other programs do not change the figures much.
 *
 *   node bench/kernels.ts                  everything
 *   node bench/kernels.ts chunker zstd     only sections whose title contains one of the words
 */
import { execFileSync } from 'node:child_process'
import { createCipheriv, createSecretKey, hash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { generateMasterKey, seal, unseal } from '../src/engine/format/master-key.ts'
import { createBlobTable } from '../src/engine/kernels/blob-table.ts'
import { createChunker } from '../src/engine/kernels/chunker.ts'
import { createKernels, type Implementation } from '../src/engine/kernels/kernels.ts'
import { poly1305 } from '../src/engine/kernels/poly1305.ts'
import { createBatchOpener, createSealer, OPENER_MEMORY, SEALER_MEMORY } from '../src/engine/kernels/seals.ts'
import { selfTest } from '../src/engine/kernels/self-test.ts'
import { compressBound, createZstdContext, FAST } from '../src/engine/kernels/zstd-context.ts'

const MIB = 1024 * 1024
const POLYNOMIAL = 0x25b468838dcb75n
/** Seconds of processor time for a round of one figure, about. */
const ROUND = 0.1
const ROUNDS = 5

const words = process.argv.slice(2)

interface Contender {
  readonly name: string
  /** Does the work once. */
  readonly run: () => void
}

/** Prints the median of some rounds; contenders take turns, so that a machine that slows down slows all of them. */
function compare(title: string, unit: 'MB/s' | 'us', amount: number, contenders: readonly Contender[]): void {
  const rates = contenders.map(({ run }) => {
    // Doubled until the clock, which is coarse, has something to show; by then the compilers have seen it, too.
    let times = 1
    let seconds = secondsOf(run, 1)
    while (seconds < ROUND / 2) {
      times *= 2
      seconds = secondsOf(run, times)
    }
    return { times, found: [] as number[] }
  })
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, { run }] of contenders.entries()) {
      const { times, found } = rates[i]!
      const each = secondsOf(run, times) / times
      found.push(unit === 'us' ? (each * 1e6) / amount : amount / each / 1e6)
    }
  }
  console.log(`\n${title}`)
  const medians = rates.map(({ found }) => found.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)]!)
  for (const [i, { name }] of contenders.entries()) {
    const median = medians[i]!
    const ratio = unit === 'us' ? medians[0]! / median : median / medians[0]!
    console.log(
      `  ${name.padEnd(44)} ${median.toFixed(unit === 'us' ? 2 : 0).padStart(7)} ${unit}  ${ratio.toFixed(2)}x`,
    )
  }
}

function secondsOf(run: () => void, times: number): number {
  const start = process.threadCpuUsage()
  for (let i = 0; i < times; i++) run()
  const { user, system } = process.threadCpuUsage(start)
  return (user + system) / 1e6
}

/** Microseconds of processor time, the median of some processes that have done nothing else yet but to load the native module. */
function coldSelfTest(): number {
  const program = `
    import { processLibrary } from '${new URL('../src/engine/process-library.ts', import.meta.url)}'
    import { selfTest } from '${new URL('../src/engine/kernels/self-test.ts', import.meta.url)}'
    processLibrary()
    const start = process.threadCpuUsage()
    selfTest()
    const { user, system } = process.threadCpuUsage(start)
    console.log(user + system)`
  const found = Array.from({ length: 2 * ROUNDS + 1 }, () =>
    Number(execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' })),
  )
  return found.sort((a, b) => a - b)[ROUNDS]!
}

function section(title: string, measure: () => void): void {
  if (words.length === 0 || words.some((word) => title.includes(word))) measure()
}

/** Pages as a database of accounts has them: an array of offsets, text that repeats itself, hashes that do not. */
function databaseLike(size: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let page = 0, id = 0; page + 4096 <= size; page += 4096) {
    const rows = 30 // so that no 64 bytes are zeros, where every chunk would end
    for (let row = 0; row < rows; row++) bytes.writeUInt16BE(4096 - 133 * (row + 1), page + 8 + 2 * row)
    for (let row = 1; row <= rows; row++, id++) {
      const text = `user${id}@example.org|active|2026-0${id % 9}-1${id % 10}|${hash('sha256', String(id), 'base64')}`
      bytes.write(text.padEnd(133, `|${id}`), page + 4096 - 133 * row, 133)
    }
  }
  return bytes
}

const VARIANTS: readonly Implementation[] = ['relaxed-simd', 'simd']

section('chunker', () => {
  for (const [name, bytes] of [
    ['random', randomBytes(32 * MIB)],
    ['database', databaseLike(32 * MIB)],
  ] as const) {
    const cutAll = (nextLength: (start: number, end: number) => number, start: number) => () => {
      const end = start + bytes.length
      for (let at = start; at < end; at += nextLength(at, end));
    }
    const twin = createChunker(POLYNOMIAL)
    compare(`chunker, ${name}, bytes of file (MB/s)`, 'MB/s', bytes.length, [
      { name: 'TypeScript twin', run: cutAll((start, end) => twin.nextLength(bytes, start, end, true), 0) },
      ...VARIANTS.map((implementation) => {
        const kernels = createKernels({ memoryBytes: bytes.length, implementation })
        const input = kernels.region('input', bytes.length)
        input.bytes.set(bytes)
        kernels.setPolynomial(POLYNOMIAL)
        return {
          name: implementation,
          run: cutAll((start, end) => kernels.chunkLength(start, end, true), input.offset),
        }
      }),
    ])
  }
})

section('poly1305', () => {
  for (const size of [100, 1024, 16 * 1024, MIB]) {
    const key = randomBytes(32)
    const message = randomBytes(size)
    compare(`poly1305, ${size} bytes`, 'MB/s', size, [
      { name: 'TypeScript twin', run: () => poly1305(key, message) },
      ...VARIANTS.map((implementation) => {
        const kernels = createKernels({ memoryBytes: 2 * MIB, implementation })
        const at = kernels.region('all', 2 * MIB).offset
        kernels.memory.set(message, at)
        kernels.setMacKey(key.subarray(0, 16))
        return { name: implementation, run: () => kernels.poly1305(at, size, at + MIB, at + MIB + 16) }
      }),
    ])
  }
})

section('seal', () => {
  for (const size of [200, 1500, 16 * 1024, MIB]) {
    const count = Math.ceil(MIB / size)
    const key = generateMasterKey()
    const messages = Array.from({ length: count }, () => randomBytes(size))
    const room = 3 * MIB
    const kernels = createKernels({ memoryBytes: 2 * SEALER_MEMORY + 2 * OPENER_MEMORY + 2 * room + 65536 })
    const pack = kernels.region('pack', room)
    const source = kernels.region('source', room)
    const forms = [
      { name: 'OpenSSL directly', publicOnly: false },
      { name: 'documented ciphers', publicOnly: true },
    ].map(({ name, publicOnly }) => ({
      name,
      sealer: createSealer(kernels, key, { publicOnly }),
      opener: createBatchOpener(kernels, key, { publicOnly }),
    }))
    compare(`seal, ${count} messages of ${size} bytes`, 'MB/s', size * count, [
      { name: 'seal() of the master key, each', run: () => messages.forEach((message) => void seal(key, message)) },
      ...forms.map(({ name, sealer }) => ({
        name: `sealer by ${name}, with a copy into place`,
        run: () => {
          let at = pack.offset
          for (const message of messages) {
            pack.bytes.set(message, at + 16 - pack.offset)
            at = sealer.seal(at, size)
          }
        },
      })),
    ])
    const sealed = messages.map((message) => seal(key, message))
    const places = sealed.map((bytes, i) => ({ offset: pack.offset + i * bytes.length, length: bytes.length }))
    for (const [i, bytes] of sealed.entries()) source.bytes.set(bytes, i * bytes.length)
    compare(`open (seal), ${count} messages of ${size} bytes`, 'MB/s', size * count, [
      { name: 'unseal() of the master key, each', run: () => sealed.forEach((bytes) => void unseal(key, bytes)) },
      ...forms.map(({ name, opener }) => ({
        name: `opener by ${name}, with a copy of the sealed bytes`,
        run: () => {
          pack.bytes.set(source.bytes)
          if (opener.open(places).length > 0) throw new Error('not authentic')
        },
      })),
    ])
  }
})

section('zstd', () => {
  const database = databaseLike(MIB)
  const source = join(import.meta.dirname, '../src')
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
    .map((name) => join(source, name))
    .filter((name) => name.endsWith('.ts') && statSync(name).size < 8192)
    .map((name) => readFileSync(name))
  const total = files.reduce((sum, { length }) => sum + length, 0)
  const corpora: [string, Buffer[]][] = [
    ['a megabyte of a database', [database]],
    [`${files.length} files of ${Math.round(total / files.length)} bytes on average`, files],
  ]
  const fast = { [constants.ZSTD_c_compressionLevel]: FAST.level }
  for (const [name, inputs] of corpora) {
    const bytes = inputs.reduce((sum, { length }) => sum + length, 0)
    const room = Buffer.alloc(compressBound(MIB))
    const reused = createZstdContext()
    const fallback = createZstdContext({ ...FAST, streams: { compress: () => ({}), decompress: () => ({}) } })
    const level3 = createZstdContext({ level: 3 })
    compare(`zstd compress, ${name}`, 'MB/s', bytes, [
      {
        name: 'zstdCompressSync, fast parameters',
        run: () => inputs.forEach((input) => void zstdCompressSync(input, { params: fast })),
      },
      { name: 'fallback, fast parameters', run: () => inputs.forEach((input) => void fallback.compress(input, room)) },
      {
        name: 'reused context, fast parameters',
        run: () => inputs.forEach((input) => void reused.compress(input, room)),
      },
      { name: 'reused context, level 3', run: () => inputs.forEach((input) => void level3.compress(input, room)) },
    ])
    const frames = inputs.map((input) => Buffer.from(room.subarray(0, reused.compress(input, room))))
    const outputs = inputs.map((input) => room.subarray(0, input.length))
    compare(`zstd decompress, ${name}`, 'MB/s', bytes, [
      { name: 'zstdDecompressSync', run: () => frames.forEach((frame) => void zstdDecompressSync(frame)) },
      { name: 'fallback', run: () => frames.forEach((frame, i) => void fallback.decompress(frame, outputs[i]!)) },
      { name: 'reused context', run: () => frames.forEach((frame, i) => void reused.decompress(frame, outputs[i]!)) },
    ])
  }
})

section('small kernels', () => {
  const kernels = createKernels({ memoryBytes: 4 * MIB })
  const plain = createKernels({ memoryBytes: 4 * MIB, implementation: 'plain' })
  const { offset } = kernels.region('all', 4 * MIB)
  compare('counter blocks, 256 KiB', 'MB/s', 262144, [
    { name: 'plain', run: () => plain.counterBlocks(offset, 16384, offset + 16) },
    { name: 'WebAssembly', run: () => kernels.counterBlocks(offset, 16384, offset + 16) },
  ])
  compare('exclusive or, 1 MiB', 'MB/s', MIB, [
    { name: 'plain', run: () => plain.xor(offset, offset + MIB, MIB) },
    { name: 'WebAssembly', run: () => kernels.xor(offset, offset + MIB, MIB) },
  ])
  kernels.memory.fill(0, offset)
  plain.memory.fill(0, offset)
  compare('end of a run of zeros, 1 MiB', 'MB/s', MIB, [
    { name: 'plain', run: () => plain.zeroEnd(offset, offset + MIB) },
    { name: 'WebAssembly', run: () => kernels.zeroEnd(offset, offset + MIB) },
  ])
  kernels.memory.set(randomBytes(MIB), offset)
  compare('no block of zeros in 1 MiB', 'MB/s', MIB, [
    { name: 'WebAssembly', run: () => kernels.zeroBlock(offset, offset + MIB, 4096) },
  ])
})

section('builtins', () => {
  const bytes = randomBytes(MIB)
  const ecb = createCipheriv('aes-256-ecb', randomBytes(32), null).setAutoPadding(false)
  const ctr = createCipheriv('aes-256-ctr', randomBytes(32), randomBytes(16))
  const secret = createSecretKey(randomBytes(32))
  compare('builtins, 1 MiB', 'MB/s', MIB, [
    { name: 'SHA-256', run: () => hash('sha256', bytes) },
    { name: 'long-lived ECB cipher', run: () => ecb.update(bytes) },
    { name: 'long-lived CTR cipher', run: () => ctr.update(bytes) },
    { name: 'new CTR cipher', run: () => createCipheriv('aes-256-ctr', secret, bytes.subarray(0, 16)).update(bytes) },
  ])
})

section('blob table', () => {
  const count = 200_000
  const digests = createCipheriv('aes-256-ctr', Buffer.alloc(32), Buffer.alloc(16)).update(Buffer.alloc(32 * count))
  const names = Array.from({ length: count }, (_, i) => digests.toString('hex', 32 * i, 32 * i + 32))
  const set = new Set(names)
  const table = createBlobTable(count)
  const small = createBlobTable(count / 100)
  for (let i = 0; i < count; i++) {
    table.claim(digests, 32 * i)
    small.claim(digests, 32 * i)
  }
  const all = (look: (i: number) => unknown) => () => {
    for (let i = 0; i < count; i++) look(i)
  }
  compare(`blob table, looking up ${count} digests (us each)`, 'us', count, [
    { name: 'Set of hexadecimal strings, not shared', run: all((i) => set.has(names[i]!)) },
    { name: 'Set, with making the string', run: all((i) => set.has(digests.toString('hex', 32 * i, 32 * i + 32))) },
    { name: 'shared table', run: all((i) => table.claim(digests, 32 * i)) },
    { name: 'shared table, made for a hundredth', run: all((i) => small.claim(digests, 32 * i)) },
    { name: 'shared table, not there', run: all((i) => table.find(digests, 32 * i + (i === count - 1 ? 0 : 1))) },
  ])
})

section('self-test', () => {
  compare('self-test (us)', 'us', 1, [{ name: 'all kernels, warm', run: () => selfTest() }])
  console.log(`  ${'all kernels, first in a process'.padEnd(44)} ${coldSelfTest().toFixed(0).padStart(7)} us`)
})
