import {
  chmodSync,
  closeSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { setExtendedAttribute } from '../../src/engine/os/extended-attributes.ts'
import { makeDevice, makeFifo } from '../../src/engine/os/nodes.ts'
import { setTimes } from '../../src/engine/os/times.ts'
import { randomBytes } from './random-bytes.ts'

const KIB = 1024
const MIB = 1024 * KIB

/** Names that some program somewhere gets wrong, as `latin1` text of their bytes. */
const ODD_NAMES: readonly string[] = [
  ' ',
  ' leading and trailing ',
  '-rf',
  '...',
  '"quoted"',
  "it's",
  'back\\slash',
  'back\\x41slash',
  'new\nline',
  'tab\tbell\x07escape\x1b[31m\x7f',
  '<html>&amp;',
  '$(touch x)`y`',
  '*?[a-z]',
  '\xff\xfe', // no UTF-8 at all
  'half\xc3', // cut in the middle
  '\xed\xa0\x80', // a surrogate
  '\xc0\xaf', // a slash, overlong
  ...[
    'ünïcödé',
    'u\u0308', // decomposed
    'ü', // composed: another name
    '漢字',
    '😀',
    '\uffff',
    '\ufffd',
    'zero\u200bwidth',
    'no\u00a0break',
    'right\u202eleft',
    '\u2028',
    '\ue000', // private use, sorts behind emoji in UTF-16 and before them in bytes
    '\u{1fadf}', // printable since Unicode 16
    '\u{10ffff}',
    'x'.repeat(255),
  ].map((name) => Buffer.from(name).toString('latin1')),
]

export interface OddTreeOptions {
  /** With the two links of which restic 0.14 stores less than there is: see `LOSSY_LINKS`. */
  readonly lossyLinks?: boolean
}

/** Restic 0.14 replaces what is no text in a link's target, and gives the attributes of a link to the file it leads to. */
export const LOSSY_LINKS: readonly string[] = [
  'links/to no text',
  'attributes/attributed link',
  'attributes/where the link leads',
]

/**
 * Fills a new folder with every kind of file that Linux has, under odd names, with odd modes, owners, times and
 * attributes. Sockets are missing: no backup keeps them. Needs root and a file system with extended attributes.
 */
export function makeOddTree(folder: string, { lossyLinks = true }: OddTreeOptions = {}): void {
  mkdirSync(folder)
  const at = (name: string) => Buffer.from(`${folder}/${name}`)
  const dir = (name: string) => mkdirSync(at(name))
  const file = (name: string, content: Buffer | string = name) => writeFileSync(at(name), content)

  dir('names')
  for (const name of ODD_NAMES) writeFileSync(Buffer.concat([at('names/'), Buffer.from(name, 'latin1')]), name)

  dir('sizes')
  for (const size of [0, 1, 512 * KIB - 1, 512 * KIB, 512 * KIB + 1, 3 * MIB]) {
    file(`sizes/${size}`, randomBytes(size, size))
  }
  file('sizes/8 MiB of one byte', Buffer.alloc(8 * MIB + 1, 'x'))
  file('sizes/looks like a tree', '{"nodes":[]}\n')
  file('sizes/zeros', Buffer.alloc(100_000))
  const sparse = openSync(at('sizes/sparse'), 'w')
  writeSync(sparse, 'in the middle', 10 * MIB + 123)
  ftruncateSync(sparse, 20 * MIB + 1)
  closeSync(sparse)

  dir('links')
  file('links/one of three')
  dir('links/below')
  linkSync(at('links/one of three'), at('links/below/two of three'))
  linkSync(at('links/one of three'), at('names/three of three'))
  symlinkSync('one of three', at('links/to a file'))
  symlinkSync('/nowhere/at/all', at('links/dangling'))
  if (lossyLinks) symlinkSync(Buffer.from('\xff\xc3 \n<', 'latin1'), at('links/to no text'))
  symlinkSync('x/'.repeat(1000), at('links/far'))
  symlinkSync('..', at('links/up'))
  lchownSync(at('links/dangling'), 12345, 54321)
  setTimes(at('links/dangling'), 1n, 1_000_000_001n)

  dir('special')
  makeFifo(at('special/fifo'), 0o600)
  makeDevice(at('special/char'), 'char', 0o600, 0x103n) // like /dev/null
  makeDevice(at('special/block'), 'block', 0o600, (7n << 8n) | 255n)
  makeDevice(at('special/high numbers'), 'char', 0o600, 0x123abc45n) // major 0xabc, minor 0x12345
  linkSync(at('special/char'), at('special/second link to a device'))

  dir('modes')
  for (const mode of [0o0, 0o444, 0o4755, 0o2755, 0o1644, 0o6711, 0o777]) {
    file(`modes/${mode.toString(8)}`)
    chmodSync(at(`modes/${mode.toString(8)}`), mode)
  }
  for (const mode of [0o1777, 0o2775, 0o555, 0o0]) {
    dir(`modes/folder ${mode.toString(8)}`)
    file(`modes/folder ${mode.toString(8)}/file`)
    chmodSync(at(`modes/folder ${mode.toString(8)}`), mode)
  }
  for (const [uid, gid] of [
    [0, 0],
    [1, 2],
    [12345, 54321],
    [4_294_967_294, 4_294_967_294],
  ] as const) {
    file(`modes/${uid}:${gid}`)
    lchownSync(at(`modes/${uid}:${gid}`), uid, gid)
    chmodSync(at(`modes/${uid}:${gid}`), 0o4755)
  }

  dir('attributes')
  file('attributes/user')
  setExtendedAttribute(at('attributes/user'), 'user.text', Buffer.from('täxt'))
  setExtendedAttribute(at('attributes/user'), 'user.bytes', Buffer.from([0, 255, 10]))
  setExtendedAttribute(at('attributes/user'), 'user.empty', Buffer.alloc(0))
  setExtendedAttribute(at('attributes/user'), 'user.a<b>&"c\\', Buffer.from('odd name'))
  setExtendedAttribute(at('attributes/user'), 'trusted.seen', Buffer.from('by root alone'))
  chmodSync(at('attributes/user'), 0o400)
  file('attributes/capable')
  setExtendedAttribute(at('attributes/capable'), 'security.capability', NET_BIND_SERVICE)
  file('attributes/listed')
  chmodSync(at('attributes/listed'), 0o4640)
  setExtendedAttribute(at('attributes/listed'), 'system.posix_acl_access', accessList(12345))
  dir('attributes/hands down')
  setExtendedAttribute(at('attributes/hands down'), 'system.posix_acl_default', accessList(23456))
  setExtendedAttribute(at('attributes/hands down'), 'user.of a folder', Buffer.from('yes'))
  file('attributes/hands down/inherits')
  if (lossyLinks) {
    file('attributes/where the link leads')
    symlinkSync('where the link leads', at('attributes/attributed link'))
    setExtendedAttribute(at('attributes/attributed link'), 'trusted.of a link', Buffer.from('yes'))
  }

  dir('empty folder')
  mkdirSync(at(`deep${'/deeper'.repeat(60)}`), { recursive: true })
  file(`deep${'/deeper'.repeat(60)}/file`)
  dir('many')
  for (let i = 0; i < 500; i++) file(`many/${i}`)

  dir('times')
  for (const ns of TIMES) {
    file(`times/${ns}`)
    setTimes(at(`times/${ns}`), ns, ns)
  }
  dir('times/folder')
  file('times/folder/younger')
  setTimes(at('times/folder'), 0n, -1n)
  setTimes(at('times'), 0n, 123_456_789_987_654_321n)
}

const TIMES: readonly bigint[] = [
  0n,
  1n,
  -1n,
  -1_000_000_001n,
  -1_000_000_000_500_000_000n, // 1938
  1_234_567_890_123_456_789n,
  1_467_324_900_000_000_000n, // summer time
  4_102_444_800_000_000_001n, // 2100
]

/** CAP_NET_BIND_SERVICE, effective and permitted (struct vfs_cap_data, version 2). */
const NET_BIND_SERVICE = Buffer.from('0100000200040000000000000000000000000000', 'hex')

/** rwx for the owner, r-- for one user, r-x for the group, r-x as mask, nothing for others (acl(5), linux/posix_acl_xattr.h). */
function accessList(uid: number): Buffer {
  const NOBODY = 0xffff_ffff
  const entries = [
    [0x01, 6, NOBODY],
    [0x02, 4, uid],
    [0x04, 5, NOBODY],
    [0x10, 4, NOBODY],
    [0x20, 0, NOBODY],
  ] as const
  const list = Buffer.alloc(4 + 8 * entries.length)
  list.writeUInt32LE(2)
  for (const [i, [tag, permissions, id]] of entries.entries()) {
    list.writeUInt16LE(tag, 4 + 8 * i)
    list.writeUInt16LE(permissions, 6 + 8 * i)
    list.writeUInt32LE(id, 8 + 8 * i)
  }
  return list
}
