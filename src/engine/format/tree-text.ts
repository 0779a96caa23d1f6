const text = (value: string): Uint8Array => Buffer.from(value, 'latin1')

/** What stands before and after the nodes of a tree that `encodeTree` or restic wrote. */
export const OPENING = '{"nodes":['
export const CLOSING = ']}\n'
export const TREE_OPENING = text(OPENING)
export const TREE_CLOSING = text(CLOSING)

// What stands between the values of a node, in this order, as both write it.
export const NAME = text('{"name":"')
export const TYPES = {
  file: text('","type":"file"'),
  dir: text('","type":"dir"'),
  symlink: text('","type":"symlink"'),
} as const
export const MODE = text(',"mode":')
export const MTIME = text(',"mtime":"')
export const ATIME = text('","atime":"')
export const CTIME = text('","ctime":"')
export const UID = text('","uid":')
export const GID = text(',"gid":')
export const USER = text(',"user":"')
export const GROUP = text(',"group":"')
export const INODE = text(',"inode":')
export const DEVICE_ID = text(',"device_id":')
export const SIZE = text(',"size":')
export const LINKS = text(',"links":')
export const LINK_TARGET = text(',"linktarget":"')
export const CONTENT = text(',"content":[')
export const NO_CONTENT = text(',"content":null')
export const SUBTREE = text(',"subtree":"')
