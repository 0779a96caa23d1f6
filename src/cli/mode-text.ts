import { permissions } from '../engine/format/mode.ts'

const GO_BITS = 'dalTLDpSugct?'

/** As Go prints a mode, and so restic: `drwxr-xr-x`, `Lrwxrwxrwx`, `ugtrwxr-xr-x`. */
export function goModeText(mode: number): string {
  const set = [...GO_BITS].filter((_, i) => Math.floor(mode / 2 ** (31 - i)) % 2 === 1).join('')
  return (set === '' ? '-' : set) + triplets(mode)
}

const TYPES: Readonly<Record<string, string>> = {
  file: '-',
  dir: 'd',
  symlink: 'l',
  dev: 'b',
  chardev: 'c',
  fifo: 'p',
  socket: 's',
}

/** As `ls -l` prints it. */
export function modeText(type: string, mode: number): string {
  const bits = permissions(mode)
  const letters = [...triplets(mode)]
  const special = (at: number, bit: number, letter: string) => {
    if ((bits & bit) !== 0) letters[at] = letters[at] === 'x' ? letter : letter.toUpperCase()
  }
  special(2, 0o4000, 's')
  special(5, 0o2000, 's')
  special(8, 0o1000, 't')
  return (TYPES[type] ?? '?') + letters.join('')
}

function triplets(mode: number): string {
  return [...'rwxrwxrwx'].map((letter, i) => (((mode >> (8 - i)) & 1) === 1 ? letter : '-')).join('')
}
