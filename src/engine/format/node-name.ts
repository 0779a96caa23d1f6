/**
 * Why no honest program gives a node this name, or undefined. A restore that obeyed such a name could write outside its
 * target, so it is refused before any path is built from it.
 */
export function nameDefect(name: Uint8Array): string | undefined {
  if (name.length === 0) return 'its name is empty'
  if (name.includes(0)) return 'its name holds a NUL byte'
  if (name.includes(0x2f)) return 'its name holds a slash'
  if (name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e)))
    return 'its name is "." or ".."'
  return undefined
}
