import { extract, type Header, type Pack, pack } from 'tar-stream'
import { ApplicationError } from '../error.ts'

export interface TarEntry {
  /** Without a leading slash; folders without a trailing one. Any bytes but NUL. */
  readonly name: Buffer
  readonly type: 'file' | 'directory' | 'symlink'
  /** Permissions with setuid, setgid and sticky: `0o7777`. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly user: string
  readonly group: string
  readonly mtimeNs: bigint
  readonly size: number
  readonly linkTarget: Buffer | undefined
}

/** An entry as somebody's archive has it: types that we never write, and a name that nobody has checked. */
export interface ForeignTarEntry extends Omit<TarEntry, 'type'> {
  readonly type: TarEntry['type'] | 'link' | 'other'
}

type Content = AsyncIterable<Uint8Array> | undefined

// Headers are ustar. What does not fit there (long or non-ASCII names, parts of a second, large numbers) stands in a pax
// header before it, names that are not UTF-8 in GNU's `L` and `K` entries: tar-stream would change such names, as it
// knows only text. GNU tar, bsdtar and busybox read all of these.

const BLOCK = 512
const NAME_SIZE = 100
const ACCOUNT_SIZE = 31
const OCTAL_6 = 0o777777
const LARGEST_TIME = 0x7fffffffn
const SECOND = 1_000_000_000n
const TYPE_BITS = { file: 0o100000, directory: 0o040000, symlink: 0o120000 }

/** Writes a tar archive. The same entries give the same bytes. Content must have exactly the size announced. */
export async function* packTar(
  entries: AsyncIterable<readonly [entry: TarEntry, content: Content]>,
): AsyncGenerator<Buffer, void, undefined> {
  const archive = pack()
  const writing = writeEntries(archive, entries)
  writing.catch((error: unknown) => archive.destroy(error as Error))
  try {
    for await (const chunk of archive as AsyncIterable<Buffer>) yield chunk
    await writing
  } finally {
    archive.destroy()
    await writing.catch(() => {}) // thrown by the loop above, or the consumer wants no more
  }
}

async function writeEntries(
  archive: Pack,
  entries: AsyncIterable<readonly [entry: TarEntry, content: Content]>,
): Promise<void> {
  for await (const [entry, content] of entries) {
    for (const block of blocksBefore(entry)) archive.push(block)
    await writeEntry(archive, entry, content)
  }
  archive.finalize()
}

async function writeEntry(archive: Pack, entry: TarEntry, content: Content): Promise<void> {
  const seconds = entry.mtimeNs / SECOND
  const headers: Partial<Header> & { name: string } = {
    name: fitting(entry.type === 'directory' ? Buffer.concat([entry.name, Buffer.from('/')]) : entry.name),
    type: entry.type,
    // With its type bits, or tar-stream takes mode 0 as "not given" and writes 0644.
    mode: TYPE_BITS[entry.type] | entry.mode,
    uid: Math.min(entry.uid, OCTAL_6),
    gid: Math.min(entry.gid, OCTAL_6),
    uname: fits(entry.user) ? entry.user : '',
    gname: fits(entry.group) ? entry.group : '',
    mtime: new Date(seconds < 0n || seconds > LARGEST_TIME ? 0 : Number(seconds) * 1000),
    size: entry.size,
    ...(entry.linkTarget === undefined ? {} : { linkname: fitting(entry.linkTarget) }),
  }
  const written = Promise.withResolvers<void>()
  const sink = archive.entry(headers, (error) => (error ? written.reject(error) : written.resolve()))
  sink.on('error', (error) => written.reject(error))
  written.promise.catch(() => {}) // may fail while content is awaited; thrown at the end
  const drained = drainOf(sink)
  if (content !== undefined) {
    for await (const chunk of content) if (!sink.write(chunk)) await drained()
  }
  if (entry.type === 'file') sink.end(undefined)
  await written.promise
}

/** What has to stand before the header for everything that it cannot hold. */
function* blocksBefore(entry: TarEntry): Generator<Buffer> {
  const name = entry.type === 'directory' ? Buffer.concat([entry.name, Buffer.from('/')]) : entry.name
  const records: (readonly [key: string, value: Buffer])[] = []
  if (!isText(name)) yield extraEntry('L', Buffer.concat([name, Buffer.of(0)]))
  else if (!isPlain(name)) records.push(['path', name])
  if (entry.linkTarget !== undefined) {
    if (!isText(entry.linkTarget)) yield extraEntry('K', Buffer.concat([entry.linkTarget, Buffer.of(0)]))
    else if (!isPlain(entry.linkTarget)) records.push(['linkpath', entry.linkTarget])
  }
  if (entry.mtimeNs % SECOND !== 0n || entry.mtimeNs < 0n || entry.mtimeNs / SECOND > LARGEST_TIME) {
    records.push(['mtime', Buffer.from(paxTime(entry.mtimeNs))])
  }
  if (entry.uid > OCTAL_6) records.push(['uid', Buffer.from(String(entry.uid))])
  if (entry.gid > OCTAL_6) records.push(['gid', Buffer.from(String(entry.gid))])
  if (!fits(entry.user)) records.push(['uname', Buffer.from(entry.user)])
  if (!fits(entry.group)) records.push(['gname', Buffer.from(entry.group)])
  if (records.length > 0) yield extraEntry('x', Buffer.concat(records.map(([key, value]) => paxRecord(key, value))))
}

function extraEntry(type: 'L' | 'K' | 'x', content: Buffer): Buffer {
  const header = Buffer.alloc(BLOCK)
  header.write(type === 'x' ? 'PaxHeader' : '././@LongLink', 0)
  header.write('0000644\0', 100)
  header.write('0000000\0', 108)
  header.write('0000000\0', 116)
  header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124)
  header.write('00000000000\0', 136)
  header.write('        ', 148) // the checksum counts itself as blanks
  header.write(type, 156)
  header.write(type === 'x' ? 'ustar\x0000' : 'ustar  \0', 257)
  const checksum = header.reduce((sum, octet) => sum + octet, 0)
  header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148)
  return Buffer.concat([header, content, Buffer.alloc(-content.length & (BLOCK - 1))])
}

