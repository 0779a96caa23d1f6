import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import type { SQLOutputValue } from 'node:sqlite'

// Reads the pages of a database file without SQLite, which stops at the first one that is damaged. Format:
// https://www.sqlite.org/fileformat2.html, sections 1.5 (free list), 1.6 (trees) and 2.1 (records). Every number that a page says is held
// against the file before it is followed: a damaged page may say anything.

/** A row as it is stored. */
export interface StoredRow {
  /** Of a table with row IDs. */
  readonly id: bigint | undefined
  /** In the order of storage; text as bytes, for it may be no valid text. */
  readonly values: readonly StoredValue[]
}

export type StoredValue = { readonly text: Buffer } | Exclude<SQLOutputValue, string>

const INTERIOR_INDEX = 2
const INTERIOR_TABLE = 5
const LEAF_INDEX = 10
const LEAF_TABLE = 13

/** No honest record has more columns (https://www.sqlite.org/limits.html). */
const MOST_COLUMNS = 32_767
/** Nor is a tree of pages deeper, by far. */
const DEEPEST = 64

export class DatabasePages implements Disposable {
  readonly count: number
  readonly encoding: 'utf8' | 'utf16le' | 'utf16be'
  readonly #file: number
  readonly #pageSize: number
  readonly #usable: number

