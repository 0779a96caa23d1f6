// Modes in trees are Go's, whose permission bits are those of Unix while everything else lies elsewhere.

const DIRECTORY = 0x8000_0000
const SYMLINK = 0x0800_0000
const DEVICE = 0x0400_0000
const NAMED_PIPE = 0x0200_0000
const SOCKET = 0x0100_0000
const SETUID = 0x0080_0000
const SETGID = 0x0040_0000
const CHARACTER_DEVICE = 0x0020_0000
const STICKY = 0x0010_0000

const UNIX_TYPE_MASK = 0o170000
const UNIX_SETUID = 0o4000
const UNIX_SETGID = 0o2000
const UNIX_STICKY = 0o1000

/** Type bits by the `S_IFMT` part of `st_mode` (inode(7)); a regular file has none. */
const GO_TYPES: ReadonlyMap<number, number> = new Map([
  [0o040000, DIRECTORY],
  [0o120000, SYMLINK],
  [0o060000, DEVICE],
  [0o020000, DEVICE + CHARACTER_DEVICE],
  [0o010000, NAMED_PIPE],
  [0o140000, SOCKET],
])

/** The `st_mode` of lstat(2) as an unsigned Go mode, type bits included. */
export function goMode(statMode: number): number {
  let mode = (GO_TYPES.get(statMode & UNIX_TYPE_MASK) ?? 0) + (statMode & 0o777)
  if (statMode & UNIX_SETUID) mode += SETUID
  if (statMode & UNIX_SETGID) mode += SETGID
  if (statMode & UNIX_STICKY) mode += STICKY
  return mode
}

/** What chmod(2) takes: permissions, setuid, setgid and sticky of a Go mode. */
export function permissions(mode: number): number {
  let unix = mode & 0o777
  if (mode & SETUID) unix |= UNIX_SETUID
  if (mode & SETGID) unix |= UNIX_SETGID
  if (mode & STICKY) unix |= UNIX_STICKY
  return unix
}
