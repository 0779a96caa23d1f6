import { isUtf8 } from 'node:buffer'
import { permissions } from '../../format/mode.ts'
import type { ExtendedAttribute, TreeNode } from '../../format/tree-node.ts'
import { aclText } from './acl-text.ts'
import type { ArchiveMember, ArchiveSink, WriteBytes } from './archive-sink.ts'

// POSIX tar. A header of 512 bytes (ustar), content, zeros up to the next 512; two blocks of zeros at the end. What does not fit into
// the header stands in a pax header before it:
//
//   path linkpath       names that are longer than 100 bytes or not ASCII
//   mtime atime ctime   with nanoseconds
//   uid gid size        too large for their octal digits
//   uname gname         longer than 31 bytes or not ASCII
//   SCHILY.xattr.NAME   extended attributes, as bytes; SCHILY.acl.access and .default as text
//
// Names that are no UTF-8 stand in GNU's `L` and `K` entries, for pax knows only text. GNU tar, bsdtar and busybox read all of these.

const BLOCK = 512
const NAME_SIZE = 100
const ACCOUNT_SIZE = 31
const OCTAL_7 = 0o7777777
const OCTAL_11 = 0o77777777777
const SECOND = 1_000_000_000n

const TYPE_FLAGS: Readonly<Record<TreeNode['type'], string>> = {
  file: '0',
  symlink: '2',
  chardev: '3',
  dev: '4',
  dir: '5',
  fifo: '6',
  socket: '', // no archive has them
}

export function tarArchive(write: WriteBytes): ArchiveSink {
  return {
    types: new Set(['file', 'dir', 'symlink', 'dev', 'chardev', 'fifo']),
    hasLinks: true,
    longestName: Number.POSITIVE_INFINITY,
    async add(member, content) {
      await write(tarHeader(member))
      let bytes = 0
      for await (const piece of content) {
        await write(piece)
        bytes += piece.length
      }
      if (bytes !== member.size) throw new RangeError(`Expected ${member.size} bytes of content, got ${bytes}`)
      await write(Buffer.alloc(padding(bytes)))
    },
    end: () => write(Buffer.alloc(2 * BLOCK)),
  }
}

/** Exported for its test. */
export function tarHeader({ name, node, size, linkTo }: ArchiveMember): Buffer {
  const path = node.type === 'dir' ? Buffer.concat([name, Buffer.from('/')]) : name
  const target = linkTo ?? node.linkTarget ?? Buffer.alloc(0)
  const blocks: Buffer[] = []
  const records: (readonly [key: string, value: Buffer | string])[] = []
  for (const [value, key, flag] of [
    [path, 'path', 'L'],
    [target, 'linkpath', 'K'],
  ] as const) {
    if (!isUtf8(value)) blocks.push(extraEntry(flag, Buffer.concat([value, Buffer.of(0)])))
    else if (value.length > NAME_SIZE || !isAscii(value)) records.push([key, value])
  }
  records.push(['mtime', paxTime(node.mtime.ns)], ['atime', paxTime(node.atime.ns)], ['ctime', paxTime(node.ctime.ns)])
  if (node.uid > OCTAL_7) records.push(['uid', String(node.uid)])
  if (node.gid > OCTAL_7) records.push(['gid', String(node.gid)])
  if (size > OCTAL_11) records.push(['size', String(size)])
  const [user, group] = [account(node.user), account(node.group)]
  if (!fitsAccount(user)) records.push(['uname', user])
  if (!fitsAccount(group)) records.push(['gname', group])
  if (linkTo === undefined) for (const attribute of node.extendedAttributes) records.push(...attributeRecord(attribute))
  blocks.push(extraEntry('x', Buffer.concat(records.map(([key, value]) => paxRecord(key, value)))))

  const seconds = node.mtime.ns / SECOND
  const isDevice = node.type === 'dev' || node.type === 'chardev'
  const [major, minor] = isDevice ? deviceNumbers(node.device) : [0n, 0n]
  blocks.push(
    headerBlock({
      name: fitting(path),
      mode: permissions(node.mode),
      uid: Math.min(node.uid, OCTAL_7),
      gid: Math.min(node.gid, OCTAL_7),
      size: Math.min(size, OCTAL_11),
      mtime: Number(seconds < 0n ? 0n : seconds > BigInt(OCTAL_11) ? BigInt(OCTAL_11) : seconds),
      flag: linkTo === undefined ? TYPE_FLAGS[node.type] : '1',
      target: fitting(target),
      user: fitsAccount(user) ? user : '',
      group: fitsAccount(group) ? group : '',
      major: Number(major),
      minor: Number(minor),
    }),
  )
  return Buffer.concat(blocks)
}

