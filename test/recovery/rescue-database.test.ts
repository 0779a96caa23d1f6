import assert from 'node:assert/strict'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, test } from 'node:test'
import type { Config } from '../../src/application/config/config.ts'
import { parseConfig } from '../../src/application/config/load-config.ts'
import { readJournal } from '../../src/application/journal/journal.ts'
import { backupApplication } from '../../src/operations/backup/backup-application.ts'
import { recordEvents } from '../../src/operations/journal/record-events.ts'
import type { DatabaseRescuePlan } from '../../src/operations/rescue/database-plan.ts'
import {
  planRescueDatabase,
  type RescueDatabaseOptions,
  type RescueDatabaseReport,
  rescueDatabase,
} from '../../src/operations/rescue/rescue-database.ts'
import { restoreToTarget } from '../../src/operations/restore/restore-to-target.ts'
import { addEvents } from '../equipment/add-events.ts'
import { cheapRepository } from '../equipment/scratch-application.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { PASSWORD } from '../equipment/test-repository.ts'

const PAGE = 4096
const folder = temporaryFolder()
after(() => folder[Symbol.dispose]())
const { signal } = new AbortController()
const root = join(folder.path, 'app')
const path = join(root, 'data/app.db')
const access = { location: join(folder.path, 'repository'), password: async () => PASSWORD }
const healthy = join(folder.path, 'healthy.db')
/** Root pages by name. */
const roots: Record<string, number> = {}

function configOf(changes: Record<string, unknown> = {}): Config {
  const written = {
    app: 'shop',
    root,
    repository: access.location,
    components: { data: 'data' },
    'state-dir': join(folder.path, 'state'),
    'work-dir': join(folder.path, 'work'),
    log: join(folder.path, 'log'),
    ...changes,
  }
  return parseConfig(JSON.stringify(written), join(root, 'holdfast.yaml'))
}

/** 3000 events are in the snapshot, 100 came later. */
before(async () => {
  mkdirSync(join(root, 'data'), { recursive: true })
  await cheapRepository(access.location)
  const database = new DatabaseSync(path)
  database.exec(`
    CREATE TABLE events (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
    CREATE INDEX events_text ON events (text);
    CREATE TABLE scratch (filler BLOB);
  `)
  addEvents(database, 1, 3000)
  await backupApplication(configOf(), access, { observe: () => {}, signal })
  addEvents(database, 3001, 3100)
  database.exec('INSERT INTO scratch VALUES (zeroblob(200000)); DELETE FROM scratch')
  for (const { name, rootpage } of database.prepare('SELECT name, rootpage FROM sqlite_schema').all()) {
    roots[String(name)] = Number(rootpage)
  }
  database.close()
  copyFileSync(path, healthy)
})

/** Puts other bytes in the place of the database, with nothing beside it. */
function put(bytes: Buffer): void {
  for (const name of readdirSync(join(root, 'data'))) rmSync(join(root, 'data', name))
  rmSync(join(folder.path, 'state'), { recursive: true, force: true })
  writeFileSync(path, bytes)
  chmodSync(path, 0o640)
}

type Done = Extract<RescueDatabaseReport, { outcome: 'succeeded' }>

async function rescue(changes: Partial<RescueDatabaseOptions> = {}): Promise<Done> {
  const report = await rescueDatabase(access, {
    config: configOf(),
    withinMs: 10_000,
    rollback: false,
    anew: false,
    confirm: async () => true,
    observe: () => {},
    signal,
    ...changes,
  })
  assert.equal(report.outcome, 'succeeded')
  return report as Done
}

function events(file = path): number {
  const database = new DatabaseSync(file, { readOnly: true })
  try {
    assert.equal(database.prepare('PRAGMA integrity_check').get()?.integrity_check, 'ok')
    return Number(database.prepare('SELECT count(*) AS count FROM events').get()?.count)
  } finally {
    database.close()
  }
}

const fill = (bytes: Buffer, page: number, count = 1) => bytes.fill(0xa5, (page - 1) * PAGE, (page - 1 + count) * PAGE)

