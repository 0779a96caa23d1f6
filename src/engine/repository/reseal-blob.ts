import { EngineError } from '../error.ts'
import { type MasterKey, seal, unseal } from '../format/master-key.ts'
import type { PackedBlob } from '../format/pack-header.ts'
import { decodeBlob, type SealedBlob } from './blob-codec.ts'

/**
 * A blob of one key sealed under another, compressed or not as it was; under the same key it stays sealed as it is. It has been
 * opened and held against its hash, and so has what was sealed. The result shares no memory with the bytes. Throws as
 * `decodeBlob` does, and `SELF_CHECK`.
 */
export function resealBlob(from: MasterKey, blob: PackedBlob, sealed: Buffer, to: MasterKey): SealedBlob {
  const { type, id, uncompressedLength } = blob
  const copy = Buffer.from(sealed) // first, so that what is stored is what was looked at
  decodeBlob(from, blob, copy)
  if (isSameKey(from, to)) return { type, id, bytes: copy, uncompressedLength }
  const stored = unseal(from, copy)
  const bytes = seal(to, stored)
  if (!unseal(to, bytes).equals(stored)) {
    throw new EngineError('SELF_CHECK', `Cannot seal ${type} blob ${id} again: it does not open to what was sealed`, {
      facts: { blob: id },
      hint: 'The memory or processor of this machine is likely faulty: test it before going on',
    })
  }
  return { type, id, bytes, uncompressedLength }
}

export function isSameKey(a: MasterKey, b: MasterKey): boolean {
  return a.encrypt.equals(b.encrypt) && a.macK.equals(b.macK) && a.macR.equals(b.macR)
}
