import { EngineError } from '../error.ts'
import { createChunker } from './chunker.ts'
import { RELAXED_SIMD, SIMD } from './kernels-module.ts'
import { wishForLargePages } from './large-pages.ts'
import { poly1305 } from './poly1305.ts'
import { CHUNKER_DEGREE, degree } from './polynomial.ts'

// The hot loops, over one memory that never grows or moves: what a file is read into is where it is cut, compressed
// from, sealed and written from. Places in memory are offsets into `Kernels.memory`.

/**
 * What runs: WebAssembly with the instructions of relaxed SIMD, with those of SIMD, or plain TypeScript. All give the
 * same results.
 */
export type Implementation = 'relaxed-simd' | 'simd' | 'plain'

export interface Region {
  readonly offset: number
  readonly length: number
  readonly end: number
  /** The region as a view of the memory. */
  readonly bytes: Buffer<SharedArrayBuffer>
}

/** For one thread. Every offset and length is checked: outside of the memory is a `RangeError`. */
export interface Kernels {
  readonly implementation: Implementation
  /** All of it, so that the index of a byte is its offset. Other threads can be given views of it. */
  readonly memory: Buffer<SharedArrayBuffer>

  /** Takes memory for good, aligned to pages; `name` is for the error when there is not enough. It is all zeros. */
  region(name: string, length: number): Region
  /** `RangeError` unless all of these bytes are where regions can be. */
  checkPlace(offset: number, length: number): void

  /** Must be of degree 53, and irreducible for cuts that other programs find, too. */
  setPolynomial(polynomial: bigint): void
  /**
   * `Chunker.nextLength` on memory: the length of the chunk at `offset` when bytes are known up to `end` and the file
   * ends there (`final`) or not; 0 asks for more bytes. Faster where 17 KiB of memory, whatever they hold, follow `end`.
   */
  chunkLength(offset: number, end: number, final: boolean): number

  /** The first half of every one-time key from now on: 16 bytes, which need not be clamped. */
  setMacKey(r: Uint8Array): void
  /** Writes the authenticator of `length` bytes to the 16 bytes at `mac`; `s` is where the other half of the key is. */
  poly1305(offset: number, length: number, s: number, mac: number): void
  /** Whether the 16 bytes at `mac` are what `poly1305` would write. Takes as long for a near miss as for another one. */
  isAuthentic(offset: number, length: number, s: number, mac: number): boolean

  /** Writes `count` blocks of 16 bytes: the big-endian number at `counter`, and each the one before plus 1, mod 2^128. */
  counterBlocks(counter: number, count: number, to: number): void
  /** Exclusive or of as many bytes at `source` into those at `target`, which do not overlap. */
  xor(target: number, source: number, length: number): void

  /** Where the run of zeros at `offset` ends: at the first other byte, or at `end`. */
  zeroEnd(offset: number, end: number): number
  /** The first of the blocks of `size` bytes, counted from `offset`, that is all zeros, or `end`. The last one may be shorter. */
  zeroBlock(offset: number, end: number, size: number): number

  /**
   * Reads the JSON of an index file from `offset` to `end` to columns of `blobs` rows at `to`: 32 bytes of ID, 4 of offset, of
   * length and of plaintext length, and 1 of kind (1 for trees, and 2 for compressed blobs, which there are only if
   * `canCompress`). At `packsTo` is then the number of packs, and of each of them 32 bytes of ID and the number of its first
   * blob, in 4 bytes. Returns the number of blobs, or -1 for JSON that is written in another way than always, has too many
   * blobs or packs, or when this is plain TypeScript: it is for another parser.
   */
  scanIndex(offset: number, end: number, canCompress: boolean, rooms: IndexRooms): number
}

/** Where the columns of an index file go. `Kernels.scanIndex` says how they are laid out. */
export interface IndexRooms {
  readonly to: number
  readonly blobs: number
  readonly packsTo: number
  readonly packs: number
}

/** What `Kernels.scanIndex` writes of a blob and of a pack, and before the packs. */
export const INDEX_BLOB_BYTES = 32 + 3 * 4 + 1
export const INDEX_PACK_BYTES = 32 + 4
export const INDEX_PACKS_HEAD = 4

