import { createHash } from 'node:crypto'
import { type BigIntStats, closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs'
import { listExtendedAttributes } from '../../src/engine/os/extended-attributes.ts'

export interface DescribeOptions {
  /** Leaves an entry out, with all below it; told its path below the folder. */
  readonly without?: (path: string) => boolean
  /** How many links a file has, also outside the tree. Off where only a part of a tree was restored. */
  readonly linkCounts?: boolean
}

/**
 * Everything that a backup promises to bring back, one line for each entry by its path below the folder (`latin1` text of
 * the bytes; '' is the folder itself): type, mode, owner, times to the nanosecond, content, target of a link, device, extended
 * attributes, and which names are links to one file. No access and change times, which no restore can or should set.
 */
export function describeTree(
  folder: string,
  { without, linkCounts = true }: DescribeOptions = {},
): Map<string, string> {
  const lines = new Map<string, string>()
  const firstLinks = new Map<string, string>()
  const visit = (path: Buffer, shown: string) => {
    if (without?.(shown)) return
    const stats = lstatSync(path, { bigint: true })
    let line = describeEntry(path, stats)
    if (stats.isFile() && stats.nlink > 1n) {
      const key = `${stats.dev}:${stats.ino}`
      if (!firstLinks.has(key)) firstLinks.set(key, shown)
      // Where only a part is looked at, the others may lie elsewhere: the first that is seen is like a file of its own.
      if (linkCounts || firstLinks.get(key) !== shown) line += ` same as ${JSON.stringify(firstLinks.get(key))}`
      if (linkCounts) line += ` of ${stats.nlink}`
    }
    lines.set(shown, line)
    if (!stats.isDirectory()) return
    const names = readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare)
    for (const name of names) {
      visit(Buffer.concat([path, Buffer.from('/'), name]), `${shown}${shown && '/'}${name.toString('latin1')}`)
    }
  }
  visit(Buffer.from(folder), '')
  return lines
}

/** What differs between two trees, one line for each entry; none when they are equal. */
export function compareTrees(expected: string, found: string, options: DescribeOptions = {}): string[] {
  return compareDescriptions(describeTree(expected, options), describeTree(found, options))
}

export function compareDescriptions(
  expected: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string>,
): string[] {
  const paths = [...new Set([...expected.keys(), ...found.keys()])]
  return paths
    .filter((path) => expected.get(path) !== found.get(path))
    .map(
      (path) =>
        `${JSON.stringify(path)}\n  expected ${expected.get(path) ?? 'nothing'}\n  found    ${found.get(path) ?? 'nothing'}`,
    )
}

function describeEntry(path: Buffer, stats: BigIntStats): string {
  const parts = [`mode ${stats.mode.toString(8)}`, `owner ${stats.uid}:${stats.gid}`, `mtime ${stats.mtimeNs}`]
  if (stats.isFile()) parts.push(`${stats.size} bytes`, hashFile(path))
  if (stats.isSymbolicLink()) parts.push(`to ${readlinkSync(path, { encoding: 'buffer' }).toString('latin1')}`)
  if (stats.isBlockDevice() || stats.isCharacterDevice()) parts.push(`device ${stats.rdev}`)
  for (const { name, value } of listExtendedAttributes(path)) {
    if (name !== 'security.selinux') parts.push(`${name}=${value.toString('base64')}`)
  }
  return parts.join(' ')
}

const buffer = Buffer.allocUnsafe(1 << 20)

function hashFile(path: Buffer): string {
  const hash = createHash('sha256')
  const fd = openSync(path, 'r')
  try {
    for (let count = readSync(fd, buffer); count > 0; count = readSync(fd, buffer))
      hash.update(buffer.subarray(0, count))
  } finally {
    closeSync(fd)
  }
  return hash.digest('hex').slice(0, 32)
}
