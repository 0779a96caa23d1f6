import { createHash, hash } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { type MasterKey, unseal } from '../format/master-key.ts'
import { packHeaderSize, parsePackHeader } from '../format/pack-header.ts'
import { copyBytes } from '../kernels/copy-bytes.ts'
import type { SealedPlace } from '../kernels/seals.ts'
import { errnoOf } from '../os/errno.ts'
import { BlobDecoder, LONGEST_SEALED } from './blob-decoder.ts'
import { isDamage } from './file-problem.ts'

/** A pack to be held against its name and its index entry. */
export interface PackToInspect {
  /** SHA-256 of the file. */
  readonly id: string
  /** The header that the index entry makes; see `encodePackHeader`. */
  readonly header: Uint8Array
  /** The file, or its bytes. */
  readonly from: string | Uint8Array
}

/** Blobs are read in stretches of about this size, which stay in the processor's cache while they are worked on. */
const STRETCH = 1024 * 1024

/**
 * Reads packs at full speed, for the usual answer that all is well. Of one that is not, it does not say what is wrong: that is found
 * out by slower code, which reads the pack again.
 */
export class PackInspector {
  readonly #key: MasterKey
  readonly #decoder: BlobDecoder

  constructor(key: MasterKey) {
    this.#key = key
    this.#decoder = new BlobDecoder(key)
  }

  /** Whether every byte of a pack is what name, index, header, seals and hashes say. False also for blobs that are too long for it. */
  isSound(pack: PackToInspect): boolean {
    try {
      using file = openPack(pack.from)
      return this.#holds(pack, file)
    } catch (error) {
      if (isDamage(error) || errnoOf(error) !== undefined) return false
      throw error
    }
  }

  #holds({ id, header }: PackToInspect, file: PackFile): boolean {
    const expected = Buffer.from(header.buffer, header.byteOffset, header.length)
    const blobs = parsePackHeader(expected)
    const last = blobs.at(-1)!
    const headerAt = last.offset + last.length
    if (file.size !== headerAt + packHeaderSize(blobs)) return false
    const digest = createHash('sha256')
    const { input } = this.#decoder
    let next = 0
    while (next < blobs.length) {
      const first = next
      let length = 0
      while (next < blobs.length && (length === 0 || length + blobs[next]!.length <= STRETCH))
        length += blobs[next++]!.length
      if (length > LONGEST_SEALED) return false
      const bytes = input.bytes.subarray(0, length)
      const stretchAt = blobs[first]!.offset
      if (!file.read(bytes, stretchAt)) return false
      digest.update(bytes)
      const places: SealedPlace[] = []
      for (let i = first; i < next; i++) {
        places.push({ offset: input.offset + blobs[i]!.offset - stretchAt, length: blobs[i]!.length })
      }
      if (this.#decoder.open(places).length > 0) return false
      for (const [i, place] of places.entries()) {
        const blob = blobs[first + i]!
        if (hash('sha256', this.#decoder.plaintext(place, blob.uncompressedLength)) !== blob.id) return false
      }
    }
    const end = Buffer.allocUnsafe(file.size - headerAt)
    if (!file.read(end, headerAt)) return false
    if (digest.update(end).digest('hex') !== id || end.readUInt32LE(end.length - 4) !== end.length - 4) return false
    return unseal(this.#key, end.subarray(0, -4)).equals(expected)
  }
}

interface PackFile extends Disposable {
  readonly size: number
  /** False when the file ends before. */
  read(into: Buffer, position: number): boolean
}

function openPack(from: string | Uint8Array): PackFile {
  if (typeof from !== 'string') {
    return {
      size: from.length,
      read(into, position) {
        copyBytes(from.subarray(position, position + into.length), into)
        return position + into.length <= from.length
      },
      [Symbol.dispose]() {},
    }
  }
  // Not blocking, as of the storage: a named pipe in the place of a pack is no pack.
  const fd = openSync(from, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stats = fstatSync(fd)
    return {
      size: stats.isFile() ? stats.size : -1,
      read(into, position) {
        for (let done = 0; done < into.length; ) {
          const count = readSync(fd, into, done, into.length - done, position + done)
          if (count === 0) return false
          done += count
        }
        return true
      },
      [Symbol.dispose]: () => closeSync(fd),
    }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}
