import { randomInt } from 'node:crypto'
import type { PackToRead } from './check-data.ts'

/** Which packs to read: those of one of several groups, or a share of all, chosen by chance. */
export type PackSubset =
  | { readonly group: number; readonly of: number }
  | { readonly percent: number }
  | { readonly bytes: number }

/** Groups are told by the first byte of a pack's ID. */
const MAX_GROUPS = 256

const UNITS = { '': 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 } as const

/**
 * Reads restic's `--read-data-subset`: `n/t`, `x%`, or a size in bytes or with k, M, G or T. Undefined for anything else, also for
 * groups that there are not and shares of nothing or more than everything.
 */
export function parsePackSubset(text: string): PackSubset | undefined {
  const group = /^(\d{1,9})\/(\d{1,9})$/.exec(text)
  if (group) {
    const [number, of] = [Number(group[1]), Number(group[2])]
    return number >= 1 && number <= of && of <= MAX_GROUPS ? { group: number, of } : undefined
  }
  const share = /^(\d+(?:\.\d+)?)%$/.exec(text)
  if (share) {
    const percent = Number(share[1])
    return percent > 0 && percent <= 100 ? { percent } : undefined
  }
  const bytes = parseSize(text)
  return bytes ? { bytes } : undefined
}

/** Reads a number of bytes as restic does: digits with k, M, G or T of 1024. Undefined for anything else. */
export function parseSize(text: string): number | undefined {
  const size = /^(\d{1,15})([bkmgt]?)$/i.exec(text)
  if (!size) return undefined
  const bytes = Number(size[1]) * UNITS[size[2]!.toLowerCase() as keyof typeof UNITS]
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/**
 * The packs that restic would read: of a group, those whose first byte, modulo the number of groups, is its number; of a share or a
 * size, so many packs, rounded down, but at least one. Whatever their sizes, a size only says what share of all packs that is.
 *
 * @param random a whole number from 0 up to, not including, the one given
 */
export function choosePacks(
  packs: readonly PackToRead[],
  subset: PackSubset,
  random: (below: number) => number = (below) => randomInt(below),
): readonly PackToRead[] {
  if ('group' in subset) {
    return packs.filter(({ id }) => Number.parseInt(id.slice(0, 2), 16) % subset.of === subset.group - 1)
  }
  const total = packs.reduce((sum, { size }) => sum + size, 0)
  const share = 'percent' in subset ? subset.percent / 100 : total === 0 ? 1 : Math.min(1, subset.bytes / total)
  const count = Math.min(packs.length, Math.max(1, Math.floor(packs.length * share)))
  const rest = [...packs]
  const chosen: PackToRead[] = []
  while (chosen.length < count) {
    const at = random(rest.length)
    chosen.push(rest[at]!)
    rest[at] = rest.at(-1)!
    rest.pop()
  }
  return chosen
}