/** `LENGTH KEY=VALUE\n`, where the length counts its own digits. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')])
  let length = rest.length + 1
  while (String(length).length + rest.length !== length) length = rest.length + String(length).length
  return Buffer.concat([Buffer.from(String(length)), rest])
}

function paxTime(ns: bigint): string {
  const sign = ns < 0n ? '-' : ''
  const magnitude = ns < 0n ? -ns : ns
  const fraction = String(magnitude % SECOND)
    .padStart(9, '0')
    .replace(/0+$/, '')
  return `${sign}${magnitude / SECOND}${fraction === '' ? '' : `.${fraction}`}`
}

function isText(name: Buffer): boolean {
  return Buffer.from(name.toString('utf8')).equals(name)
}

function isPlain(name: Buffer): boolean {
  return name.length <= NAME_SIZE && name.every((octet) => octet < 0x80)
}

/** A name for the header itself, which readers replace by the one before it where it is cut. */
function fitting(name: Buffer): string {
  return name
    .subarray(0, NAME_SIZE)
    .toString('latin1')
    .replace(/[\x80-\xff]/g, '_')
}

function fits(account: string): boolean {
  return account.length <= ACCOUNT_SIZE && /^[\x20-\x7e]*$/.test(account)
}

/**
 * Reads a tar archive, also those of others (ustar, pax, GNU). Content that is not read is passed over; it is gone when the
 * next entry is asked for. Names are as the archive has them: who writes files by them checks them first.
 * Throws `SEAL` when it is not an archive or ends too early; an error of the source as it is.
 */
