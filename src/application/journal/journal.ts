import { hostname } from 'node:os'
import type { DatabaseSync, SQLInputValue, SQLOutputValue } from 'node:sqlite'
import { identifiedLives, processIdentity } from '../../engine/os/process-identity.ts'
import { ApplicationError } from '../error.ts'
import type { Finding } from '../finding.ts'
import {
  copyDatabase,
  guarded,
  inodeOf,
  journalError,
  openForReading,
  openForWriting,
  setAside,
} from './journal-database.ts'
import type {
  FindingRecord,
  GoodCopy,
  JournalFacts,
  Proof,
  RunFilter,
  RunId,
  RunOutcome,
  RunRecord,
  RunState,
  SnapshotRecord,
  StepOutcome,
  StepRecord,
} from './journal-record.ts'
import { type ProofLevel, proofRank } from './proof-level.ts'

/** More findings of one run help nobody; they are still counted. */
const FINDINGS_KEPT = 1000

/** What succeeded longer ago is kept without its steps and findings. */
const DETAILS_MS = 90 * 86_400_000
/** What runs by itself, again and again, is dropped after this; restores and drills stay. */
const ROUTINE_MS = 2 * 365 * 86_400_000
const ROUTINE = ['backup', 'check', 'scrub', 'verify', 'copy', 'forget', 'prune', 'notify']

/** One operation, being written down. */
export interface JournalRun {
  readonly id: RunId
  step(name: string, options?: StepOptions): JournalStep
  find(finding: Finding, at?: Date): void
  /** By default it is over now, and took as long as the clock says. */
  finish(outcome: RunOutcome, summary?: JournalFacts, end?: End): void
  /** Takes the run out again: nothing was done in it. */
  discard(): void
}

export interface StepOptions {
  readonly component?: string | undefined
  readonly facts?: JournalFacts | undefined
  readonly at?: Date
}

export interface JournalStep {
  readonly number: number
  finish(outcome: StepOutcome, facts?: JournalFacts, end?: End): void
}

export interface End {
  readonly at?: Date | undefined
  readonly milliseconds?: number | undefined
}

export interface OpenJournalOptions {
  /** Told that a damaged journal was set aside, and where; a new one has taken its place. */
  readonly onSetAside?: (problem: ApplicationError, aside: string) => void
  readonly now?: () => Date
}

/**
 * Opens the journal for writing, and makes it where there is none. A damaged one is set aside and a new one begun. Throws `JOURNAL`
 * where there can be none: whoever only keeps the journal on the side goes on without.
 */
export function openJournal(path: string, options: OpenJournalOptions = {}): Journal {
  const { now = () => new Date() } = options
  for (let attempt = 0; ; attempt++) {
    const inode = inodeOf(path)
    try {
      return new Journal(path, openForWriting(path), now)
    } catch (error) {
      if (!(error instanceof ApplicationError) || error.code !== 'JOURNAL_DAMAGED' || attempt === 3) throw error
      // Another process that has met the same damage may be faster; then its new journal is the one to open.
      const aside = inode === undefined ? undefined : setAside(path, inode, now())
      if (aside !== undefined) options.onSetAside?.(error, aside)
    }
  }
}

/** Opens the journal to look into it, or undefined where there is none. Throws `JOURNAL` and `JOURNAL_DAMAGED`. */
export function readJournal(path: string): Journal | undefined {
  const database = openForReading(path)
  return database && new Journal(path, database, () => new Date())
}

type Row = Record<string, SQLOutputValue>

/**
 * The local history of every operation, and what is known of each snapshot. Calls are synchronous and end with the disk having the
 * data: what a recovery has noted as done is noted also after a power cut. Several processes may write at once. Every method throws
 * `JOURNAL` and `JOURNAL_DAMAGED`.
 */
export class Journal implements Disposable {
  readonly path: string
  readonly #database: DatabaseSync
  readonly #now: () => Date
  #closed = false

  /** @internal use `openJournal` or `readJournal` */
  constructor(path: string, database: DatabaseSync, now: () => Date) {
    this.path = path
    this.#database = database
    this.#now = now
  }

