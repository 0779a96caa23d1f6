import { EngineError } from '../error.ts'
import { type MasterKey, seal, unseal } from '../format/master-key.ts'

/** As `seal`; what was sealed has been opened again and is the same. Throws `SELF_CHECK` where it is not. */
export function sealVerified(key: MasterKey, plaintext: Buffer): Buffer {
  const sealed = seal(key, plaintext)
  if (!unseal(key, sealed).equals(plaintext)) throw doesNotOpen(plaintext.length)
  return sealed
}

/** The `SELF_CHECK` of so many bytes. */
export function doesNotOpen(length: number): EngineError {
  return new EngineError('SELF_CHECK', `Cannot encrypt ${length} bytes: they do not come back as they were`, {
    hint: 'The memory or processor of this machine is likely faulty: test it before the next backup',
  })
}
