/**
 * Whether a snapshot with these tags has all of a list, as restic answers it: the empty tag stands for having none, and once it is
 * met what comes after it in the list no longer matters.
 */
export function hasTags(tags: readonly string[], list: readonly string[]): boolean {
  for (const wanted of list) {
    if (wanted === '' && tags.length === 0) return true
    if (!tags.includes(wanted)) return false
  }
  return true
}
