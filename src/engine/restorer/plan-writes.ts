import type { BlobId, PackId } from '../format/id.ts'
import type { ExtendedAttribute } from '../format/tree-node.ts'
import type { OwnerOptions } from '../os/accounts.ts'
import type { BlobIndex, BlobLocation } from '../repository/blob-index.ts'
import { metadataOf } from './apply-metadata.ts'
import type { PlannedFile } from './planned-file.ts'
import type { WriteJob } from './write-job.ts'

/** A job covers no more of a pack, unless one blob is longer: what several threads share evenly, and what memory holds of remote packs. */
const JOB_BYTES = 8 * 1024 * 1024
/** Nor more pieces of files. */
const JOB_USES = 8192
/** What lies between blobs is not fetched where it is longer. */
const JOB_GAP = 256 * 1024

interface WantedBlob {
  readonly location: BlobLocation
  /** File by its number in the job's list of files, and position, one after the other. */
  readonly uses: { readonly file: PlannedFile; readonly position: number }[]
}

export interface PlannedJob {
  readonly pack: PackId
  /** Of the pack. */
  readonly length: number
  readonly blobIds: readonly BlobId[]
  readonly files: readonly PlannedFile[]
  readonly columns: Omit<WriteJob, 'from'>
}

/**
 * What is to be read of which packs, and where it goes: pack after pack, each blob once however often it is used, in the order of
 * offsets. Sets how many pieces of each file are left to write. Every blob is in the index.
 */
export function* planWrites(
  files: readonly PlannedFile[],
  index: BlobIndex,
  { token, owners }: { readonly token: string; readonly owners: OwnerOptions },
): Generator<PlannedJob> {
  const blobs = new Map<BlobId, WantedBlob>()
  const packs = new Map<PackId, WantedBlob[]>()
  for (const file of files) {
    let position = 0
    for (const [i, id] of file.content.entries()) {
      if (file.kept?.[i] !== 1) {
        let blob = blobs.get(id)
        if (blob === undefined) {
          const location = index.find('data', id)!
          blob = { location, uses: [] }
          blobs.set(id, blob)
          const others = packs.get(location.pack)
          if (others) others.push(blob)
          else packs.set(location.pack, [blob])
        }
        blob.uses.push({ file, position })
        file.left += 1
      }
      position += file.lengths[i]!
    }
  }
  for (const [pack, wanted] of packs) {
    wanted.sort((a, b) => a.location.offset - b.location.offset)
    let group: WantedBlob[] = []
    let uses = 0
    let end = 0
    for (const blob of wanted) {
      const { offset, length } = blob.location
      const start = group[0]?.location.offset ?? offset
      if (
        group.length > 0 &&
        (offset + length - start > JOB_BYTES || offset - end > JOB_GAP || uses + blob.uses.length > JOB_USES)
      ) {
        yield jobOf(pack, group, token, owners)
        group = []
        uses = 0
        end = 0
      }
      group.push(blob)
      uses += blob.uses.length
      end = Math.max(end, offset + length)
    }
    if (group.length > 0) yield jobOf(pack, group, token, owners)
  }
}

function jobOf(pack: PackId, blobs: readonly WantedBlob[], token: string, owners: OwnerOptions): PlannedJob {
  const start = blobs[0]!.location.offset
  const numbers = new Map<PlannedFile, number>()
  const uses = blobs.reduce((sum, blob) => sum + blob.uses.length, 0)
  const columns = {
    offsets: new Uint32Array(blobs.length),
    lengths: new Uint32Array(blobs.length),
    uncompressedLengths: new Uint32Array(blobs.length),
    ids: Buffer.alloc(32 * blobs.length),
    useEnds: new Uint32Array(blobs.length),
    useFiles: new Uint32Array(uses),
    usePositions: new Float64Array(uses),
  }
  let use = 0
  let end = start
  for (const [i, { location, uses: places }] of blobs.entries()) {
    columns.offsets[i] = location.offset
    columns.lengths[i] = location.length
    columns.uncompressedLengths[i] = location.uncompressedLength ?? 0
    columns.ids.write(location.id, 32 * i, 'hex')
    end = Math.max(end, location.offset + location.length)
    for (const { file, position } of places) {
      let number = numbers.get(file)
      if (number === undefined) {
        number = numbers.size
        numbers.set(file, number)
      }
      columns.useFiles[use] = number
      columns.usePositions[use++] = position
    }
    columns.useEnds[i] = use
  }
  const files = [...numbers.keys()]
  return {
    pack,
    length: end - start,
    blobIds: blobs.map(({ location }) => location.id),
    files,
    columns: { start, blobs: columns, files: fileColumns(files, columns.useFiles, token, owners) },
  }
}

function fileColumns(
  files: readonly PlannedFile[],
  useFiles: Uint32Array,
  token: string,
  owners: OwnerOptions,
): WriteJob['files'] {
  const count = files.length
  const pieces = new Uint32Array(count)
  for (const file of useFiles) pieces[file]! += 1
  const columns = {
    token,
    numbers: new Uint32Array(count),
    paths: Buffer.concat(files.map(({ destination }) => destination)),
    pathEnds: new Uint32Array(count),
    sizes: new Float64Array(count),
    pieces,
    uids: new Uint32Array(count),
    gids: new Uint32Array(count),
    modes: new Uint32Array(count),
    atimes: new BigInt64Array(count),
    mtimes: new BigInt64Array(count),
    attributes: new Map<number, readonly ExtendedAttribute[]>(),
  }
  let pathEnd = 0
  for (const [i, file] of files.entries()) {
    columns.numbers[i] = file.number
    columns.pathEnds[i] = pathEnd += file.destination.length
    columns.sizes[i] = file.node.size
    const { uid, gid, mode, atimeNs, mtimeNs, extendedAttributes } = metadataOf(file.node, owners)
    if (pieces[i] !== file.content.length || !fits(atimeNs) || !fits(mtimeNs)) {
      pieces[i] = 0 // others write to it as well, or its times are beyond the year 2262
      continue
    }
    columns.uids[i] = uid
    columns.gids[i] = gid
    columns.modes[i] = mode!
    columns.atimes[i] = atimeNs
    columns.mtimes[i] = mtimeNs
    if (extendedAttributes.length > 0) columns.attributes.set(i, extendedAttributes)
  }
  return columns
}

function fits(ns: bigint): boolean {
  return BigInt.asIntN(64, ns) === ns
}
