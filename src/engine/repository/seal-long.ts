import { type MasterKey, SEAL_OVERHEAD } from '../format/master-key.ts'
import { copyBytes } from '../kernels/copy-bytes.ts'
import { createKernels } from '../kernels/kernels.ts'
import { createBatchOpener, createSealer, OPENER_MEMORY, SEALER_MEMORY } from '../kernels/seals.ts'
import { doesNotOpen, sealVerified } from './seal-verified.ts'

/** From this length on kernels are sooner: until it is compiled, other code takes 3 µs for 16 bytes, and compiling it 0.1 s. */
const LONG = 2048
const PAGE = 4096

/** As `sealVerified`, with the kernels, which have to be loaded, where that is sooner. */
export function sealLong(key: MasterKey, plaintext: Buffer): Buffer {
  if (plaintext.length < LONG) return sealVerified(key, plaintext)
  const length = plaintext.length + SEAL_OVERHEAD
  const kernels = createKernels({ memoryBytes: length + SEALER_MEMORY + OPENER_MEMORY + 3 * PAGE })
  const { offset, bytes } = kernels.region('a sealed message', length)
  const start = SEAL_OVERHEAD / 2
  copyBytes(plaintext, bytes.subarray(start))
  createSealer(kernels, key).seal(offset, plaintext.length)
  const sealed = Buffer.from(bytes)
  const [failed] = createBatchOpener(kernels, key).open([{ offset, length }])
  const isSame = failed === undefined && bytes.subarray(start, start + plaintext.length).equals(plaintext)
  if (!isSame) throw doesNotOpen(plaintext.length)
  return sealed
}
