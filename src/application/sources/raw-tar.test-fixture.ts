/** What an honest writer would never put together: a tar archive, block by block. */
export interface RawEntry {
  readonly name: string | Buffer
  readonly type?: string
  readonly content?: Buffer | string
  /** Instead of the content's. */
  readonly size?: number
  readonly linkTarget?: string | Buffer
  readonly mode?: number
  readonly mtime?: number
}

export function rawEntry(entry: RawEntry): Buffer {
  const content = Buffer.from(entry.content ?? '')
  const header = Buffer.alloc(512)
  Buffer.from(entry.name).copy(header, 0, 0, 100)
  header.write(`${(entry.mode ?? 0o644).toString(8).padStart(7, '0')}\0`, 100)
  header.write('0000000\0'.repeat(2), 108)
  const size = entry.size ?? content.length
  if (size >= 8 ** 11) {
    header[124] = 0x80
    header.writeBigUInt64BE(BigInt(size), 128)
  } else header.write(`${size.toString(8).padStart(11, '0')}\0`, 124)
  header.write(`${(entry.mtime ?? 0).toString(8).padStart(11, '0')}\0`, 136)
  header.write(' '.repeat(8), 148)
  header.write(entry.type ?? '0', 156)
  Buffer.from(entry.linkTarget ?? '').copy(header, 157, 0, 100)
  header.write('ustar\x0000', 257)
  const checksum = header.reduce((sum, octet) => sum + octet, 0)
  header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148)
  return Buffer.concat([header, content, Buffer.alloc(-content.length & 511)])
}

export function rawTar(...entries: readonly RawEntry[]): Buffer {
  return Buffer.concat([...entries.map(rawEntry), Buffer.alloc(1024)])
}

export function paxRecords(records: Readonly<Record<string, string | Buffer>>): Buffer {
  const parts = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')])
    let length = rest.length + 1
    while (String(length).length + rest.length !== length) length++
    return Buffer.concat([Buffer.from(String(length)), rest])
  })
  return Buffer.concat(parts)
}
