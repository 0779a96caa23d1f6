import { isUtf8 } from 'node:buffer'
import type { BlobId } from './id.ts'
import { escapeGoJson, goJsonString, parseJson } from './json.ts'
import {
  asId,
  asObject,
  base64Field,
  idField,
  type JsonObject,
  listField,
  MAX_UINT32,
  type Place,
  textField,
  timeField,
  unexpected,
  unsigned64Field,
  unsignedField,
} from './json-fields.ts'
import { elementSpans, memberSpan, type Span } from './json-spans.ts'
import { mapUtf8 } from './map-utf8.ts'
import { quoteName, unquoteName } from './quote.ts'
import { scanTree } from './scan-tree.ts'
import { formatTimestamp, type Timestamp } from './timestamp.ts'
import { type ExtendedAttribute, NODE_TYPES, type NodeType, type TreeNode } from './tree-node.ts'
import { CLOSING, OPENING, TREE_CLOSING, TREE_OPENING } from './tree-text.ts'

/** Encoded text is turned into bytes in pieces of this size: a string ends at 512 MiB, a large directory need not. */
const PIECE = 1 << 20
/** Larger trees are parsed in batches of about this size. Far below what a string holds, far above what directories need. */
const BATCH = 64 << 20
const NO_ATTRIBUTES: readonly ExtendedAttribute[] = []
const COMMA = 0x2c

/**
 * The bytes of a tree blob, the same that restic writes for these nodes, so that its ID is the same too: a fixed order of keys,
 * no white space but the final line feed, what is zero or empty left out.
 *
 * The nodes come in strictly increasing order of their raw names; anything else is the caller's mistake and throws a `RangeError`.
 */
export function encodeTree(nodes: readonly TreeNode[]): Buffer {
  const pieces: Buffer[] = []
  let text = OPENING
  let previous: Buffer | undefined
  for (const node of nodes) {
    assertFollows(node.name, previous)
    if (previous !== undefined) text += ','
    text += nodeText(node)
    previous = node.name
    if (text.length >= PIECE) {
      pieces.push(Buffer.from(text, 'utf8'))
      text = ''
    }
  }
  pieces.push(Buffer.from(text + CLOSING, 'utf8'))
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
}

/** What `encodeTree` makes of a single node: its part of the list. */
export function encodeNode(node: TreeNode): Buffer {
  return Buffer.from(nodeText(node), 'utf8')
}

/** The bytes of a node, wherever they stand. */
export interface NodeBytes {
  readonly length: number
  copyTo(tree: Buffer, at: number): void
}

/** The tree of nodes that are encoded already, in the order of their names, which nobody looks at here. */
export function joinNodes(nodes: readonly NodeBytes[]): Buffer {
  let size = TREE_OPENING.length + TREE_CLOSING.length + Math.max(0, nodes.length - 1)
  for (const { length } of nodes) size += length
  const tree = Buffer.allocUnsafeSlow(size)
  tree.set(TREE_OPENING)
  let at = TREE_OPENING.length
  for (let i = 0; i < nodes.length; i++) {
    if (i > 0) tree[at++] = COMMA
    nodes[i]!.copyTo(tree, at)
    at += nodes[i]!.length
  }
  tree.set(TREE_CLOSING, at)
  return tree
}

function assertFollows(name: Buffer, previous: Buffer | undefined): void {
  if (name.length === 0) throw new RangeError('Cannot encode tree: a node has an empty name')
  if (previous !== undefined && Buffer.compare(previous, name) >= 0) {
    throw new RangeError(
      `Cannot encode tree: "${quoteName(name)}" comes after "${quoteName(previous)}", expected strictly increasing names`,
    )
  }
}

function nodeText(node: TreeNode): string {
  const mtime = formatTimestamp(node.mtime)
  // The three are often equal, and formatting them is the dearest part of a node.
  const atime = isSameText(node.atime, node.mtime) ? mtime : formatTimestamp(node.atime)
  const ctime = isSameText(node.ctime, node.mtime) ? mtime : formatTimestamp(node.ctime)
  let text = `{"name":${goJsonString(quoteName(node.name))},"type":"${node.type}"`
  if (node.mode !== 0) text += `,"mode":${node.mode}`
  text += `,"mtime":"${mtime}","atime":"${atime}","ctime":"${ctime}","uid":${node.uid},"gid":${node.gid}`
  if (node.user !== '') text += `,"user":${goJsonString(node.user)}`
  if (node.group !== '') text += `,"group":${goJsonString(node.group)}`
  if (node.inode !== 0n) text += `,"inode":${node.inode}`
  if (node.deviceId !== 0n) text += `,"device_id":${node.deviceId}`
  if (node.size !== 0) text += `,"size":${node.size}`
  if (node.links !== 0) text += `,"links":${node.links}`
  if (node.linkTarget !== undefined) text += linkTargetText(node.linkTarget)
  text += attributesText(node.extendedAttributes)
  if (node.genericAttributes !== undefined) text += `,"generic_attributes":${node.genericAttributes}`
  if (node.device !== 0n) text += `,"device":${node.device}`
  text += `,"content":${encodeContent(node.content)}`
  if (node.subtree !== undefined) text += `,"subtree":"${node.subtree}"`
  return `${text}}`
}