interface Kind {
  readonly damage: (bytes: Buffer) => Buffer
  readonly trouble: Done['facts']['trouble']
  readonly use: Done['facts']['use']
  /** Undefined: as many as were counted. */
  readonly rows?: number
  readonly lost?: number
}

const KINDS: Readonly<Record<string, Kind>> = {
  'a destroyed header': {
    damage: (bytes) => bytes.fill(0xff, 0, 100),
    trouble: 'header',
    use: 'recovered',
    rows: 3100,
    lost: 0,
  },
  'a damaged interior page': {
    damage: (bytes) => fill(bytes, roots.events!),
    trouble: 'pages',
    use: 'recovered',
    rows: 3100,
    lost: 0,
  },
  'a damaged list of free pages': {
    damage(bytes) {
      bytes.writeUInt32BE(bytes.readUInt32BE(36) + 7, 36)
      return bytes
    },
    trouble: 'freelist',
    use: 'recovered',
    rows: 3100,
    lost: 0,
  },
  'a missing end': {
    damage: (bytes) => bytes.subarray(0, Math.floor(bytes.length / PAGE / 3) * PAGE),
    trouble: 'truncated',
    use: 'snapshot',
    rows: 3000,
  },
  'an overwritten middle': {
    damage: (bytes) => fill(bytes, 50, 3),
    trouble: 'pages',
    use: 'recovered',
  },
  'zeros only': { damage: (bytes) => Buffer.alloc(bytes.length), trouble: 'zeroed', use: 'snapshot', rows: 3000 },
  'a wrong page size': {
    damage(bytes) {
      bytes.writeUInt16BE(16_384, 16)
      return bytes
    },
    trouble: 'page-size',
    use: 'recovered',
    rows: 3100,
    lost: 0,
  },
  'a damaged index': {
    damage: (bytes) => fill(bytes, roots.events_text!),
    trouble: 'index',
    use: 'recovered',
    rows: 3100,
    lost: 0,
  },
  'another file in its place': {
    damage: () => Buffer.from('#!/bin/sh\necho not a database\n'.repeat(500)),
    trouble: 'another-file',
    use: 'snapshot',
    rows: 3000,
  },
}

