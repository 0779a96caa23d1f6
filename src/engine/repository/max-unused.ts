import { parseSize } from './pack-subset.ts'

/** How much that nobody needs may stay, for the sake of not rewriting packs. */
export type MaxUnused = { readonly percent: number } | { readonly bytes: number } | 'unlimited'

export const DEFAULT_MAX_UNUSED: MaxUnused = { percent: 5 }

/** Reads restic's `--max-unused`: a share below 100 %, a size, or `unlimited`. Undefined for anything else. */
export function parseMaxUnused(text: string): MaxUnused | undefined {
  if (text === 'unlimited') return text
  const share = /^(\d+(?:\.\d+)?)%$/.exec(text)
  if (share) return Number(share[1]) < 100 ? { percent: Number(share[1]) } : undefined
  const bytes = parseSize(text)
  return bytes === undefined ? undefined : { bytes }
}

/** The bytes that may stay beside so many that are used: the share is one of what is left in the end. */
export function unusedLimit(limit: MaxUnused, usedBytes: number): number {
  if (limit === 'unlimited') return Number.POSITIVE_INFINITY
  if ('bytes' in limit) return limit.bytes
  return Math.floor((limit.percent / (100 - limit.percent)) * usedBytes)
}