function isSameText(a: Timestamp, b: Timestamp): boolean {
  return a.ns === b.ns && a.offset === b.offset
}

/** The member of a node that says where a symbolic link points to, with the comma before it. */
export function linkTargetText(target: Buffer): string {
  if (target.length === 0) return ''
  if (isUtf8(target)) return `,"linktarget":${goJsonString(target.toString('utf8'))}`
  const readable = mapUtf8(target, escapeGoJson, () => '\\ufffd')
  return `,"linktarget":"${readable}","linktarget_raw":"${target.toString('base64')}"`
}

/** The member of a node that lists its extended attributes, with the comma before it. */
export function attributesText(attributes: readonly ExtendedAttribute[]): string {
  return attributes.length === 0 ? '' : `,"extended_attributes":[${attributes.map(encodeAttribute).join(',')}]`
}

function encodeAttribute({ name, value }: ExtendedAttribute): string {
  return `{"name":${goJsonString(name)},"value":"${value.toString('base64')}"}`
}

function encodeContent(content: readonly BlobId[] | undefined): string {
  if (content === undefined) return 'null'
  return content.length === 0 ? '[]' : `["${content.join('","')}"]`
}

/**
 * Reads a tree blob. Keys must match exactly, unknown ones are ignored; neither order nor uniqueness of names is asserted, nor that
 * a name is usable, nor that a file has content or a directory a subtree: checking and restoring differ in what they make of that.
 *
 * Throws `CORRUPT`, with the place in the facts, for anything that is no tree, also for a node with an empty name or of an unknown
 * type; `UNSUPPORTED` when a single node is longer than a JavaScript string can be.
 */
export function parseTree(bytes: Buffer): TreeNode[] {
  return scanTree(bytes) ?? parseTreeText(bytes)
}

/** The same by way of JSON, whatever form it has. */
export function parseTreeText(bytes: Buffer): TreeNode[] {
  return bytes.length > BATCH ? parseLargeTree(bytes, BATCH) : parseSmallTree(bytes)
}

/** Reads one node as it stands in the list of a tree. Throws as `parseTree`. */
export function parseNodeBytes(bytes: Uint8Array): TreeNode {
  const [node] = parseTree(joinNodes([{ length: bytes.length, copyTo: (tree, at) => tree.set(bytes, at) }]))
  if (node === undefined) throw unexpected({ what: 'tree' }, 'nodes', '', 'a node')
  return node
}

function parseSmallTree(bytes: Buffer): TreeNode[] {
  const root = asObject(parseJson(bytes, 'tree'), { what: 'tree' })
  if (!Array.isArray(root.nodes)) throw unexpected({ what: 'tree' }, 'nodes', root.nodes, 'a list')
  return parseNodes(root.nodes, bytes, () => memberSpan(bytes, { start: 0, end: bytes.length }, 'nodes')!, 0)
}

/** Parses a tree that has the outer form which `encodeTree` and restic write, in batches of about `batch` bytes. Exported for its test. */
export function parseLargeTree(bytes: Buffer, batch: number): TreeNode[] {
  const opening = bytes.toString('latin1', 0, OPENING.length)
  const closing = bytes.toString('latin1', bytes.length - CLOSING.length)
  if (opening !== OPENING || closing !== CLOSING) {
    throw unexpected({ what: 'tree' }, '', `${opening}…${closing}`, `${OPENING}…${CLOSING.trim()} and a line feed`)
  }

  const nodes: TreeNode[] = []
  const parseBatch = (start: number, end: number) => {
    const list = Buffer.concat([Buffer.from('['), bytes.subarray(start, end), Buffer.from(']')])
    const values = parseJson(list, 'tree') as unknown[]
    // Not pushed as arguments: there may be more of them than the stack takes.
    for (const node of parseNodes(values, list, () => ({ start: 0, end: list.length }), nodes.length)) nodes.push(node)
  }
  let from: number | undefined
  let to = OPENING.length
  for (const span of elementSpans(bytes, { start: OPENING.length - 1, end: bytes.length - CLOSING.length + 1 })) {
    from ??= span.start
    to = span.end
    if (to - from >= batch) {
      parseBatch(from, to)
      from = undefined
    }
  }
  // To the very end: what stands behind the last node, such as a comma, is no JSON.
  const end = bytes.length - CLOSING.length
  if (from !== undefined) parseBatch(from, end)
  else if (bytes.toString('latin1', to, end).trim() !== '')
    throw unexpected({ what: 'tree' }, 'nodes', undefined, 'a node')
  return nodes
}