  [Symbol.dispose](): void {
    if (this.#closed) return
    this.#closed = true
    this.#database.close()
  }

  /** Whether it was begun anew and knows nothing of what was before: the repository may (see `rebuildJournal`). */
  get lacksPast(): boolean {
    return this.#get("SELECT value FROM fact WHERE name = 'lacks_past'")?.value === '1'
  }

  markWhole(): void {
    this.#run("UPDATE fact SET value = '0' WHERE name = 'lacks_past'")
  }

  /** What was last noted under this name; undefined where nothing was. */
  note(name: string): string | undefined {
    const value = this.#get('SELECT value FROM fact WHERE name = ?', `note:${name}`)?.value
    return value === undefined ? undefined : String(value)
  }

  setNote(name: string, value: string): void {
    this.#run(
      'INSERT INTO fact VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
      `note:${name}`,
      value,
    )
  }

  /** Everything in `action` is written as one, or nothing of it. */
  transaction<R>(action: () => R): R {
    this.#exec('BEGIN IMMEDIATE')
    try {
      const result = action()
      this.#exec('COMMIT')
      return result
    } catch (error) {
      // A full disk or a damaged page may have ended it already.
      if (this.#database.isTransaction) this.#exec('ROLLBACK')
      throw error
    }
  }

  /** As `transaction`, also inside of one. */
  #together<R>(action: () => R): R {
    return this.#database.isTransaction ? action() : this.transaction(action)
  }