describe('a rescued database', () => {
  for (const [name, { damage, trouble, use, rows, lost }] of Object.entries(KINDS)) {
    test(`with ${name}: the better copy takes its place, the original is kept byte for byte, and what is lost is said`, async () => {
      const damaged = Buffer.from(damage(readFileSync(healthy)))
      put(damaged)
      const { facts, kept } = await rescue()
      assert.deepEqual([facts.trouble, facts.use], [trouble, use], `${facts.seen} ${facts.why}`)
      const table = facts.tables.find((each) => each.table === 'events')
      assert.equal(events(), rows ?? table?.after)
      if (lost !== undefined) assert.equal(facts.rowsLost, lost)
      // Whatever is chosen, what it lacks of the other is what is said to be lost.
      if (use === 'snapshot') assert.equal(facts.rowsLost, table?.onlyAfter ?? 0)
      else assert.equal(facts.rowsLost, table?.onlyBefore)
      assert.equal(facts.timeLost !== undefined, use === 'snapshot')
      assert.match(kept!, /app\.db\.corrupt-\d{8}-\d{6}$/)
      assert.deepEqual(readFileSync(kept!), damaged)
      assert.equal(statSync(path).mode & 0o777, 0o640)
      assert.deepEqual(readdirSync(join(root, 'data')).length, 2, 'nothing else is left beside it')
      // Found again, it is nothing that needs a rescue, and no database of the application.
      const again = await planRescueDatabase(access, { config: configOf(), anew: false, signal })
      assert.deepEqual([again.path, again.use, again.others], [path, 'nothing', []])
    })
  }

  test('that lost its write-ahead log is not touched: the rows that only the snapshot has are told, and come back when asked for', async () => {
    put(readFileSync(healthy))
    const writer = new DatabaseSync(path)
    writer.exec('PRAGMA journal_mode = WAL; DELETE FROM events WHERE id > 3000; PRAGMA wal_checkpoint(TRUNCATE)')
    writer.exec('DELETE FROM events WHERE id > 2900; PRAGMA wal_checkpoint(TRUNCATE)')
    writer.close()
    const bytes = readFileSync(path)
    const { facts, kept } = await rescue()
    assert.deepEqual([facts.trouble, facts.use, kept], ['sound', 'nothing', undefined])
    assert.match(facts.why, /lacks 100 rows .*write-ahead log .*was lost.*--prefer snapshot/)
    assert.deepEqual(readFileSync(path), bytes)
    const back = await rescue({ prefer: 'snapshot' })
    assert.equal(events(), 3000)
    assert.deepEqual(readFileSync(back.kept!), bytes)
  })

  test('that is gone is back, and a log without its database is kept aside rather than played into it', async () => {
    put(readFileSync(healthy))
    rmSync(path)
    writeFileSync(`${path}-wal`, 'a log of the lost database')
    const { facts, kept } = await rescue()
    assert.deepEqual([facts.trouble, facts.use, kept], ['missing', 'snapshot', undefined])
    assert.equal(events(), 3000)
    const [aside] = readdirSync(join(root, 'data')).filter((name) => /^app\.db\.corrupt-.*-wal$/.test(name))
    assert.equal(readFileSync(join(root, 'data', aside!), 'utf8'), 'a log of the lost database')
  })

  test('takes its log aside with it', async () => {
    put(KINDS['zeros only']!.damage(readFileSync(healthy)))
    writeFileSync(`${path}-wal`, 'a log')
    const { kept } = await rescue()
    assert.equal(readFileSync(`${kept}-wal`, 'utf8'), 'a log')
    assert.equal(events(), 3000)
  })

  test('leaves an original that the next backup stores as it is, and is not incomplete for', async () => {
    const damaged = KINDS['a damaged index']!.damage(readFileSync(healthy))
    put(damaged)
    const { kept } = await rescue({ prefer: 'snapshot' })
    const { outcome, snapshot } = await backupApplication(configOf(), access, { observe: () => {}, signal })
    assert.equal(outcome, 'succeeded')
    const target = join(folder.path, 'restored')
    await restoreToTarget(access, { choice: { name: snapshot }, target, observe: () => {}, signal })
    assert.deepEqual(readFileSync(target + kept), damaged)
  })

  test('is the one that is preferred', async () => {
    const damaged = KINDS['a missing end']!.damage(readFileSync(healthy))
    put(damaged)
    const { facts } = await rescue({ prefer: 'recovered' })
    assert.equal(facts.use, 'recovered')
    assert.ok(events() < 3000 && events() === facts.tables.find(({ table }) => table === 'events')?.after)
    put(KINDS['a damaged index']!.damage(readFileSync(healthy)))
    const other = await rescue({ prefer: 'snapshot' })
    assert.deepEqual([other.facts.use, other.facts.rowsLost, events()], ['snapshot', 100, 3000])
  })

  test('stays as it is when the plan is declined, and after a dry run', async () => {
    const damaged = KINDS['zeros only']!.damage(readFileSync(healthy))
    put(damaged)
    const plans: DatabaseRescuePlan[] = []
    const report = await rescueDatabase(access, {
      config: configOf(),
      withinMs: 1000,
      rollback: false,
      anew: false,
      confirm: async (plan) => plans.push(plan) === 0,
      observe: () => {},
      signal,
    })
    assert.equal(report.outcome, 'declined')
    assert.deepEqual(
      plans[0]?.steps.map(({ id }) => id),
      ['stop', 'examine', 'replace'],
    )
    await planRescueDatabase(access, { config: configOf(), anew: false, signal })
    assert.deepEqual(readdirSync(join(root, 'data')), ['app.db'])
    assert.deepEqual(readFileSync(path), damaged)
  })

  test('without a sound copy anywhere is left alone, and the error says where else to look', async () => {
    put(Buffer.alloc(8192))
    const other = join(root, 'data/other.db')
    writeFileSync(other, Buffer.alloc(8192))
    await assert.rejects(rescue({ path: other }), { code: 'NOTHING', hint: /Nothing was changed/ })
    assert.deepEqual(readFileSync(other), Buffer.alloc(8192))
  })

  test('is not replaced while somebody has it open', async () => {
    put(KINDS['a damaged index']!.damage(readFileSync(healthy)))
    const { spawn } = await import('node:child_process')
    const holder = spawn('sleep', ['60'], {
      stdio: [(await import('node:fs')).openSync(path, 'r'), 'ignore', 'ignore'],
    })
    try {
      await assert.rejects(rescue(), { code: 'RESCUE', message: /process \d+ \(sleep\) still has/ })
      assert.deepEqual(readdirSync(join(root, 'data')), ['app.db'])
    } finally {
      holder.kill()
    }
  })
})

