import type { FileHandle } from 'node:fs/promises'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import { isAbsolute, relative, resolve } from 'node:path'

/** Something that a program asks the file system for. Paths are relative to the folder that is watched; `''` is the folder itself. */
export interface FileSystemCall {
  readonly call: 'create' | 'write' | 'sync' | 'chmod' | 'close' | 'link' | 'rename' | 'unlink' | 'mkdir'
  readonly path: string
  /** The second path of `link` and `rename`. */
  readonly to?: string
  /** What is written, and where. */
  readonly bytes?: Buffer
  readonly offset?: number
}

/** Does the call by means of `perform`, or something else in its place. */
export type Intercept = (call: FileSystemCall, perform: () => Promise<unknown>) => Promise<unknown>

type AsyncFunction = (...args: unknown[]) => Promise<unknown>

const require = createRequire(import.meta.url)
const real: Record<string, AsyncFunction> = require('node:fs').promises

/** Would change files past the functions below: such a call must not go unnoticed. */
const NOT_FORESEEN = ['writeFile', 'appendFile', 'truncate', 'copyFile', 'cp', 'symlink', 'rmdir'] as const

/**
 * Every change in a folder that this process makes through `node:fs/promises`, until disposed of, goes through `intercept`: files
 * made, written and synchronized, names that come and go. What is only read passes by. Calls through other modules and in other
 * threads are not seen.
 */
export function interceptFileSystem(folder: string, intercept: Intercept): Disposable {
  const root = resolve(folder)
  const replaced = new Map<string, AsyncFunction>()
  const replace = (name: string, make: (original: AsyncFunction) => AsyncFunction) => {
    const original = real[name]!
    replaced.set(name, original)
    real[name] = make(original)
  }
  /** The path below the folder; undefined outside. */
  const inside = (path: unknown): string | undefined => {
    const below = relative(root, resolve(String(path)))
    return below === '..' || below.startsWith('../') || isAbsolute(below) ? undefined : below
  }
  const onPath = (name: string, call: FileSystemCall['call']) =>
    replace(name, (original) => async (path, ...rest) => {
      const at = inside(path)
      const perform = () => original(path, ...rest)
      return at === undefined ? perform() : intercept({ call, path: at }, perform)
    })
  const onTwoPaths = (name: 'link' | 'rename') =>
    replace(name, (original) => async (from, to) => {
      const [path, other] = [inside(from), inside(to)]
      const perform = () => original(from, to)
      if (path === undefined && other === undefined) return perform()
      if (path === undefined || other === undefined) throw new Error(`${name} across ${root}: not foreseen`)
      return intercept({ call: name, path, to: other }, perform)
    })

  replace('open', (original) => async (path, flags, mode) => {
    const at = inside(path)
    if (at === undefined) return original(path, flags, mode)
    if (typeof flags === 'string' && flags.startsWith('w')) {
      if (flags !== 'wx') throw new Error(`open ${at} with ${flags}: not foreseen`)
      const handle = await intercept({ call: 'create', path: at }, () => original(path, flags, mode))
      return watchHandle(handle as FileHandle, at, intercept)
    }
    return watchHandle((await original(path, flags, mode)) as FileHandle, at, intercept)
  })
  replace('mkdir', (original) => async (path, options) => {
    const at = inside(path)
    const perform = () => original(path, options)
    return at === undefined ? perform() : intercept({ call: 'mkdir', path: at }, perform)
  })
  onPath('unlink', 'unlink')
  onPath('rm', 'unlink')
  onPath('chmod', 'chmod')
  onTwoPaths('link')
  onTwoPaths('rename')
  for (const name of NOT_FORESEEN) {
    replace(name, (original) => async (...args) => {
      if (args.some((path) => typeof path === 'string' && inside(path) !== undefined)) {
        throw new Error(`${name} in ${root}: not foreseen`)
      }
      return original(...args)
    })
  }
  syncBuiltinESMExports()
  return {
    [Symbol.dispose]: () => {
      for (const [name, original] of replaced) real[name] = original
      syncBuiltinESMExports()
    },
  }
}

function watchHandle(handle: FileHandle, path: string, intercept: Intercept): FileHandle {
  let offset = 0
  const watched: Record<string, AsyncFunction> = {
    writev: (buffers) => {
      const bytes = Buffer.concat(buffers as Buffer[])
      return write(bytes, () => handle.writev(buffers as Buffer[]))
    },
    sync: () => intercept({ call: 'sync', path }, () => handle.sync()),
    datasync: () => intercept({ call: 'sync', path }, () => handle.datasync()),
    chmod: (mode) => intercept({ call: 'chmod', path }, () => handle.chmod(mode as number)),
    close: () => intercept({ call: 'close', path }, () => handle.close()),
  }
  async function write(bytes: Buffer, perform: () => Promise<unknown>): Promise<unknown> {
    const result = await intercept({ call: 'write', path, bytes, offset }, perform)
    offset += (result as { bytesWritten: number }).bytesWritten
    return result
  }
  return new Proxy(handle, {
    get(target, name) {
      if (typeof name === 'string' && name in watched) return watched[name]
      if (name === Symbol.asyncDispose) return watched.close
      if (['write', 'writeFile', 'appendFile', 'truncate', 'createWriteStream'].includes(String(name))) {
        throw new Error(`${String(name)} of ${path}: not foreseen`)
      }
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}
