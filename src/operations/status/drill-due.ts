import type { Drill } from '../../application/config/config.ts'
import { after } from '../../application/config/duration.ts'

/**
 * When the next drill is due: counted from the last one that ended well, or from the first snapshot; undefined where none is
 * configured or there is nothing to rehearse yet.
 */
export function drillDue(
  drill: Drill | undefined,
  lastGood: Date | undefined,
  firstSnapshot: Date | undefined,
): Date | undefined {
  const from = lastGood ?? firstSnapshot
  return drill && from && after(from, drill.every)
}
