import type { TableComparison } from '../../application/sources/compare-tables.ts'
import type { DatabaseTrouble } from '../../application/sources/diagnose-database.ts'
import type { RecoveryWay } from '../../application/sources/recover-database.ts'

/** `nothing`: the database stays as it is. */
export type DatabaseUse = 'nothing' | 'recovered' | 'snapshot'

export interface DatabaseChoice {
  readonly use: DatabaseUse
  /** For the operator, whole sentences. */
  readonly why: string
  /** Rows, told apart by their keys, that are known and will not be there; 0 also when none is known. */
  readonly rowsLost: number
  /** Whether there may be more of them that nobody can count. */
  readonly mayLoseMore: boolean
}

export interface ChooseOptions {
  readonly trouble: DatabaseTrouble
  readonly way: RecoveryWay | undefined
  /** Of a snapshot; undefined where none has a sound copy. */
  readonly hasSnapshot: boolean
  /** Empty where there is nothing to compare. */
  readonly tables: readonly TableComparison[]
  readonly hasLog: boolean
  readonly journalMode: 'wal' | 'rollback' | undefined
  readonly prefer: 'recovered' | 'snapshot' | undefined
}

/** By these nothing of a database is left out. */
const LOSSLESS: ReadonlySet<RecoveryWay> = new Set(['reindex', 'vacuum'])

/** Which state takes the place of a database, and what that costs. Undefined: there is neither. */
export function chooseDatabase(options: ChooseOptions): DatabaseChoice | undefined {
  const { trouble, way, hasSnapshot, tables, prefer } = options
  const onlySnapshot = tables.reduce((sum, { onlyBefore }) => sum + onlyBefore, 0)
  const onlyOther = tables.reduce((sum, { onlyAfter }) => sum + onlyAfter, 0)
  const snapshot = (why: string): DatabaseChoice => {
    const uncounted = trouble !== 'sound' && !(way !== undefined && LOSSLESS.has(way))
    return { use: 'snapshot', why, rowsLost: onlyOther, mayLoseMore: uncounted }
  }
  if (trouble === 'sound') {
    if (prefer === 'snapshot' && hasSnapshot) return snapshot('The database is sound, and you prefer the snapshot.')
    return { use: 'nothing', why: ofSound(options, onlySnapshot), rowsLost: 0, mayLoseMore: false }
  }
  if (way === undefined) {
    if (!hasSnapshot) return undefined
    const wish = prefer === 'recovered' ? ' You prefer what can be recovered, and there is nothing.' : ''
    return snapshot(`Nothing can be recovered from the file itself, so the snapshot is all there is.${wish}`)
  }
  const lossless = LOSSLESS.has(way)
  const recovered = (why: string): DatabaseChoice => {
    return { use: 'recovered', why, rowsLost: lossless ? 0 : onlySnapshot, mayLoseMore: !lossless && way !== 'header' }
  }
  if (!hasSnapshot) {
    const wish = prefer === 'snapshot' ? ' You prefer a snapshot, and there is none.' : ''
    return recovered(`No snapshot holds a sound copy of it, so what was recovered is all there is.${wish}`)
  }
  if (prefer === 'recovered') return recovered(`You prefer what was recovered. ${counts(onlySnapshot, onlyOther)}`)
  if (prefer === 'snapshot') return snapshot(`You prefer the snapshot. ${counts(onlySnapshot, onlyOther)}`)
  if (lossless) return recovered('Only what can be made anew was damaged: every row is there.')
  if (onlySnapshot > onlyOther) return snapshot(`The snapshot loses fewer rows. ${counts(onlySnapshot, onlyOther)}`)
  if (onlySnapshot === 0)
    return recovered('Every row of the snapshot was recovered, and all that could be read besides.')
  return recovered(`What was recovered loses fewer rows. ${counts(onlySnapshot, onlyOther)}`)
}

function counts(onlySnapshot: number, onlyOther: number): string {
  return `Only the snapshot has ${rows(onlySnapshot)}, only what was recovered has ${rows(onlyOther)}.`
}

/** A lost log leaves a file that is sound and older than it should be: only the comparison shows it. */
function ofSound({ hasSnapshot, hasLog, journalMode }: ChooseOptions, onlySnapshot: number): string {
  if (!hasSnapshot) return 'The database is sound. No snapshot holds a copy to compare it with.'
  if (onlySnapshot === 0) return 'The database is sound, and every row of the newest good snapshot is in it.'
  const lost = `The database is sound, but lacks ${rows(onlySnapshot)} that the newest good snapshot has.`
  const cause =
    journalMode === 'wal' && !hasLog
      ? 'Either the application has deleted them, or the write-ahead log beside it was lost, and the last commits with it.'
      : 'Most likely the application has deleted them.'
  return `${lost} ${cause} If they must come back: --prefer snapshot.`
}

function rows(count: number): string {
  return `${count} ${count === 1 ? 'row' : 'rows'}`
}
