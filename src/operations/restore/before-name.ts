import { posix } from 'node:path'

/** Folders of which a program loads whatever does not begin with a dot: nginx, for one, as Debian sets it up. */
const LOADED_WHOLE = /\/(sites-enabled|modules-enabled|conf\.d)$/

/** Where what stood at `path` is kept: beside it, as `NAME.before-STAMP`; hidden where it would be loaded again. */
export function beforeName(path: string, stamp: string): string {
  const folder = posix.dirname(path)
  const name = `${posix.basename(path)}.before-${stamp}`
  return posix.join(folder, LOADED_WHOLE.test(folder) ? `.${name}` : name)
}