function headerBlock(fields: {
  readonly name: Buffer
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly mtime: number
  readonly flag: string
  readonly target: Buffer
  readonly user: string
  readonly group: string
  readonly major: number
  readonly minor: number
}): Buffer {
  const block = Buffer.alloc(BLOCK)
  const octal = (value: number, at: number, digits: number) =>
    block.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1')
  fields.name.copy(block, 0)
  octal(fields.mode, 100, 7)
  octal(fields.uid, 108, 7)
  octal(fields.gid, 116, 7)
  octal(fields.size, 124, 11)
  octal(fields.mtime, 136, 11)
  block.write('        ', 148, 'latin1') // the checksum counts itself as blanks
  block.write(fields.flag, 156, 'latin1')
  fields.target.copy(block, 157)
  block.write('ustar\x0000', 257, 'latin1')
  block.write(fields.user, 265, 'latin1')
  block.write(fields.group, 297, 'latin1')
  octal(fields.major & OCTAL_7, 329, 7)
  octal(fields.minor & OCTAL_7, 337, 7)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

function extraEntry(flag: 'L' | 'K' | 'x', content: Buffer): Buffer {
  const header = headerBlock({
    name: Buffer.from(flag === 'x' ? 'PaxHeader' : '././@LongLink'),
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: content.length,
    mtime: 0,
    flag,
    target: Buffer.alloc(0),
    user: '',
    group: '',
    major: 0,
    minor: 0,
  })
  return Buffer.concat([header, content, Buffer.alloc(padding(content.length))])
}

/** `LENGTH KEY=VALUE\n`, where the length counts all of it, itself too. */
function paxRecord(key: string, value: Buffer | string): Buffer {
  const body = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value as string), Buffer.from('\n')])
  let length = body.length
  while (String(length).length + body.length !== length) length = String(length).length + body.length
  return Buffer.concat([Buffer.from(String(length)), body])
}

function attributeRecord({ name, value }: ExtendedAttribute): (readonly [string, Buffer | string])[] {
  if (name === '' || name.includes('\0')) return []
  const acl = /^system\.posix_acl_(access|default)$/.exec(name)?.[1]
  const text = acl === undefined ? undefined : aclText(value)
  if (text !== undefined) return [[`SCHILY.acl.${acl}`, text]]
  // An = would end the key; so GNU tar writes it.
  return [[`SCHILY.xattr.${name.replaceAll('%', '%25').replaceAll('=', '%3D')}`, value]]
}

function paxTime(ns: bigint): string {
  const sign = ns < 0n ? '-' : ''
  const absolute = ns < 0n ? -ns : ns
  const fraction = absolute % SECOND
  if (fraction === 0n) return `${sign}${absolute / SECOND}`
  return `${sign}${absolute / SECOND}.${String(fraction).padStart(9, '0').replace(/0+$/, '')}`
}

/** As Linux packs them into `st_rdev`. */
function deviceNumbers(device: bigint): [major: bigint, minor: bigint] {
  return [
    ((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n),
    (device & 0xffn) | ((device >> 12n) & 0xffffff00n),
  ]
}

/** No name at all where it cannot be one: numbers are there as well. */
function account(name: string): string {
  return name.includes('\0') ? '' : name
}

function fitsAccount(name: string): boolean {
  return name.length <= ACCOUNT_SIZE && isAscii(Buffer.from(name))
}

/** What of a name stands in the header; all of it stands before, where that is not enough. */
function fitting(name: Buffer): Buffer {
  return Buffer.from(name.subarray(0, NAME_SIZE).map((byte) => (byte < 0x80 ? byte : 0x5f)))
}

function isAscii(bytes: Buffer): boolean {
  return bytes.every((byte) => byte < 0x80)
}

function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK
}