  /** @param path of a file whose header is sound */
  constructor(path: string | Buffer) {
    this.#file = openSync(path, 'r')
    const header = Buffer.alloc(100)
    readSync(this.#file, header, 0, 100, 0)
    const claimed = header.readUInt16BE(16)
    this.#pageSize = claimed === 1 ? 65_536 : claimed
    this.#usable = this.#pageSize - header[20]!
    this.encoding = ({ 2: 'utf16le', 3: 'utf16be' } as const)[header.readUInt32BE(56)] ?? 'utf8'
    this.count = Math.floor(fstatSync(this.#file).size / this.#pageSize)
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }

  /** Every page below and with a root, outer ones first; damaged ones are passed over. Each page once, whatever the pages say. */
  *tree(root: number, seen: Set<number>): Generator<number> {
    const todo: { readonly page: number; readonly depth: number }[] = [{ page: root, depth: 0 }]
    for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
      const { page, depth } = next
      if (seen.has(page) || depth > DEEPEST) continue
      const bytes = this.#read(page)
      const type = bytes && typeOf(bytes, page)
      if (bytes === undefined || type === undefined) continue
      seen.add(page)
      yield page
      if (type !== INTERIOR_TABLE && type !== INTERIOR_INDEX) continue
      const start = startOf(page)
      const children = [...this.#cells(bytes, page)].map((at) => bytes.readUInt32BE(at))
      children.push(bytes.readUInt32BE(start + 8))
      for (const child of children.reverse())
        if (child > 1 && child <= this.count) todo.push({ page: child, depth: depth + 1 })
    }
  }

  /** Pages of the free list, with those that lead to them; undefined when the list cannot be followed to its end. */
  free(): Set<number> | undefined {
    const first = this.#read(1)
    if (first === undefined) return undefined
    const found = new Set<number>()
    const expected = first.readUInt32BE(36)
    for (let trunk = first.readUInt32BE(32); trunk !== 0; ) {
      const bytes = trunk > 1 && trunk <= this.count && !found.has(trunk) ? this.#read(trunk) : undefined
      if (bytes === undefined) return undefined
      found.add(trunk)
      const leaves = bytes.readUInt32BE(4)
      if (leaves > this.#usable / 4 - 2) return undefined
      for (let i = 0; i < leaves; i++) found.add(bytes.readUInt32BE(8 + 4 * i))
      trunk = bytes.readUInt32BE(0)
    }
    return found.size === expected ? found : undefined
  }

  isTableLeaf(page: number): boolean {
    const bytes = this.#read(page)
    return bytes !== undefined && typeOf(bytes, page) === LEAF_TABLE
  }

  /** The rows of one page; those that cannot be right are passed over and counted. */
  rows(page: number): { readonly rows: StoredRow[]; readonly damaged: number } {
    const bytes = this.#read(page)
    const type = bytes && typeOf(bytes, page)
    const rows: StoredRow[] = []
    let damaged = 0
    if (bytes === undefined || type === undefined || type === INTERIOR_TABLE) return { rows, damaged }
    for (const at of this.#cells(bytes, page)) {
      const row = this.#row(bytes, at, type)
      if (row === undefined) damaged += 1
      else rows.push(row)
    }
    return { rows, damaged }
  }

  #read(page: number): Buffer | undefined {
    if (page < 1 || page > this.count) return undefined
    const bytes = Buffer.alloc(this.#pageSize)
    const read = readSync(this.#file, bytes, 0, this.#pageSize, (page - 1) * this.#pageSize)
    return read === this.#pageSize ? bytes : undefined
  }

  *#cells(bytes: Buffer, page: number): Generator<number> {
    const start = startOf(page)
    const type = bytes[start]!
    const count = bytes.readUInt16BE(start + 3)
    const pointers = start + (type === INTERIOR_TABLE || type === INTERIOR_INDEX ? 12 : 8)
    for (let i = 0; i < count && pointers + 2 * i + 2 <= this.#usable; i++) {
      const at = bytes.readUInt16BE(pointers + 2 * i)
      if (at >= pointers && at + 4 <= this.#usable) yield at
    }
  }

  #row(bytes: Buffer, cell: number, type: number): StoredRow | undefined {
    let at = type === INTERIOR_INDEX ? cell + 4 : cell
    const size = varint(bytes, at)
    if (size === undefined) return undefined
    at = size.end
    let id: bigint | undefined
    if (type === LEAF_TABLE) {
      const key = varint(bytes, at)
      if (key === undefined) return undefined
      id = BigInt.asIntN(64, key.value)
      at = key.end
    }
    const payload = this.#payload(bytes, at, Number(size.value), type === LEAF_TABLE)
    const values = payload && record(payload)
    return values && { id, values }
  }

  /** With what overflows into other pages, section 1.6 "Cell payload overflow pages". */
  #payload(bytes: Buffer, at: number, size: number, isTable: boolean): Buffer | undefined {
    const usable = this.#usable
    if (size > usable * this.count) return undefined
    const most = isTable ? usable - 35 : Math.floor(((usable - 12) * 64) / 255) - 23
    if (size <= most) return at + size <= usable ? bytes.subarray(at, at + size) : undefined
    const least = Math.floor(((usable - 12) * 32) / 255) - 23
    const fitting = least + ((size - least) % (usable - 4))
    const local = fitting <= most ? fitting : least
    if (at + local + 4 > usable) return undefined
    const parts = [bytes.subarray(at, at + local)]
    let missing = size - local
    const seen = new Set<number>()
    for (let page = bytes.readUInt32BE(at + local); missing > 0; ) {
      const next = seen.has(page) ? undefined : this.#read(page)
      if (next === undefined) return undefined
      seen.add(page)
      const part = next.subarray(4, 4 + Math.min(missing, usable - 4))
      parts.push(part)
      missing -= part.length
      page = next.readUInt32BE(0)
    }
    return Buffer.concat(parts)
  }
}

/** The first page begins with the header of the file. */
function startOf(page: number): number {
  return page === 1 ? 100 : 0
}

function typeOf(bytes: Buffer, page: number): number | undefined {
  const start = startOf(page)
  const type = bytes[start]!
  if (![INTERIOR_INDEX, INTERIOR_TABLE, LEAF_INDEX, LEAF_TABLE].includes(type)) return undefined
  const header = type === INTERIOR_INDEX || type === INTERIOR_TABLE ? 12 : 8
  return start + header + 2 * bytes.readUInt16BE(start + 3) <= bytes.length ? type : undefined
}

/** Big-endian, seven bits a byte, eight in the ninth. */
function varint(bytes: Buffer, start: number): { readonly value: bigint; readonly end: number } | undefined {
  let value = 0n
  for (let i = 0; i < 9; i++) {
    const byte = bytes[start + i]
    if (byte === undefined) return undefined
    if (i === 8) return { value: (value << 8n) | BigInt(byte), end: start + 9 }
    value = (value << 7n) | BigInt(byte & 0x7f)
    if (byte < 0x80) return { value, end: start + i + 1 }
  }
  return undefined
}

/** Undefined unless all of it fits together: the lengths that the header says must come to exactly what is there. */
function record(payload: Buffer): StoredValue[] | undefined {
  const headerSize = varint(payload, 0)
  if (headerSize === undefined || headerSize.value > BigInt(payload.length)) return undefined
  const types: number[] = []
  let at = headerSize.end
  while (at < Number(headerSize.value)) {
    const type = varint(payload, at)
    if (type === undefined || types.length === MOST_COLUMNS) return undefined
    types.push(Number(type.value))
    at = type.end
  }
  if (at !== Number(headerSize.value)) return undefined
  const values: StoredValue[] = []
  for (const type of types) {
    const length = lengthOf(type)
    if (length === undefined || at + length > payload.length) return undefined
    values.push(storedValue(type, payload.subarray(at, at + length)))
    at += length
  }
  return at === payload.length ? values : undefined
}

/** Section 2.1: serial types. */
function lengthOf(type: number): number | undefined {
  if (type >= 12) return Math.floor((type - 12) / 2)
  return [0, 1, 2, 3, 4, 6, 8, 8, 0, 0][type]
}

function storedValue(type: number, bytes: Buffer): StoredValue {
  if (type === 0) return null
  if (type === 7) return bytes.readDoubleBE(0)
  if (type === 8 || type === 9) return BigInt(type - 8)
  if (type >= 12) return type % 2 === 0 ? new Uint8Array(bytes) : { text: Buffer.from(bytes) }
  let value = 0n
  for (const byte of bytes) value = (value << 8n) | BigInt(byte)
  return BigInt.asIntN(8 * bytes.length, value)
}
