import { hash } from 'node:crypto'
import { EngineError } from '../error.ts'
import { shown } from './shown.ts'

declare const kind: unique symbol

/** SHA-256 as 64 lower-case hex digits. Which bytes were hashed depends on the kind. */
export type Id<Kind extends string = string> = string & { readonly [kind]: Kind }

/** Names the plaintext of a blob; together with the blob's type it is the blob's identity. */
export type BlobId = Id<'blob'>
/** The other IDs name the stored bytes of a file, so the same plaintext stored twice has two of them. */
export type PackId = Id<'pack'>
export type SnapshotId = Id<'snapshot'>
export type IndexId = Id<'index'>
export type KeyId = Id<'key'>
export type LockId = Id<'lock'>

const ID = /^[0-9a-f]{64}$/

/**
 * Whether the text is exactly 64 lower-case hex digits. Upper case is no ID here: a file of such a name
 * would be listed, but never found again under the lower-case name that every program asks for.
 */
export function isId(text: string): text is Id {
  return ID.test(text)
}

/** Throws `INVALID_ID` for anything that `isId` denies. */
export function parseId<K extends Id>(text: string): K {
  if (isId(text)) return text as string as K
  throw new EngineError('INVALID_ID', `Cannot use ${shown(text)} as an ID: expected 64 lower-case hex digits`, {
    facts: { length: text.length },
  })
}

/** The ID whose digits begin at this place of a text; that they do is the caller's to know. */
export function idAt<K extends Id>(text: Buffer, at: number): K {
  return text.toString('latin1', at, at + 64) as K
}

/** The SHA-256 of the bytes. */
export function hashId<K extends Id>(bytes: Uint8Array): K {
  return hash('sha256', bytes, 'hex') as K
}
