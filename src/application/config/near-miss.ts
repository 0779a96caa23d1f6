/**
 * The candidate that `word` was probably meant to be, or undefined when none is near. Upper case, `-` and `_` do not
 * count, so that `passwordFile` finds `password-file`; otherwise a third of the letters may be wrong, a swap being one. Or it is the beginning of
 * one candidate only, as `prod` of `production`.
 */
export function nearMiss(word: string, candidates: readonly string[]): string | undefined {
  const wanted = plain(word)
  let best: string | undefined
  let bestDistance = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const other = plain(candidate)
    const allowed = Math.max(1, Math.floor(Math.max(wanted.length, other.length) / 3))
    // The words may be as long as a config file: then looking at every pair of letters takes minutes.
    if (Math.abs(wanted.length - other.length) > allowed) continue
    const distance = editDistance(wanted, other)
    if (distance <= allowed && distance < bestDistance && distance < other.length) {
      best = candidate
      bestDistance = distance
    }
  }
  if (best !== undefined || wanted.length < 3) return best
  const longer = [...candidates].filter((candidate) => plain(candidate).startsWith(wanted))
  return longer.length === 1 ? longer[0] : undefined
}

function plain(text: string): string {
  return text.toLowerCase().replaceAll(/[-_]/g, '')
}

/** Optimal string alignment: insertions, deletions, replacements and swaps of neighbours, each of cost 1. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const replaced = last[column - 1]! + (a[row - 1] === b[column - 1] ? 0 : 1)
      let cost = Math.min(replaced, last[column]! + 1, current[column - 1]! + 1)
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        cost = Math.min(cost, beforeLast[column - 2]! + 1)
      }
      current.push(cost)
    }
    beforeLast = last
    last = current
  }
  return last[b.length]!
}