export interface KernelsOptions {
  /** What the regions may take together, at most 1 GiB. Memory that nobody writes to costs nothing. */
  readonly memoryBytes: number
  /** Instead of the best one that this runtime has. */
  readonly implementation?: Implementation | undefined
  /** WebAssembly instead of that of this package: for tests of what finds a damaged one. */
  readonly module?: Uint8Array | undefined
}

type Loops = Omit<Kernels, 'implementation' | 'memory' | 'region' | 'checkPlace'>

/** What the modules export. 64-bit numbers come as big integers, addresses as signed numbers below 2^31. */
interface Exports {
  readonly tablesEnd: { readonly value: number }
  setPolynomial(polynomial: bigint): void
  chunkLength(start: number, end: number, final: number): number
  setMacKey(r: number): void
  poly1305(message: number, length: number, s: number, mac: number): void
  isAuthentic(message: number, length: number, s: number, mac: number): number
  counterBlocks(counter: number, count: number, to: number): void
  xor(target: number, source: number, length: number): void
  zeroEnd(from: number, end: number): number
  zeroBlock(from: number, end: number, size: number): number
  scanIndex(
    from: number,
    end: number,
    canCompress: number,
    to: number,
    blobs: number,
    packsTo: number,
    packs: number,
  ): number
}

// What is used of it here. The types of Node leave it to those of browsers.
declare const WebAssembly: {
  readonly validate: (module: Uint8Array) => boolean
  readonly Module: new (module: Uint8Array) => object
  readonly Memory: new (pages: { initial: number; maximum: number; shared: true }) => WasmMemory
  readonly Instance: new (module: object, imports: { env: { memory: WasmMemory } }) => { readonly exports: unknown }
}
interface WasmMemory {
  readonly buffer: SharedArrayBuffer
}

const PAGE = 65536
/** Below are the tables of the kernels, which no caller may touch. */
const REGIONS_START = PAGE
const REGION_ALIGNMENT = 4096
/** The chunker searches in blocks of this many bytes, also where the bytes that count end earlier; the others read less far. */
const SEARCH_BLOCK = 16 * 1088
const MAX_MEMORY = 2 ** 30

// The smallest functions with one instruction of each kind: i8x16.popcnt and i8x16.relaxed_swizzle.
const SIMD_PROBE = Buffer.from('0061736d010000000105016000017b030201000a0a0108004100fd0ffd620b', 'hex')
const RELAXED_SIMD_PROBE = Buffer.from(
  '0061736d010000000105016000017b030201000a0f010d004101fd0f4102fd0ffd80020b',
  'hex',
)

const compiled = new Map<Implementation, object>()

/** The fastest implementation that this runtime can run. */
export function bestImplementation(): Implementation {
  if (typeof WebAssembly === 'undefined') return 'plain' // as under `node --jitless`
  if (WebAssembly.validate(RELAXED_SIMD_PROBE)) return 'relaxed-simd'
  return WebAssembly.validate(SIMD_PROBE) ? 'simd' : 'plain'
}

