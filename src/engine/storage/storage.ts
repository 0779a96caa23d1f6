/** What a repository stores, by the folder it lives in; `config` is the one file without an ID. */
export type FileType = 'config' | 'key' | 'lock' | 'snapshot' | 'index' | 'pack'

/** Names one file of a repository. `id` is 64 lower-case hex digits, or `''` for `config`; anything else rejects with `INVALID_ID`. */
export interface FileName {
  readonly type: FileType
  readonly id: string
}

/** Part of a file in bytes: from `offset` on, or the last `fromEnd` bytes without knowing the size. */
export type ByteRange = { readonly offset: number; readonly length: number } | { readonly fromEnd: number }

export interface StoredFile {
  readonly name: FileName
  /** In bytes. */
  readonly size: number
}

/**
 * Reads what a repository consists of. Names and sizes come from the storage's operator, contents too:
 * nothing here is verified, that is the caller's part.
 *
 * Every method rejects with an `EngineError`: `NOT_FOUND` (the name, or the whole location, is not there),
 * `PERMISSION`, `NOT_A_DIRECTORY` (the location is something else), `STORAGE` (anything else, with its cause).
 * A signal that aborts rejects with the signal's own reason, at the latest after the block in transit.
 */
export interface StorageReader {
  /** For messages: where the files are, without credentials. */
  readonly location: string

  /**
   * Yields every file of the type once, in no particular order. Never yields half-written files, nor anything whose
   * name is not one. A file that is written or removed meanwhile may be left out or not. A location that is not
   * there rejects instead of looking empty.
   */
  list(type: FileType, signal?: AbortSignal): AsyncIterable<StoredFile>

  /**
   * Resolves with exactly the range asked for, or the whole file; the buffer is the caller's. A file that ends before the
   * range does rejects with `TRUNCATED`, however little is missing, and before the claimed length costs memory.
   */
  read(name: FileName, range?: ByteRange, signal?: AbortSignal): Promise<Buffer>

  /** In bytes. */
  size(name: FileName, signal?: AbortSignal): Promise<number>
}

/**
 * Files for people, at the top of a repository: how to get everything back, and with what. They belong to no type and are in
 * no listing, and restic passes them over. Names are letters, digits, `.`, `_` and `-`, and none of the layout's: anything
 * else rejects with `INVALID_ID`.
 */
export interface FilesBeside {
  /** `undefined` where there is none. More than 1 MiB rejects with `HOSTILE`: nothing of ours is as large. */
  read(name: string, signal?: AbortSignal): Promise<Buffer | undefined>

  /** Puts the file in the place of one of that name, in one step; durable like `Storage.write`. */
  write(name: string, content: Buffer, signal?: AbortSignal): Promise<void>

  /** Resolves once the name is gone, also when it was not there. */
  remove(name: string, signal?: AbortSignal): Promise<void>
}

export interface Storage extends StorageReader {
  /** Absent where a storage has no room for other files than a repository's, as a REST server. */
  readonly beside?: FilesBeside

  /**
   * Makes the location and the layout in it. Leaves what is there already as it is; a location that is not a folder
   * rejects with `NOT_A_DIRECTORY`.
   */
  create(): Promise<void>

  /**
   * Publishes all of the content or none of it: an interrupted write is never listed and never readable. Once it
   * resolves the file survives a power cut. Never replaces: a name that exists rejects with `EXISTS`, whatever it
   * holds, and is not touched. No room rejects with `NO_SPACE` and leaves nothing behind that takes room.
   * After another rejection the name holds all of the content or nothing. Parts are written one after the other.
   *
   * `onTaken` may be called before, once: from then on the bytes of the content may change.
   */
  write(name: FileName, content: Buffer | readonly Buffer[], signal?: AbortSignal, onTaken?: () => void): Promise<void>

  /** Resolves once the name is gone; one that was not there is no error, since a repeated request could not tell. */
  remove(name: FileName, signal?: AbortSignal): Promise<void>
}
