import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, it, type TestContext } from 'node:test'
import { addEvents } from '../equipment/add-events.ts'
import { KILL_SEED, killSweep } from '../equipment/kill-sweep.ts'
import { killableOperations } from '../equipment/killable-operations.ts'
import { protectedApplication } from '../equipment/protected-application.ts'

const PAGE = 4096
const ROWS = 300
/** The others came later, so that what is recovered is told from the copy of the snapshot. */
const IN_SNAPSHOT = 250

interface Sweep {
  /** Beside the damaged database. */
  readonly hasLog: boolean
  /** Whether the config says how the application is stopped and started. */
  readonly hasService: boolean
  /** The application is never healthy, so that what was there comes back. */
  readonly rollsBack: boolean
  /** Where the files change places, as shares of all calls. */
  readonly swap: readonly [from: number, to: number]
  readonly kills: { readonly full: number; readonly reduced: number }
}

async function sweep(t: TestContext, { hasLog, hasService, rollsBack, swap, kills }: Sweep): Promise<void> {
  using app = await protectedApplication({ data: 'data' })
  const changes = hasService
    ? {
        service: {
          manager: 'command',
          start: 'touch running',
          stop: 'rm -f running',
          ...(rollsBack ? { health: 'http://127.0.0.1:9/' } : {}),
        },
      }
    : {}
  const path = app.at('data/app.db')
  mkdirSync(app.at('data'), { recursive: true })
  const database = new DatabaseSync(path)
  database.exec('CREATE TABLE events (id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX events_text ON events (text)')
  addEvents(database, 1, IN_SNAPSHOT)
  await app.backUp(changes)
  addEvents(database, IN_SNAPSHOT + 1, ROWS)
  const { rootpage } = database.prepare("SELECT rootpage FROM sqlite_schema WHERE type = 'index'").get()!
  database.close()
  const damaged = readFileSync(path)
  damaged.fill(0xa5, (Number(rootpage) - 1) * PAGE, Number(rootpage) * PAGE)
  app.put('data/app.db', damaged, 0o640)
  if (hasLog) app.put('data/app.db-wal', 'a log')
  if (hasService) app.put('running', '')
  const config = join(app.base, 'etc/holdfast.yaml')
  mkdirSync(join(app.base, 'etc'))
  writeFileSync(config, app.config(changes).text, { mode: 0o600 })
  const details = { repository: app.access.location, config, rollback: rollsBack }

  const moments = { before: 0, between: 0, after: 0 }
  await killSweep(t, {
    operation: 'rescue database',
    folder: app.base,
    details,
    kills,
    stretch: swap,
    judge() {
      const folder = app.at('data')
      const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name))
      const holders = files.filter((file) => statSync(file).isFile() && readFileSync(file).equals(damaged))
      assert.ok(holders.length > 0, `the original is lost; there are ${files.join(', ')}`)
      const state = holders.includes(path)
        ? 'before'
        : files.some((file) => file.includes('.holdfast-'))
          ? 'between'
          : 'after'
      moments[state] += 1
      const isOther = existsSync(path) && !holders.includes(path)
      if (isOther) assert.ok(!existsSync(`${path}-wal`), 'the log of the original lies beside the other')
      return finish()
    },
  })
  t.diagnostic(`before the swap ${moments.before}, in it ${moments.between}, after it ${moments.after}`)

  async function finish(): Promise<void> {
    await killableOperations['rescue database'](details)
    const [first, ...others] = readdirSync(app.at('data')).sort()
    assert.equal(first, 'app.db')
    if (rollsBack) {
      assert.ok(readFileSync(path).equals(damaged), 'the original is not in its place')
      const [log, ...restored] = others
      assert.deepEqual([log, app.read('data/app.db-wal')], ['app.db-wal', 'a log'])
      assert.ok(restored.length > 0)
      for (const name of restored) {
        assert.match(name, /^app\.db\.restored-\d{8}-\d{6}$/)
        assert.equal(rowsOf(app.at(`data/${name}`)), ROWS)
      }
    } else {
      assert.equal(rowsOf(path), ROWS)
      const [kept = '', ...logs] = others
      assert.match(kept, /^app\.db\.corrupt-\d{8}-\d{6}$/)
      assert.ok(readFileSync(app.at(`data/${kept}`)).equals(damaged))
      assert.deepEqual(logs, hasLog ? [`${kept}-wal`] : [])
      if (hasLog) assert.equal(app.read(`data/${kept}-wal`), 'a log')
    }
    assert.equal(statSync(path).mode & 0o777, 0o640)
    assert.equal(existsSync(app.at('running')), hasService)
    assert.deepEqual(readdirSync(join(app.base, 'work')), [])
  }
}

function rowsOf(file: string): number {
  const database = new DatabaseSync(file, { readOnly: true })
  try {
    assert.equal(database.prepare('PRAGMA integrity_check').get()?.integrity_check, 'ok')
    return Number(database.prepare('SELECT count(*) AS count FROM events').get()?.count)
  } finally {
    database.close()
  }
}

describe('a rescue of a database that is killed, run again', { concurrency: 2 }, () => {
  it(`ends with the sound one in its place and the application running (HOLDFAST_SEED=${KILL_SEED})`, (t) =>
    sweep(t, { hasLog: false, hasService: true, rollsBack: false, swap: [0.66, 0.7], kills: { full: 80, reduced: 3 } }))
  it(`ends there too where nothing is known to run, and the log goes aside with the original (HOLDFAST_SEED=${KILL_SEED})`, (t) =>
    sweep(t, {
      hasLog: true,
      hasService: false,
      rollsBack: false,
      swap: [0.83, 0.88],
      kills: { full: 60, reduced: 3 },
    }))
  it(`ends with the original in its place where the application does not come up (HOLDFAST_SEED=${KILL_SEED})`, (t) =>
    sweep(t, { hasLog: true, hasService: true, rollsBack: true, swap: [0.8, 0.83], kills: { full: 60, reduced: 3 } }))
})