/** Throws `SELF_CHECK` when the module of this package does not load, and `SYSTEM` when there is no memory. */
export function createKernels({ memoryBytes, implementation, module }: KernelsOptions): Kernels {
  if (!(memoryBytes >= 0 && memoryBytes <= MAX_MEMORY)) {
    throw new RangeError(`Cannot make kernels with ${memoryBytes} bytes of memory: expected at most ${MAX_MEMORY}`)
  }
  const chosen = implementation ?? bestImplementation()
  const regionsEnd = REGIONS_START + Math.ceil(memoryBytes / REGION_ALIGNMENT) * REGION_ALIGNMENT
  const pages = Math.ceil((regionsEnd + SEARCH_BLOCK) / PAGE)
  const inside = (offset: number, length: number): void => {
    if (!(offset >= REGIONS_START && length >= 0 && offset + length <= regionsEnd)) {
      throw new RangeError(
        `Cannot use ${length} bytes at ${offset}: regions are between ${REGIONS_START} and ${regionsEnd}`,
      )
    }
  }

  let memory: Buffer<SharedArrayBuffer>
  let loops: Loops
  try {
    if (chosen === 'plain') {
      memory = Buffer.from(new SharedArrayBuffer(pages * PAGE))
      loops = plainLoops(memory, inside)
    } else {
      const wasmMemory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })
      memory = Buffer.from(wasmMemory.buffer)
      wishForLargePages(memory)
      loops = wasmLoops(instantiate(chosen, module, wasmMemory), memory, inside)
    }
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    throw new EngineError('SYSTEM', `Cannot allocate ${pages * PAGE} bytes of memory for the kernels`, { cause })
  }

  let free = REGIONS_START
  return {
    implementation: chosen,
    memory,
    region(name, length) {
      const offset = free
      if (!(length >= 0 && offset + length <= regionsEnd)) {
        throw new RangeError(`Cannot take ${length} bytes for "${name}": ${regionsEnd - offset} are left`)
      }
      free += Math.ceil(length / REGION_ALIGNMENT) * REGION_ALIGNMENT
      return { offset, length, end: offset + length, bytes: memory.subarray(offset, offset + length) }
    },
    checkPlace: inside,
    ...loops,
  }
}

function instantiate(
  implementation: 'relaxed-simd' | 'simd',
  module: Uint8Array | undefined,
  memory: WasmMemory,
): Exports {
  try {
    let code = module === undefined ? compiled.get(implementation) : new WebAssembly.Module(Buffer.from(module))
    if (code === undefined) {
      code = new WebAssembly.Module(Buffer.from(implementation === 'simd' ? SIMD : RELAXED_SIMD, 'base64'))
      compiled.set(implementation, code)
    }
    const exports = new WebAssembly.Instance(code, { env: { memory } }).exports as Exports
    if (!(exports.tablesEnd.value <= REGIONS_START)) throw new TypeError('its tables are larger than their place')
    return exports
  } catch (cause) {
    if (cause instanceof RangeError) throw cause
    throw new EngineError('SELF_CHECK', `Cannot load the kernels for ${implementation}: their module is damaged`, {
      facts: { kernel: 'module', implementation },
      hint: 'Install Holdfast again; if that does not help, test the memory of this machine',
      cause,
    })
  }
}

type Inside = (offset: number, length: number) => void

function wasmLoops(exports: Exports, memory: Buffer, inside: Inside): Loops {
  /** Without these, a zero polynomial would cut everywhere and a zero multiplier authenticate anything. */
  let hasPolynomial = false
  let hasMacKey = false
  return {
    setPolynomial(polynomial) {
      checkDegree(polynomial)
      exports.setPolynomial(polynomial)
      hasPolynomial = true
    },
    chunkLength(offset, end, final) {
      inside(offset, end - offset)
      if (!hasPolynomial) throw noPolynomial()
      return exports.chunkLength(offset, end, final ? 1 : 0)
    },
    setMacKey(r) {
      checkMacKey(r)
      // Any place below the regions that is no table's.
      const at = REGIONS_START - 16
      memory.set(r, at)
      exports.setMacKey(at)
      memory.fill(0, at, at + 16)
      hasMacKey = true
    },
    poly1305(offset, length, s, mac) {
      inside(offset, length)
      inside(s, 16)
      inside(mac, 16)
      if (!hasMacKey) throw noMacKey()
      exports.poly1305(offset, length, s, mac)
    },
    isAuthentic(offset, length, s, mac) {
      inside(offset, length)
      inside(s, 16)
      inside(mac, 16)
      if (!hasMacKey) throw noMacKey()
      return exports.isAuthentic(offset, length, s, mac) !== 0
    },
    counterBlocks(counter, count, to) {
      inside(counter, 16)
      inside(to, 16 * count)
      exports.counterBlocks(counter, count, to)
    },
    xor(target, source, length) {
      inside(target, length)
      inside(source, length)
      exports.xor(target, source, length)
    },
    zeroEnd(offset, end) {
      inside(offset, end - offset)
      return exports.zeroEnd(offset, end)
    },
    zeroBlock(offset, end, size) {
      inside(offset, end - offset)
      checkBlockSize(size)
      return exports.zeroBlock(offset, end, size)
    },
    scanIndex(offset, end, canCompress, { to, blobs, packsTo, packs }) {
      inside(offset, end - offset)
      inside(to, INDEX_BLOB_BYTES * blobs)
      inside(packsTo, INDEX_PACKS_HEAD + INDEX_PACK_BYTES * packs)
      return exports.scanIndex(offset, end, canCompress ? 1 : 0, to, blobs, packsTo, packs)
    },
  }
}

