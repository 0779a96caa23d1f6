import fc from 'fast-check'
import { type BlobId, hashId } from '../../src/engine/format/id.ts'
import type { TreeNode } from '../../src/engine/format/tree-node.ts'

const PLAIN = { noNullPrototype: true }
const time = fc.record(
  {
    ns: fc.oneof(
      fc.bigInt({ min: -62_000_000_000n * 10n ** 9n, max: 253_000_000_000n * 10n ** 9n }),
      fc.integer({ min: 0, max: 2_000_000_000 }).map((seconds) => BigInt(seconds) * 1_000_000_000n),
    ),
    offset: fc.constantFrom(0, 60, 330, -210, 900, -900),
  },
  PLAIN,
)
const bytes = (minLength: number) => fc.uint8Array({ minLength, maxLength: 12 }).map((array) => Buffer.from(array))
export const name = fc.oneof(
  bytes(1),
  fc.string({ minLength: 1, maxLength: 12, unit: 'grapheme' }).map((text) => Buffer.from(text)),
  fc.constantFrom('a', 'b & c', '"', '\\', '<', 'ü', 'file-1.ts').map((text) => Buffer.from(text)),
)
const id = fc.nat({ max: 50 }).map((seed) => hashId<BlobId>(Buffer.from(String(seed))))
const whole = (max: number) => fc.oneof(fc.constant(0), fc.integer({ min: 0, max }))
const attribute = fc.record({ name: fc.string(), value: bytes(0) }, PLAIN)

/** Files, folders and links as they can be found on disk. */
export const node: fc.Arbitrary<TreeNode> = fc
  .record(
    {
      name,
      type: fc.constantFrom('file', 'dir', 'symlink'),
      mode: fc.integer({ min: 1, max: 0xffff_ffff }),
      mtime: time,
      ctime: time,
      uid: whole(0xffff_ffff),
      gid: whole(0xffff_ffff),
      user: fc.constantFrom('', 'root', 'a"b', 'ü'),
      group: fc.constantFrom('', 'root', '<g>'),
      inode: whole(Number.MAX_SAFE_INTEGER).map(BigInt),
      deviceId: whole(Number.MAX_SAFE_INTEGER).map(BigInt),
      size: whole(Number.MAX_SAFE_INTEGER),
      links: whole(100),
      target: bytes(1),
      extendedAttributes: fc.array(attribute, { maxLength: 2 }),
      content: fc.array(id, { maxLength: 3 }),
      subtree: id,
    },
    PLAIN,
  )
  .map(({ type, target, content, subtree, size, links, ...facts }) => ({
    ...facts,
    type,
    atime: facts.mtime,
    size: type === 'file' ? size : 0,
    links: type === 'dir' ? 0 : links,
    linkTarget: type === 'symlink' ? target : undefined,
    genericAttributes: undefined,
    device: 0n,
    content: type === 'file' ? content : undefined,
    subtree: type === 'dir' ? subtree : undefined,
  }))

/** In the order of their names. */
export const tree = fc
  .uniqueArray(node, { selector: (one) => one.name.toString('latin1'), maxLength: 6 })
  .map((nodes) => nodes.sort((a, b) => Buffer.compare(a.name, b.name)))
