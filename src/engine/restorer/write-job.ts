import type { EngineErrorCode } from '../error.ts'
import type { ExtendedAttribute } from '../format/tree-node.ts'

// What the restorer's thread and those that write files say to each other. In columns rather than objects: there may be a hundred
// thousand small files in one pack, and each object would be cloned on its way.

/** Blobs of one pack, and where they go. */
export interface WriteJob {
  /** The pack, or its bytes from `start` on. */
  readonly from: string | Uint8Array
  readonly start: number
  readonly blobs: BlobColumns
  readonly files: FileColumns
}

export interface BlobColumns {
  /** In the pack, ascending. */
  readonly offsets: Uint32Array
  readonly lengths: Uint32Array
  /** 0: stored as it is. */
  readonly uncompressedLengths: Uint32Array
  /** 32 bytes each. */
  readonly ids: Uint8Array
  /** The uses of blob i end at `useEnds[i]`, and begin where those of the one before end. */
  readonly useEnds: Uint32Array
  /** Of each use: which file, and where in it. */
  readonly useFiles: Uint32Array
  readonly usePositions: Float64Array
}

export interface FileColumns {
  /** Draws the names of temporary files; see `temporaryBeside`. */
  readonly token: string
  readonly numbers: Uint32Array
  /** Destinations, end to end. */
  readonly paths: Uint8Array
  readonly pathEnds: Uint32Array
  readonly sizes: Float64Array
  /**
   * How many pieces make the file complete, where all of them are in this job: it is then made, given its metadata and put in its
   * place. 0: it is there under its temporary name, and somebody else finishes it.
   */
  readonly pieces: Uint32Array
  /** Of files that are completed here. */
  readonly uids: Uint32Array
  readonly gids: Uint32Array
  readonly modes: Uint32Array
  readonly atimes: BigInt64Array
  readonly mtimes: BigInt64Array
  /** By file; most have none. */
  readonly attributes: ReadonlyMap<number, readonly ExtendedAttribute[]>
}

export interface WriteResult {
  /** Blobs that could not be had from here, and so are written nowhere: they may be intact in other copies, or when read again. */
  readonly missing: readonly number[]
  readonly failures: readonly FileFailure[]
  /** What could not be set, of files that are in their place. */
  readonly metadataFailures: readonly MetadataFailure[]
  /** The disk is full: nothing was tried after that. */
  readonly full: boolean
}

/** A file that cannot be written; nothing of it counts. */
export interface FileFailure {
  readonly file: number
  readonly code: EngineErrorCode
  readonly message: string
  readonly errno: string | undefined
}

export interface MetadataFailure {
  readonly file: number
  readonly what: string
  readonly reason: string
}