  begin(operation: string, subject: string, facts: JournalFacts = {}, started: Date = this.#now()): JournalRun {
    for (let id = started.getTime(); ; id++) {
      const { changes } = this.#run(
        `INSERT OR IGNORE INTO run (id, operation, subject, host, process, started, facts, summary, errors, warnings)
         VALUES (?, ?, ?, ?, ?, ?, ?, '{}', 0, 0)`,
        id,
        operation,
        subject,
        hostname(),
        processIdentity(),
        started.getTime(),
        JSON.stringify(facts),
      )
      if (changes === 1) return this.#writer(id)
    }
  }

  #writer(id: number): JournalRun {
    const begun = performance.now()
    const next = (table: 'step' | 'finding') =>
      Number(this.#get(`SELECT coalesce(max(number), -1) + 1 AS next FROM ${table} WHERE run = ?`, id)?.next)
    return {
      id: idOf(id),
      step: (name, { component, facts = {}, at = this.#now() } = {}) => {
        const number = next('step')
        const stepBegun = performance.now()
        this.#run(
          'INSERT INTO step (run, number, name, component, started, facts) VALUES (?, ?, ?, ?, ?, ?)',
          id,
          number,
          name,
          component ?? null,
          at.getTime(),
          JSON.stringify(facts),
        )
        return {
          number,
          finish: (outcome, more = {}, end = {}) => {
            this.#run(
              'UPDATE step SET finished = ?, outcome = ?, milliseconds = ?, facts = ? WHERE run = ? AND number = ?',
              (end.at ?? this.#now()).getTime(),
              outcome,
              Math.round(end.milliseconds ?? performance.now() - stepBegun),
              JSON.stringify({ ...facts, ...more }),
              id,
              number,
            )
          },
        }
      },
      find: (finding, at = this.#now()) => {
        const { severity, code, component, path, message, hint } = finding
        const number = next('finding')
        this.#together(() => {
          const counted = severity === 'error' ? 'errors' : severity === 'warning' ? 'warnings' : undefined
          if (counted !== undefined) this.#run(`UPDATE run SET ${counted} = ${counted} + 1 WHERE id = ?`, id)
          if (number >= FINDINGS_KEPT) return
          this.#run(
            `INSERT INTO finding (run, number, at, severity, code, component, path, message, hint)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
            id,
            number,
            at.getTime(),
            severity,
            code,
            component ?? null,
            path ?? null,
            message,
            hint ?? null,
          )
        })
      },
      finish: (outcome, summary = {}, end = {}) => {
        this.#run(
          'UPDATE run SET finished = ?, outcome = ?, milliseconds = ?, summary = ? WHERE id = ?',
          (end.at ?? this.#now()).getTime(),
          outcome,
          Math.round(end.milliseconds ?? performance.now() - begun),
          JSON.stringify(summary),
          id,
        )
      },
      discard: () => {
        this.#run('DELETE FROM run WHERE id = ?', id)
      },
    }
  }

  run(id: RunId): RunRecord | undefined {
    const row = this.#get('SELECT * FROM run WHERE id = ?', numberOf(id))
    return row && runOf(row)
  }

  /** Newest first. */
  runs({ operation, state, since, before, limit = -1 }: RunFilter = {}): RunRecord[] {
    const conditions: string[] = []
    const values: SQLInputValue[] = []
    const operations = operation === undefined ? [] : [operation].flat()
    if (operations.length > 0) {
      conditions.push(`operation IN (${operations.map(() => '?').join(', ')})`)
      values.push(...operations)
    }
    if (since !== undefined) {
      conditions.push('started >= ?')
      values.push(since.getTime())
    }
    if (before !== undefined) {
      conditions.push('started < ?')
      values.push(before.getTime())
    }
    const where = conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : ''
    const states = state === undefined ? undefined : [state].flat()
    const found: RunRecord[] = []
    // Whether a run goes on is not in the table: its process has to be asked for.
    for (const row of this.#all(`SELECT * FROM run ${where} ORDER BY id DESC`, ...values)) {
      if (limit >= 0 && found.length >= limit) break
      const record = runOf(row)
      if (states === undefined || states.includes(record.state)) found.push(record)
    }
    return found
  }

  steps(id: RunId): StepRecord[] {
    return [...this.#all('SELECT * FROM step WHERE run = ? ORDER BY number', numberOf(id))].map((row) => ({
      number: Number(row.number),
      name: String(row.name),
      component: optionalText(row.component),
      started: dateOf(row.started),
      finished: optionalDate(row.finished),
      outcome: optionalText(row.outcome) as StepOutcome | undefined,
      milliseconds: optionalNumber(row.milliseconds),
      facts: factsOf(row.facts),
    }))
  }

  /** In the order in which they were found; at most a thousand are kept of a run. */
  findings(id: RunId): FindingRecord[] {
    return [...this.#all('SELECT * FROM finding WHERE run = ? ORDER BY number', numberOf(id))].map((row) => ({
      at: dateOf(row.at),
      severity: row.severity as Finding['severity'],
      code: String(row.code),
      message: String(row.message),
      ...(row.component === null ? {} : { component: String(row.component) }),
      ...(row.path === null ? {} : { path: String(row.path) }),
      ...(row.hint === null ? {} : { hint: String(row.hint) }),
    }))
  }

  /** Notes a snapshot that is in the repository; what was known of it before is replaced. */
  saveSnapshot({ id, time, host, whole, outcome, added, copies }: SnapshotRecord): void {
    const row = this.#get(
      `INSERT INTO snapshot (id, time, host, whole, outcome, added, present) VALUES (?, ?, ?, ?, ?, ?, 1)
       ON CONFLICT (id) DO UPDATE SET time = excluded.time, host = excluded.host, whole = excluded.whole,
         outcome = excluded.outcome, added = coalesce(excluded.added, added), present = 1
       RETURNING number`,
      id,
      time.getTime(),
      host,
      whole ? 1 : 0,
      outcome,
      added ?? null,
    )
    for (const copy of copies) {
      this.#run(
        'INSERT OR REPLACE INTO copy (snapshot, component, kind, files, bytes, outcome) VALUES (?, ?, ?, ?, ?, ?)',
        Number(row?.number),
        copy.component,
        copy.kind,
        copy.files,
        copy.bytes,
        copy.outcome,
      )
    }
  }

  /** Notes that snapshots are in the repository no more. */
  forgetSnapshots(ids: Iterable<string>): void {
    for (const id of ids) this.#run('UPDATE snapshot SET present = 0 WHERE id = ?', id)
  }

  /** Oldest first. */
  snapshots(): SnapshotRecord[] {
    return [...this.#all('SELECT * FROM snapshot WHERE present ORDER BY time')].map((row) => ({
      id: String(row.id),
      time: dateOf(row.time),
      host: String(row.host),
      whole: row.whole === 1,
      outcome: row.outcome as SnapshotRecord['outcome'],
      added: optionalNumber(row.added),
      copies: [...this.#all('SELECT * FROM copy WHERE snapshot = ?', Number(row.number))].map(copyOf),
    }))
  }

  /**
   * A snapshot with other tags is another file with another ID: what was proven of the old one holds for the new one.
   */
  renameSnapshot(from: string, to: string): void {
    this.#together(() => {
      this.#run('UPDATE OR IGNORE snapshot SET id = ? WHERE id = ?', to, from)
      this.#run('INSERT OR IGNORE INTO proof SELECT ?, level, at, evidence FROM proof WHERE snapshot = ?', to, from)
      this.#run('INSERT OR IGNORE INTO damage SELECT ?, at, evidence FROM damage WHERE snapshot = ?', to, from)
    })
  }

  /** The newest copy that was stored whole, in a snapshot that is still there and not known to be damaged. */
  lastGood(component: string): GoodCopy | undefined {
    const row = this.#get(
      `SELECT copy.*, snapshot.id, snapshot.time, snapshot.host FROM copy JOIN snapshot ON snapshot.number = copy.snapshot
       WHERE copy.component = ? AND copy.outcome = 'succeeded' AND snapshot.present
         AND snapshot.id NOT IN (SELECT snapshot FROM damage)
       ORDER BY snapshot.time DESC LIMIT 1`,
      component,
    )
    if (row === undefined) return undefined
    const snapshot = String(row.id)
    return { ...copyOf(row), snapshot, time: dateOf(row.time), host: String(row.host), proof: this.proof(snapshot) }
  }

  /** The strongest that was proven of a snapshot. */
  proof(snapshot: string): Proof | undefined {
    return this.proofs(snapshot).at(-1)
  }

  /** Weakest level first; of each level the newest proof. Of all snapshots unless one is named. */
  proofs(snapshot?: string): Proof[] {
    const rows =
      snapshot === undefined
        ? this.#all('SELECT * FROM proof')
        : this.#all('SELECT * FROM proof WHERE snapshot = ?', snapshot)
    return [...rows]
      .map((row) => ({
        snapshot: String(row.snapshot),
        level: row.level as ProofLevel,
        at: dateOf(row.at),
        evidence: factsOf(row.evidence),
      }))
      .sort((a, b) => proofRank(a.level) - proofRank(b.level))
  }

  /** Only what proved it may say so. A proof that is older than the one that is there is passed over. */
  setProof(snapshot: string, level: ProofLevel, at: Date, evidence: JournalFacts = {}): void {
    this.#run(
      `INSERT INTO proof (snapshot, level, at, evidence) VALUES (?, ?, ?, ?)
       ON CONFLICT (snapshot, level) DO UPDATE SET at = excluded.at, evidence = excluded.evidence WHERE excluded.at > at`,
      snapshot,
      level,
      at.getTime(),
      JSON.stringify(evidence),
    )
    this.#run('DELETE FROM damage WHERE snapshot = ? AND at < ?', snapshot, at.getTime())
  }

  /** Notes that a snapshot was found damaged: it is no good copy until something is proven of it again. */
  setDamage(snapshot: string, at: Date, evidence: JournalFacts = {}): void {
    this.#run(
      'INSERT OR REPLACE INTO damage (snapshot, at, evidence) VALUES (?, ?, ?)',
      snapshot,
      at.getTime(),
      JSON.stringify(evidence),
    )
  }

  damages(): { readonly snapshot: string; readonly at: Date; readonly evidence: JournalFacts }[] {
    return [...this.#all('SELECT * FROM damage ORDER BY at')].map((row) => ({
      snapshot: String(row.snapshot),
      at: dateOf(row.at),
      evidence: factsOf(row.evidence),
    }))
  }

  /** Takes over a run from another journal, unless it is here already. */
  adoptRun(record: RunRecord, steps: readonly StepRecord[], findings: readonly FindingRecord[]): void {
    const id = numberOf(record.id)
    const { changes } = this.#run(
      `INSERT OR IGNORE INTO run
         (id, operation, subject, host, process, started, finished, outcome, milliseconds, facts, summary, errors, warnings)
       VALUES (?, ?, ?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?)`,
      id,
      record.operation,
      record.subject,
      record.host,
      record.started.getTime(),
      record.finished?.getTime() ?? null,
      record.state === 'running' ? null : record.state,
      record.milliseconds ?? null,
      JSON.stringify(record.facts),
      JSON.stringify(record.summary),
      record.errors,
      record.warnings,
    )
    if (changes === 0) return
    for (const step of steps) {
      this.#run(
        `INSERT INTO step (run, number, name, component, started, finished, outcome, milliseconds, facts)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        id,
        step.number,
        step.name,
        step.component ?? null,
        step.started.getTime(),
        step.finished?.getTime() ?? null,
        step.outcome ?? null,
        step.milliseconds ?? null,
        JSON.stringify(step.facts),
      )
    }
    for (const [number, finding] of findings.entries()) {
      this.#run(
        `INSERT INTO finding (run, number, at, severity, code, component, path, message, hint)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        id,
        number,
        finding.at.getTime(),
        finding.severity,
        finding.code,
        finding.component ?? null,
        finding.path ?? null,
        finding.message,
        finding.hint ?? null,
      )
    }
  }

  /** Keeps the file small: details of what went well long ago, and routine of years ago. */
  tidy(): void {
    const now = this.#now().getTime()
    this.transaction(() => {
      for (const table of ['step', 'finding']) {
        this.#run(
          `DELETE FROM ${table} WHERE run IN (SELECT id FROM run WHERE id < ? AND outcome = 'succeeded')`,
          now - DETAILS_MS,
        )
      }
      this.#run(
        `DELETE FROM run WHERE id < ? AND operation IN (${ROUTINE.map(() => '?').join(', ')})`,
        now - ROUTINE_MS,
        ...ROUTINE,
      )
      this.#run('DELETE FROM snapshot WHERE present = 0 AND time < ?', now - ROUTINE_MS)
      this.#run('DELETE FROM proof WHERE at < ? AND snapshot NOT IN (SELECT id FROM snapshot)', now - ROUTINE_MS)
    })
  }

  /** Copies the journal as it is now into a new file, 0600. */
  async copyTo(destination: string): Promise<void> {
    try {
      await copyDatabase(this.#database, destination)
    } catch (error) {
      throw journalError(this.path, 'copy', error)
    }
  }

  #exec(sql: string): void {
    guarded(this.path, 'write', () => this.#database.exec(sql))
  }

  #run(sql: string, ...values: SQLInputValue[]): { changes: number | bigint } {
    return guarded(this.path, 'write', () => this.#database.prepare(sql).run(...values))
  }

  #get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return guarded(this.path, 'read', () => this.#database.prepare(sql).get(...values))
  }

  *#all(sql: string, ...values: SQLInputValue[]): Generator<Row> {
    try {
      yield* this.#database.prepare(sql).iterate(...values) as Iterable<Row>
    } catch (error) {
      throw journalError(this.path, 'read', error)
    }
  }
}

export function idOf(started: number): RunId {
  return started.toString(36).padStart(8, '0')
}

function numberOf(id: RunId): number {
  const number = /^[0-9a-z]{1,10}$/.test(id) ? Number.parseInt(id, 36) : -1
  return Number.isSafeInteger(number) ? number : -1
}

function runOf(row: Row): RunRecord {
  return {
    id: idOf(Number(row.id)),
    operation: String(row.operation),
    subject: String(row.subject),
    host: String(row.host),
    started: dateOf(row.started),
    finished: optionalDate(row.finished),
    state: stateOf(row),
    milliseconds: optionalNumber(row.milliseconds),
    facts: factsOf(row.facts),
    summary: factsOf(row.summary),
    errors: Number(row.errors),
    warnings: Number(row.warnings),
  }
}

function stateOf({ outcome, host, process }: Row): RunState {
  if (outcome !== null) return outcome as RunOutcome
  return host === hostname() && identifiedLives(String(process)) ? 'running' : 'interrupted'
}

function copyOf(row: Row) {
  return {
    component: String(row.component),
    kind: String(row.kind),
    files: Number(row.files),
    bytes: Number(row.bytes),
    outcome: row.outcome as 'succeeded' | 'incomplete',
  }
}

function dateOf(value: SQLOutputValue | undefined): Date {
  return new Date(Number(value))
}

function optionalDate(value: SQLOutputValue | undefined): Date | undefined {
  return value === null || value === undefined ? undefined : dateOf(value)
}

function optionalNumber(value: SQLOutputValue | undefined): number | undefined {
  return value === null || value === undefined ? undefined : Number(value)
}

function optionalText(value: SQLOutputValue | undefined): string | undefined {
  return value === null || value === undefined ? undefined : String(value)
}

/** Facts are for people and reports: what is no object of JSON is none. */
function factsOf(value: SQLOutputValue | undefined): JournalFacts {
  try {
    const facts: unknown = JSON.parse(String(value))
    return typeof facts === 'object' && facts !== null && !Array.isArray(facts) ? (facts as JournalFacts) : {}
  } catch {
    return {}
  }
}
