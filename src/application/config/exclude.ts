import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { ComponentConfig, Config } from './config.ts'
import { type IgnorePattern, parseIgnorePattern } from './ignore-pattern.ts'

/** Whether an entry, and all that is in it, stays out. `path` is absolute and normalised. */
export type Exclusion = (path: Buffer, isDirectory: boolean) => boolean

/** The same with the path as text, one character for each byte. */
type TextExclusion = (path: string, isDirectory: boolean) => boolean

/**
 * The semantics of gitignore(5): the last pattern that matches decides, `!` takes back, a slash at the beginning or in
 * the middle anchors at `root`, one at the end asks for a folder; nothing below an excluded folder comes back. Names are
 * bytes of any kind and are compared as such, so that `?` is one byte. Case counts.
 *
 * `root` itself is never excluded. To what lies outside of it only patterns apply that are not anchored.
 */
export function createExclusion(patterns: readonly string[], root: string | Buffer): Exclusion {
  const excluded = textExclusion(patterns, root)
  return (path, isDirectory) => excluded(path.toString('latin1'), isDirectory)
}

/** All that the config file leaves out of one component, including what belongs to components inside of it. */
export function componentExclusion(
  config: Pick<Config, 'root' | 'exclude'>,
  component: Pick<ComponentConfig, 'paths' | 'exclude' | 'elsewhere'>,
): Exclusion {
  const everywhere = textExclusion(config.exclude, config.root)
  const elsewhere = new Set(component.elsewhere.map(asText))
  // The longest first: among nested paths of one component, the patterns are relative to the innermost.
  const own = (component.exclude.length === 0 ? [] : [...component.paths])
    .sort((a, b) => b.length - a.length)
    .map((path) => ({ folder: `${asText(path)}/`, excluded: textExclusion(component.exclude, path) }))
  return (path, isDirectory) => {
    const text = path.toString('latin1')
    if (everywhere(text, isDirectory) || elsewhere.has(text)) return true
    for (const { folder, excluded } of own) if (text.startsWith(folder)) return excluded(text, isDirectory)
    return false
  }
}

function textExclusion(patterns: readonly string[], root: string | Buffer): TextExclusion {
  const parsed = patterns.map((pattern) => parseIgnorePattern(asText(pattern))).filter((each) => each !== undefined)
  if (parsed.length === 0) return () => false
  const inside = createMatcher(parsed)
  const outside = createMatcher(parsed.filter(({ anchored }) => !anchored))
  const folder = asText(root).replace(/\/*$/, '/')
  return (path, isDirectory) => {
    if (path.startsWith(folder)) return inside(path.slice(folder.length), isDirectory)
    if (path.length === folder.length - 1 && folder.startsWith(path)) return false
    return outside(path.slice(1), isDirectory)
  }
}

function createMatcher(patterns: readonly IgnorePattern[]): (relative: string, isDirectory: boolean) => boolean {
  // The last pattern that matches decides, so the search begins there.
  const fromLast = [...patterns].reverse()
  // A folder's entries are asked about one after another: what was found for the folder serves all of them.
  let lastFolder = ''
  let lastVerdict = false
  return isExcluded

  function isExcluded(relative: string, isDirectory: boolean): boolean {
    const slash = relative.lastIndexOf('/')
    if (slash !== -1 && isFolderExcluded(relative.slice(0, slash))) return true
    const name = slash === -1 ? relative : relative.slice(slash + 1)
    for (const pattern of fromLast) {
      if (pattern.foldersOnly && !isDirectory) continue
      if (pattern.matches(pattern.anchored ? relative : name)) return !pattern.takesBack
    }
    return false
  }

  function isFolderExcluded(folder: string): boolean {
    if (folder !== lastFolder) {
      const verdict = isExcluded(folder, true)
      lastFolder = folder
      lastVerdict = verdict
    }
    return lastVerdict
  }
}

/** Bytes as text of the same length, one character for each: what names and patterns have in common. */
function asText(value: string | Buffer): string {
  return (typeof value === 'string' ? Buffer.from(value) : value).toString('latin1')
}

/** The first bytes of `CACHEDIR.TAG`, https://bford.info/cachedir/ */
const CACHE_SIGNATURE = 'Signature: 8a477f597d28d172789f06886806bc55'

/**
 * Whether `directory` says of itself that it is a cache: it holds an ordinary file `CACHEDIR.TAG` that begins with the
 * signature. A tag that cannot be read is none, so that the folder is kept.
 */
export async function isTaggedCache(directory: Buffer): Promise<boolean> {
  const path = Buffer.concat([directory, Buffer.from('/CACHEDIR.TAG')])
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  try {
    await using file = await open(path, flags)
    if (!(await file.stat()).isFile()) return false
    const start = Buffer.alloc(CACHE_SIGNATURE.length)
    const { bytesRead } = await file.read(start, 0, start.length, 0)
    return bytesRead === start.length && start.toString('latin1') === CACHE_SIGNATURE
  } catch (error) {
    if (notReadable.has((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}

/** Absent, a symbolic link, a socket, or kept from us: each of them means that the folder has no tag for us. */
const notReadable = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EACCES', 'EPERM'])
