import type { PackedBlob } from '../format/pack-header.ts'

/** Whether both list the same blobs of a pack at the same places, in whatever order. */
export function sameBlobs(a: readonly PackedBlob[], b: readonly PackedBlob[]): boolean {
  if (a.length !== b.length) return false
  const [x, y] = [a.toSorted(byPlace), b.toSorted(byPlace)]
  return x.every((blob, i) => isSame(blob, y[i]!))
}

/** Two entries for one place, which only a damaged repository has, come in an order that does not depend on the list. */
function byPlace(a: PackedBlob, b: PackedBlob): number {
  return a.offset - b.offset || compare(a.id, b.id) || compare(a.type, b.type) || a.length - b.length
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

export function isSame(a: PackedBlob, b: PackedBlob): boolean {
  return (
    a.type === b.type &&
    a.id === b.id &&
    a.offset === b.offset &&
    a.length === b.length &&
    a.uncompressedLength === b.uncompressedLength
  )
}