describe('the application of a rescued database', () => {
  /** Healthy with as many events as are asked for. */
  const service = (expected: string) => {
    const program = `
      const { createServer } = require('node:http')
      const { DatabaseSync } = require('node:sqlite')
      createServer((_, response) => {
        const database = new DatabaseSync(${JSON.stringify(path)}, { readOnly: true })
        const { count } = database.prepare('SELECT count(*) AS count FROM events').get()
        database.close()
        response.writeHead(${expected} ? 200 : 500).end(String(count))
      }).listen(PORT, '127.0.0.1')`
    writeFileSync(join(root, 'server.js'), program.replace('PORT', String(port)))
    return {
      service: {
        manager: 'command',
        start: 'node server.js & echo $! >pid; sleep 0.2',
        stop: 'test ! -f pid || kill $(cat pid); rm -f pid',
        health: `http://127.0.0.1:${port}/`,
      },
    }
  }
  let port = 0
  before(async () => {
    const { createServer } = await import('node:net')
    const probe = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => probe.once('listening', resolve))
    port = (probe.address() as { port: number }).port
    await new Promise((resolve) => probe.close(resolve))
  })
  after(() => {
    if (existsSync(join(root, 'pid'))) process.kill(Number(readFileSync(join(root, 'pid'), 'utf8')))
  })

  test('is stopped, started again and asked how it is, and every step is in the journal', async () => {
    put(KINDS['a damaged index']!.damage(readFileSync(healthy)))
    const file = join(folder.path, 'state/journal.db')
    using recorder = recordEvents(file, { ownRepository: true, warn: assert.fail })
    const { checks } = await rescue({ config: configOf(service('count === 3100')), observe: recorder.observe })
    assert.deepEqual(
      checks.map(({ check, passed, detail }) => [check, passed, detail]),
      [['health', true, 'it answers: 3100']],
    )
    using journal = readJournal(file)
    const [run] = [...journal!.runs({ operation: 'rescue' })]
    assert.equal(run?.state, 'succeeded')
    const steps = journal!.steps(run!.id).map(({ name }) => name)
    for (const name of ['stop', 'examine', 'replace', 'start', 'check']) assert.ok(steps.includes(name), name)
  })

  test('that is not healthy afterwards gets the original back with --rollback, and else goes on when it is', async () => {
    const damaged = KINDS['zeros only']!.damage(readFileSync(healthy))
    put(damaged)
    const unwell = configOf(service('count === 1'))
    await assert.rejects(rescue({ config: unwell, withinMs: 500, rollback: true }), {
      code: 'UNHEALTHY',
      message: /the original is in its place/,
    })
    assert.deepEqual(readFileSync(path), damaged)
    const [restored] = readdirSync(join(root, 'data')).filter((name) => name.includes('.restored-'))
    assert.equal(events(join(root, 'data', restored!)), 3000, 'what was put in its place is kept, too')

    put(damaged)
    await assert.rejects(rescue({ config: unwell, withinMs: 500 }), { code: 'UNHEALTHY', hint: /is kept as/ })
    assert.equal(events(), 3000)
    const well = configOf(service('count === 3000'))
    const plans: DatabaseRescuePlan[] = []
    const { kept, checks } = await rescue({ config: well, confirm: async (plan) => plans.push(plan) > 0 })
    assert.deepEqual(
      plans[0]?.steps.map(({ id }) => id),
      ['start', 'check'],
    )
    assert.deepEqual(readFileSync(kept!), damaged)
    assert.equal(checks.at(-1)?.passed, true)
  })
})
