import { type BlobId, hashId, idAt } from '../format/id.ts'
import type { BlobType } from '../format/pack-header.ts'

/** What the archiver needs of a repository to write to; `BlobWriter` is one. */
export interface BlobSink {
  has(type: BlobType, id: BlobId): boolean
  /** The same of an ID whose 64 digits begin at this place of a text: without another text for each of very many. */
  hasAt(type: BlobType, text: Buffer, at: number): boolean
  /** The plaintext may be reused once the call resolves. */
  save(type: BlobType, plaintext: Buffer): Promise<{ readonly id: BlobId; readonly isNew: boolean }>
}

interface SinkTotals {
  dataBlobs: number
  treeBlobs: number
  /** Plaintext bytes of the new blobs. */
  added: number
  addedPacked: number
}

/** Counts what a backup would add and stores none of it. What it would take up in packs is not known without compressing: 0. */
export function discardingSink(
  present: Pick<BlobSink, 'has' | 'hasAt'>,
): BlobSink & { readonly totals: Readonly<SinkTotals> } {
  const added = new Set<string>()
  const totals: SinkTotals = { dataBlobs: 0, treeBlobs: 0, added: 0, addedPacked: 0 }
  const has = (type: BlobType, id: BlobId) => present.has(type, id) || added.has(type + id)
  return {
    totals,
    has,
    hasAt: (type, text, at) => present.hasAt(type, text, at) || added.has(type + idAt(text, at)),
    async save(type, plaintext) {
      const id = hashId<BlobId>(plaintext)
      if (has(type, id)) return { id, isNew: false }
      added.add(type + id)
      totals[type === 'tree' ? 'treeBlobs' : 'dataBlobs'] += 1
      totals.added += plaintext.length
      return { id, isNew: true }
    },
  }
}