/** `list` says where in the bytes the list of nodes stands; `first` is the index of the first of them in the whole tree. */
function parseNodes(values: readonly unknown[], bytes: Buffer, list: () => Span, first: number): TreeNode[] {
  let spans: Span[] | undefined
  return values.map((value, index) => {
    const place: Place = { what: 'tree', list: 'nodes', index: first + index }
    return parseNode(asObject(value, place), place, (key) => {
      spans ??= [...elementSpans(bytes, list())]
      const member = memberSpan(bytes, spans[index]!, key)
      if (member === undefined) throw unexpected(place, key, undefined, 'an object')
      return bytes.toString('utf8', member.start, member.end)
    })
  })
}

function parseNode(node: JsonObject, place: Place, rawMember: (key: string) => string): TreeNode {
  const mtime = timeField(node, 'mtime', place)
  const timeLikeMtime = (key: string) => (node[key] === node.mtime ? mtime : timeField(node, key, place))
  return {
    name: parseName(node, place),
    type: parseType(node, place),
    mode: unsignedField(node, 'mode', place, MAX_UINT32),
    mtime,
    atime: timeLikeMtime('atime'),
    ctime: timeLikeMtime('ctime'),
    uid: unsignedField(node, 'uid', place, MAX_UINT32),
    gid: unsignedField(node, 'gid', place, MAX_UINT32),
    user: textField(node, 'user', place),
    group: textField(node, 'group', place),
    inode: unsigned64Field(node, 'inode', place),
    deviceId: unsigned64Field(node, 'device_id', place),
    size: unsignedField(node, 'size', place),
    links: unsignedField(node, 'links', place),
    linkTarget: parseLinkTarget(node, place),
    extendedAttributes: parseAttributes(node, place),
    genericAttributes: parseGenericAttributes(node, place, rawMember),
    device: unsigned64Field(node, 'device', place),
    content: listField(node, 'content', place)?.map((id) => asId<BlobId>(id, 'content', place)),
    subtree: idField<BlobId>(node, 'subtree', place),
  }
}

function parseName(node: JsonObject, place: Place): Buffer {
  const quoted = textField(node, 'name', place)
  if (quoted === '') throw unexpected(place, 'name', quoted, 'a name')
  try {
    return unquoteName(quoted)
  } catch (cause) {
    throw unexpected(place, 'name', quoted, 'a quoted name', cause)
  }
}

function parseType(node: JsonObject, place: Place): NodeType {
  const type = NODE_TYPES.find((known) => known === node.type)
  if (type === undefined) throw unexpected(place, 'type', node.type, `one of ${NODE_TYPES.join(', ')}`)
  return type
}

function parseLinkTarget(node: JsonObject, place: Place): Buffer | undefined {
  const raw = base64Field(node, 'linktarget_raw', place)
  if (raw !== undefined) return raw
  const text = textField(node, 'linktarget', place)
  return text === '' ? undefined : Buffer.from(text, 'utf8')
}

function parseAttributes(node: JsonObject, place: Place): readonly ExtendedAttribute[] {
  const values = listField(node, 'extended_attributes', place)
  if (values === undefined || values.length === 0) return NO_ATTRIBUTES
  const list = `${place.list}[${place.index}].extended_attributes`
  return values.map((value, index) => {
    const inside: Place = { what: place.what, list, index }
    const attribute = asObject(value, inside)
    return {
      name: textField(attribute, 'name', inside),
      value: base64Field(attribute, 'value', inside) ?? Buffer.alloc(0),
    }
  })
}

function parseGenericAttributes(
  node: JsonObject,
  place: Place,
  rawMember: (key: string) => string,
): string | undefined {
  const value = node.generic_attributes ?? undefined
  if (value === undefined) return undefined
  if (typeof value !== 'object' || Array.isArray(value))
    throw unexpected(place, 'generic_attributes', value, 'an object')
  return Object.keys(value).length === 0 ? undefined : rawMember('generic_attributes')
}
