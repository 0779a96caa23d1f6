import { posix } from 'node:path'

/** Folders of which a program loads whatever does not begin with a dot: nginx, for one, as Debian sets it up. */
const LOADED_WHOLE = /\/(sites-enabled|modules-enabled|conf\.d)$/

/** Whether something is called like what was kept. */
export function isBeforeName(path: string): boolean {
  return /\.(before|restored|corrupt)-\d{8}-\d{6}(-\d+)?$/.test(path)
}

/**
 * Where what stood at `path` is kept: beside it, as `NAME.before-STAMP`, or `NAME.restored-STAMP` when it is itself what was
 * restored and is taken back, or `NAME.corrupt-STAMP` when it is damaged; hidden where it would be loaded again.
 */
export function beforeName(path: string, stamp: string, word: 'before' | 'restored' | 'corrupt' = 'before'): string {
  const folder = posix.dirname(path)
  const name = `${posix.basename(path)}.${word}-${stamp}`
  return posix.join(folder, LOADED_WHOLE.test(folder) ? `.${name}` : name)
}