export async function* unpackTar(
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<readonly [entry: ForeignTarEntry, content: AsyncIterable<Buffer>], void, undefined> {
  const archive = extract({ filenameEncoding: 'latin1' } as Parameters<typeof extract>[0]) // not in its types
  const drained = drainOf(archive)
  let sourceFailure: { readonly error: unknown } | undefined
  let malformed: Error | undefined
  archive.on('error', (error) => {
    malformed ??= error
  })
  async function feed(): Promise<void> {
    try {
      for await (const chunk of bytes) {
        if (archive.destroyed) return
        if (!archive.write(chunk)) await drained()
      }
      archive.end(undefined)
    } catch (error) {
      sourceFailure = { error }
      archive.destroy(error as Error)
    }
  }
  /** Whatever the streams say when they go down together, the first reason counts. */
  function reason(error: unknown): unknown {
    if (sourceFailure !== undefined) return sourceFailure.error
    if (error instanceof ApplicationError) return error
    const cause = malformed ?? (error as Error)
    return new ApplicationError('SEAL', `Cannot read the archive: ${cause.message}`, { cause })
  }
  async function* contentOf(entry: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    try {
      yield* entry
    } catch (error) {
      throw reason(error)
    }
  }

  const feeding = feed()
  const entries = archive[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = await entries.next().catch((error: unknown) => {
        throw reason(error)
      })
      if (next.done) break
      const stream = next.value
      yield [foreignEntry(stream.header as ReadHeaders), contentOf(stream as AsyncIterable<Buffer>)] as const
      stream.resume()
    }
    await feeding
    if (sourceFailure !== undefined) throw reason(undefined)
  } finally {
    archive.destroy()
    await feeding
  }
}

/** Resolves at the next `drain`, and from `close` on always. One listener each, as large files drain often. */
function drainOf(stream: { on(event: 'drain' | 'close', listener: () => void): unknown }): () => Promise<void> {
  let closed = false
  let wake = (): void => {}
  stream.on('drain', () => wake())
  stream.on('close', () => {
    closed = true
    wake()
  })
  return () =>
    new Promise((resolve) => {
      wake = resolve
      if (closed) resolve()
    })
}

/** tar-stream's `pax` is untyped: the records of the pax header. */
type ReadHeaders = Omit<Header, 'pax'> & { readonly pax: Readonly<Record<string, string>> | null }

function foreignEntry(headers: ReadHeaders): ForeignTarEntry {
  const pax = headers.pax ?? {}
  if (Object.keys(pax).some((key) => key.startsWith('GNU.sparse.'))) {
    throw new ApplicationError('SEAL', `Cannot read the archive: ${headers.name} is stored as a sparse file`, {
      facts: { entry: headers.name },
    })
  }
  const { mode, uid, gid, size } = headers
  const milliseconds = headers.mtime.getTime()
  // Base-256 fields hold up to 95 bits, of which a double loses some.
  if (![mode, uid, gid, size, milliseconds].every(Number.isSafeInteger)) {
    throw new ApplicationError('SEAL', `Cannot read the archive: ${headers.name} claims a number that no file has`, {
      facts: { entry: headers.name },
    })
  }
  const name = named(pax.path, headers.name)
  return {
    name: name.at(-1) === 0x2f ? name.subarray(0, -1) : name,
    type: entryType(headers.type),
    mode: mode & 0o7777,
    uid: numberOr(pax.uid, uid),
    gid: numberOr(pax.gid, gid),
    user: pax.uname ?? headers.uname,
    group: pax.gname ?? headers.gname,
    mtimeNs: parsePaxTime(pax.mtime) ?? BigInt(milliseconds) * 1_000_000n,
    size,
    linkTarget: headers.linkname || pax.linkpath ? named(pax.linkpath, headers.linkname ?? '') : undefined,
  }
}

function entryType(type: Header['type']): ForeignTarEntry['type'] {
  if (type === 'file' || type === 'contiguous-file') return 'file'
  return type === 'directory' || type === 'symlink' || type === 'link' ? type : 'other'
}

/** tar-stream decodes pax records as UTF-8, whatever they are, and the other names as we asked it to. */
function named(paxName: string | undefined, name: string): Buffer {
  if (paxName === undefined || paxName === '') return Buffer.from(name, 'latin1')
  if (paxName.includes('\ufffd')) {
    throw new ApplicationError('SEAL', `Cannot read the archive: the name ${JSON.stringify(paxName)} is not UTF-8`, {
      facts: { entry: paxName },
      hint: 'Open it by hand: gpg --decrypt | tar -xz',
    })
  }
  return Buffer.from(paxName)
}

function numberOr(text: string | undefined, fallback: number): number {
  return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : fallback
}

function parsePaxTime(text: string | undefined): bigint | undefined {
  const match = /^(-?)(\d{1,12})(?:\.(\d{1,30}))?$/.exec(text ?? '')
  if (match === null) return undefined
  const ns = BigInt(match[2] as string) * SECOND + BigInt((match[3] ?? '').slice(0, 9).padEnd(9, '0'))
  return match[1] === '-' ? -ns : ns
}
