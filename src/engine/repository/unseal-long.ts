import { EngineError } from '../error.ts'
import { type MasterKey, SEAL_OVERHEAD, unseal } from '../format/master-key.ts'
import { copyBytes } from '../kernels/copy-bytes.ts'
import { createKernels } from '../kernels/kernels.ts'
import { createBatchOpener, OPENER_MEMORY } from '../kernels/seals.ts'

const PAGE = 4096
/** With so much memory the system gives most of it in large pages, which takes a tenth of the time of small ones. */
const LEAST_MEMORY = 6 * 1024 * 1024

/**
 * As `unseal`, with the kernels: an index of megabytes is read once, and what is not compiled yet takes 45 ms or more for 2.5 MB.
 * They have to be loaded, which is not worth it for a small file.
 */
export function unsealLong(key: MasterKey, sealed: Buffer): Buffer {
  const kernels = createKernels({
    memoryBytes: Math.max(LEAST_MEMORY, sealed.length + OPENER_MEMORY + 3 * PAGE),
  })
  const { offset, bytes } = kernels.region('a sealed file', sealed.length)
  copyBytes(sealed, bytes)
  const [failed] = createBatchOpener(kernels, key).open([{ offset, length: sealed.length }])
  if (failed === undefined) return bytes.subarray(SEAL_OVERHEAD / 2, sealed.length - SEAL_OVERHEAD / 2)
  unseal(key, sealed) // says what is wrong with it
  throw new EngineError('SELF_CHECK', `Cannot decrypt ${sealed.length} bytes: two ways to do it disagree`, {
    hint: 'The memory or processor of this machine is likely faulty: test it',
  })
}