/** The twins where there are some, and otherwise the obvious. */
function plainLoops(memory: Buffer, inside: Inside): Loops {
  let chunker: ReturnType<typeof createChunker> | undefined
  const key = Buffer.alloc(32)
  let hasMacKey = false
  const authenticator = (offset: number, length: number, s: number): Buffer => {
    inside(offset, length)
    inside(s, 16)
    if (!hasMacKey) throw noMacKey()
    memory.copy(key, 16, s, s + 16)
    return poly1305(key, memory.subarray(offset, offset + length))
  }
  const zeroEnd = (offset: number, end: number): number => {
    let at = offset
    while (at < end && memory[at] === 0) at++
    return at
  }
  return {
    setPolynomial(polynomial) {
      checkDegree(polynomial)
      chunker = createChunker(polynomial)
    },
    chunkLength(offset, end, final) {
      inside(offset, end - offset)
      if (chunker === undefined) throw noPolynomial()
      return chunker.nextLength(memory, offset, end, final)
    },
    setMacKey(r) {
      checkMacKey(r)
      key.set(r)
      hasMacKey = true
    },
    poly1305(offset, length, s, mac) {
      inside(mac, 16)
      authenticator(offset, length, s).copy(memory, mac)
    },
    isAuthentic(offset, length, s, mac) {
      inside(mac, 16)
      const expected = authenticator(offset, length, s)
      let difference = 0
      for (let i = 0; i < 16; i++) difference |= expected[i]! ^ memory[mac + i]!
      return difference === 0
    },
    counterBlocks(counter, count, to) {
      inside(counter, 16)
      inside(to, 16 * count)
      const value = Buffer.from(memory.subarray(counter, counter + 16))
      for (let at = to; at < to + 16 * count; at += 16) {
        memory.set(value, at)
        for (let i = 15; i >= 0; i--) {
          value[i]!++
          if (value[i] !== 0) break
        }
      }
    },
    xor(target, source, length) {
      inside(target, length)
      inside(source, length)
      for (let i = 0; i < length; i++) memory[target + i]! ^= memory[source + i]!
    },
    zeroEnd(offset, end) {
      inside(offset, end - offset)
      return zeroEnd(offset, end)
    },
    zeroBlock(offset, end, size) {
      inside(offset, end - offset)
      checkBlockSize(size)
      for (let at = offset; at < end; at += size) {
        const next = Math.min(at + size, end)
        if (zeroEnd(at, next) === next) return at
      }
      return end
    },
    scanIndex(offset, end, _canCompress, { to, blobs, packsTo, packs }) {
      inside(offset, end - offset)
      inside(to, INDEX_BLOB_BYTES * blobs)
      inside(packsTo, INDEX_PACKS_HEAD + INDEX_PACK_BYTES * packs)
      return -1
    },
  }
}

function checkDegree(polynomial: bigint): void {
  if (degree(polynomial) === CHUNKER_DEGREE) return
  throw new RangeError(`Cannot chunk with a polynomial of degree ${degree(polynomial)}: expected ${CHUNKER_DEGREE}`)
}

function checkMacKey(r: Uint8Array): void {
  if (r.length !== 16) throw new RangeError(`Cannot authenticate with ${r.length} bytes of key: expected 16`)
}

function checkBlockSize(size: number): void {
  if (!(size >= 1)) throw new RangeError(`Cannot look for blocks of ${size} bytes`)
}

function noPolynomial(): Error {
  return new Error('Cannot look for the end of a chunk: no polynomial was set')
}

function noMacKey(): Error {
  return new Error('Cannot authenticate: no key was set')
}
