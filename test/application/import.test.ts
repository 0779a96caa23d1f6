import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { after, before, describe, it } from 'node:test'
import { openGpgHome, without } from '../../src/application/sources/gpg-home.test-fixture.ts'
import { byTime, readSnapshots, type StoredSnapshot } from '../../src/engine/repository/snapshots.ts'
import { importFolders } from '../../src/operations/interop/import-folders.ts'
import { restoreToTarget } from '../../src/operations/restore/restore-to-target.ts'
import { readManifest } from '../../src/operations/snapshot-files.ts'
import { compareTrees } from '../equipment/describe-tree.ts'
import {
  addRows,
  briefly,
  countRows,
  makeDatabase,
  type ProtectedApplication,
  protectedApplication,
} from '../equipment/protected-application.ts'
import { repositoryContent } from '../equipment/repository-content.ts'
import { pathsIn } from '../equipment/snapshot-paths.ts'

const SECRET = 'TOKEN=hunter2hunter2'
const SCRIPT = join(import.meta.dirname, '../../bench/runbook-backup.sh')
const quiet = { observe: () => {}, signal: new AbortController().signal }

/** The commands of the procedure for a backup by hand, as operators have them; only where things lie is said by variables. */
const MANUAL = `
set -euo pipefail
BACKUP_DIR="$BACKUP_ROOT/manual_$STAMP"
mkdir -p $BACKUP_DIR
tar -czf "$BACKUP_DIR/config.tar.gz" -C $APP config
tar -czf "$BACKUP_DIR/data.tar.gz" -C $APP data
tar -czf - -C $APP secrets | \
    gpg --batch --trust-model always --encrypt --armor --recipient admin@example.com --output "$BACKUP_DIR/secrets.tar.gz.gpg"
cp $APP/ecosystem.config.js "$BACKUP_DIR/"
cp $SYSTEM/shop.service "$BACKUP_DIR/"
echo "Manual backup before the big change" | tee "$BACKUP_DIR/REASON.txt" > /dev/null
echo "Created: $(date)" | tee -a "$BACKUP_DIR/REASON.txt" > /dev/null
echo "By: jani" | tee -a "$BACKUP_DIR/REASON.txt" > /dev/null
`

describe('import', { skip: without('gpg', 'tar', 'bash', 'sqlite3') }, () => {
  let app: ProtectedApplication
  let home: ReturnType<typeof openGpgHome>
  let live: DatabaseSync
  const at = (path: string) => join(app.base, path)
  const root = () => at('backups')
  const config = () =>
    app.config({
      seal: [`gpg:admin@example.com`],
      components: {
        config: 'config',
        data: 'data',
        secrets: 'secrets',
        pm2: 'ecosystem.config.js',
        systemd: at('system/shop.service'),
      },
    })

  function runScript(date: string): void {
    execFileSync('bash', [SCRIPT], {
      env: {
        ...process.env,
        BENCH_DATE: date,
        BENCH_BACKUP_ROOT: root(),
        BENCH_APP_DIR: app.root,
        BENCH_LOG_FILE: at('script.log'),
        BENCH_GPG_RECIPIENT: 'admin@example.com',
      },
      stdio: 'pipe',
    })
  }

  const importAll = (directory = root(), dryRun = false) =>
    importFolders(config(), app.access, { directory, dryRun, ...quiet })

  async function snapshots(): Promise<StoredSnapshot[]> {
    const found: StoredSnapshot[] = []
    for await (const result of readSnapshots(await app.open())) {
      assert.ok('snapshot' in result)
      found.push(result)
    }
    return found.sort(byTime)
  }

  const restoreTo = (id: string, target: string) =>
    restoreToTarget(app.access, { choice: { name: id }, target, unseal: { identities: [] }, verify: true, ...quiet })

  before(async () => {
    home = openGpgHome()
    const key = home.makeKey('Admin <admin@example.com>')
    home.gpg(['--import-ownertrust'], `${key}:6:\n`)
    app = await protectedApplication()
    app.put('config/bot.json', '{"version":1}', 0o640)
    app.put('secrets/.env.production', SECRET, 0o600)
    app.put('data/deep/notes', 'first')
    symlinkSync('notes', app.at('data/deep/link'))
    app.put('ecosystem.config.js', 'module.exports = {}\n')
    mkdirSync(at('system'))
    writeFileSync(at('system/shop.service'), '[Service]\nExecStart=/bin/true\n')
    // Written to while it is backed up: the archive of data holds a database without its newest rows, and a -wal.
    live = makeDatabase(app.at('data/auth.db'), { rows: 50, keepOpen: true })
    runScript('20251101')
    cpSync(at('backups/20251101'), at('first state'), { recursive: true })
    cpSync(app.root, at('state of the first'), { recursive: true })
    mkdirSync(at('backups/monthly'))
    execFileSync('cp', ['-r', at('backups/20251101'), at('backups/monthly/')])
    addRows(live, 30)
    app.put('config/bot.json', '{"version":2}', 0o640)
    app.put('data/deep/notes', 'second')
    runScript('20251115')
    const env = { ...process.env, BACKUP_ROOT: root(), STAMP: '20251116_143000', APP: app.root, SYSTEM: at('system') }
    execFileSync('bash', ['-c', MANUAL], { env, stdio: 'pipe' })
    mkdirSync(at('backups/lost+found'))
  })
  after(() => {
    live.close()
    app[Symbol.dispose]()
    home[Symbol.dispose]()
  })

  it('shows what it would do, and does nothing', async () => {
    const { backups, outcome } = await importAll(root(), true)
    assert.deepEqual(
      backups.map(({ name, state }) => `${name} ${state}`),
      ['20251101 new', 'monthly/20251101 same', '20251115 new', 'manual_20251116_143000 new'],
    )
    assert.deepEqual([outcome, await snapshots()], ['succeeded', []])
  })

  it('makes snapshots of daily, monthly and manual folders with their own dates, servers and reasons', async () => {
    const { backups, findings, outcome } = await importAll()
    // The manual one has no copy of the database: it comes out of the archive, with its log.
    assert.deepEqual(
      briefly(
        findings.filter(({ severity }) => severity !== 'note'),
        app.base,
      ),
      [
        'warning import-missing /backups/20251101',
        'warning import-missing /backups/20251115',
        'warning import-database-from-archive /opt/shop/data/auth.db',
      ],
    )
    assert.deepEqual(
      backups.map(({ name, state }) => `${name} ${state}`),
      ['20251101 imported', 'monthly/20251101 same', '20251115 imported', 'manual_20251116_143000 imported'],
    )
    assert.equal(outcome, 'succeeded')
    const stored = await snapshots()
    assert.deepEqual(
      stored.map(({ snapshot: { time } }) => new Date(Number(time.ns / 1_000_000n)).toString().slice(0, 24)),
      ['Sat Nov 01 2025 02:00:00', 'Sat Nov 15 2025 02:00:00', 'Sun Nov 16 2025 14:30:00'],
    )
    const repository = await app.open()
    const manual = await readManifest(repository, stored[2]!)
    assert.deepEqual([manual?.reason, manual?.who.user], ['Manual backup before the big change', 'jani'])
    assert.equal(manual?.time, new Date(2025, 10, 16, 14, 30).toISOString())
    const daily = await readManifest(repository, stored[0]!)
    assert.match(daily?.reason ?? '', /^imported from .*20251101$/)
    assert.ok(stored.every(({ snapshot }) => snapshot.tags.includes('imported')))
  })

  it('adds nothing when it is run again, also from another place', async () => {
    const before = await snapshots()
    cpSync(root(), at('moved'), { recursive: true })
    for (const directory of [root(), at('moved'), at('backups/20251115')]) {
      const { backups, outcome } = await importAll(directory)
      assert.equal(outcome, 'succeeded')
      assert.ok(backups.every(({ state }) => state === 'present' || state === 'same'))
    }
    assert.deepEqual(
      (await snapshots()).map(({ id }) => id),
      before.map(({ id }) => id),
    )
  })

  it('restores what the script had backed up: files, database, secrets', async () => {
    const [first, second, manual] = await snapshots()
    const target = at('restored first')
    const report = await restoreTo(first!.id, target)
    assert.deepEqual(report.findings, [])
    const copy = join(target, app.root)
    const without = (path: string) => path === '' || path === 'data' || path.includes('auth.db')
    assert.deepEqual(compareTrees(at('state of the first'), copy, { without }), [])
    assert.ok(!existsSync(join(copy, 'data/auth.db-wal')))
    assert.equal(countRows(join(copy, 'data/auth.db')), 50)
    assert.equal(readFileSync(join(copy, 'secrets/.env.production'), 'utf8'), SECRET)
    for (const [{ id }, rows] of [
      [second!, 80],
      [manual!, 80],
    ] as const) {
      await restoreTo(id, at(`restored ${id}`))
      assert.equal(countRows(join(at(`restored ${id}`), app.root, 'data/auth.db')), rows)
    }
    const unit = join(at(`restored ${manual!.id}`), at('system/shop.service'))
    assert.match(readFileSync(unit, 'utf8'), /ExecStart/)
  })

  it('keeps sealed secrets sealed, and they verify and come back in place', async () => {
    const [first] = await snapshots()
    const repository = await app.open()
    const manifest = await readManifest(repository, first!)
    assert.deepEqual([manifest?.secrets?.archives, manifest?.secrets?.base], [['secrets.tar.gz.gpg'], app.root])
    for await (const [name, bytes] of repositoryContent(repository, app.access.location)) {
      assert.ok(!bytes.includes(SECRET), name)
    }
    const changes = { components: { config: 'config', data: 'data', secrets: 'secrets' } }
    const verified = await app.verify(changes, first!.id)
    assert.deepEqual(
      verified.findings.filter(({ severity }) => severity === 'error'),
      [],
    )
    app.put('secrets/.env.production', 'overwritten', 0o600)
    const report = await app.restore(changes, { choice: { name: first!.id }, components: ['secrets'] })
    assert.equal(report.outcome, 'succeeded')
    assert.equal(app.read('secrets/.env.production'), SECRET)
  })

  describe('of a folder that is not whole', () => {
    /** A copy of the first folder in a place of its own, with damage done to it. */
    async function damaged(name: string, damage: (folder: string) => void) {
      const directory = at(`damaged ${name}`)
      const folder = join(directory, '20250101')
      cpSync(at('first state'), folder, { recursive: true })
      appendFileSync(join(folder, 'MANIFEST.txt'), name)
      damage(folder)
      const report = await importAll(directory)
      const [backup] = report.backups
      const paths = backup?.snapshot === undefined ? [] : await pathsIn(await app.open(), backup.snapshot, app.root)
      return {
        ...report,
        backup: backup!,
        paths,
        codes: [...new Set(report.findings.filter(({ severity }) => severity === 'error').map(({ code }) => code))],
      }
    }

    const database = (folder: string) => join(folder, 'auth.db.backup')

    it('reports an archive that is missing, and imports the rest', async () => {
      const { codes, outcome, paths, backup } = await damaged('missing', (folder) =>
        rmSync(join(folder, 'config.tar.gz')),
      )
      assert.deepEqual([codes, outcome, backup.state], [['import-missing'], 'incomplete', 'imported'])
      assert.ok(paths.includes('data/auth.db') && !paths.includes('config/'))
    })

    it('reports an archive that ends too early, and imports what comes before and the rest', async () => {
      const { codes, outcome, paths } = await damaged('truncated', (folder) => {
        const file = join(folder, 'config.tar.gz')
        truncateSync(file, readFileSync(file).length - 20)
      })
      assert.deepEqual([codes, outcome], [['import-archive-damaged'], 'incomplete'])
      assert.ok(paths.includes('data/auth.db'))
    })

    it('reports bytes that are no archive, and a seal that is broken', async () => {
      const { codes, outcome, paths, backup } = await damaged('garbage', (folder) => {
        writeFileSync(join(folder, 'data.tar.gz'), 'nonsense')
        const file = join(folder, 'secrets.tar.gz.gpg')
        truncateSync(file, readFileSync(file).length >> 1)
      })
      assert.deepEqual(codes.sort(), ['import-archive-damaged', 'import-missing', 'seal-broken'])
      assert.equal(outcome, 'incomplete')
      assert.ok(paths.includes('config/bot.json') && paths.includes('data/auth.db'), String(paths))
      assert.equal(
        (await readManifest(await app.open(), (await snapshots()).find(({ id }) => id === backup.snapshot)!))?.outcome,
        'incomplete',
      )
    })

    it('takes the database out of the archive when its own copy is torn, if SQLite finds that sound', async () => {
      const { codes, paths, findings } = await damaged('torn copy', (folder) => {
        chmodSync(database(folder), 0o600)
        const bytes = readFileSync(database(folder))
        bytes.fill(0xff, 4096 + 8, 4096 + 3000)
        writeFileSync(database(folder), bytes)
      })
      assert.deepEqual(codes, ['database-corrupt'])
      assert.ok(paths.includes('data/auth.db'))
      assert.ok(briefly(findings, app.base).includes('warning import-database-from-archive /opt/shop/data/auth.db'))
    })

    it('never stores a torn database under its name', async () => {
      const { codes, paths } = await damaged('torn everywhere', (folder) => {
        rmSync(database(folder))
        const scratch = join(folder, '../scratch')
        mkdirSync(scratch)
        execFileSync('tar', ['-xzf', join(folder, 'data.tar.gz'), '-C', scratch])
        copyFileSync(join(at('first state'), 'auth.db.backup'), join(scratch, 'data/auth.db'))
        rmSync(join(scratch, 'data/auth.db-wal'), { force: true })
        const bytes = readFileSync(join(scratch, 'data/auth.db'))
        bytes.fill(0xff, 4096 + 8, 4096 + 3000)
        writeFileSync(join(scratch, 'data/auth.db'), bytes)
        execFileSync('tar', ['-czf', join(folder, 'data.tar.gz'), '-C', scratch, 'data'])
        rmSync(scratch, { recursive: true })
      })
      assert.deepEqual(codes, ['database-corrupt'])
      assert.ok(!paths.includes('data/auth.db'), String(paths))
      assert.ok(
        paths.some((path) => path.startsWith('data/auth.db') && path.includes('corrupt')),
        String(paths),
      )
    })

    it('takes no secret in the clear, and no entry that leads out of its place', async () => {
      const { codes, paths } = await damaged('hostile', (folder) => {
        const scratch = join(folder, '../scratch')
        mkdirSync(join(scratch, 'config/sub'), { recursive: true })
        writeFileSync(join(scratch, 'config/.env'), SECRET)
        writeFileSync(join(scratch, 'config/fine'), 'fine')
        execFileSync('tar', ['-czf', join(folder, 'config.tar.gz'), '-C', scratch, 'config'])
        writeFileSync(join(scratch, 'x'), 'out')
        execFileSync('tar', [
          '-czPf',
          join(folder, 'data.tar.gz'),
          '--transform',
          's,^x,data/../../x,',
          '-C',
          scratch,
          'x',
        ])
        rmSync(scratch, { recursive: true })
      })
      assert.deepEqual(codes.sort(), ['entry-refused', 'secret-not-sealed'])
      assert.deepEqual(
        paths.filter((path) => path.startsWith('config/')),
        ['config/', 'config/fine', 'config/sub/'],
      )
    })

    it('refuses an empty folder, one of ours, and says so of a place without any', async () => {
      mkdirSync(at('empty/20250101'), { recursive: true })
      const empty = await importAll(at('empty'))
      assert.deepEqual([empty.backups[0]?.state, empty.outcome], ['refused', 'incomplete'])
      mkdirSync(at('ours/20250101'), { recursive: true })
      writeFileSync(at('ours/20250101/MANIFEST.txt'), 'Made by: holdfast export 1\n')
      const ours = await importAll(at('ours'))
      assert.deepEqual([ours.backups[0]?.state, ours.findings[0]?.code], ['refused', 'import-exported'])
      assert.equal((await importAll(at('system'))).outcome, 'incomplete')
      await assert.rejects(importAll(at('nowhere')), { code: 'USAGE' })
    })

    it('leaves nothing in the work folder', () => {
      assert.deepEqual(readdirSync(at('work')), [])
    })
  })
})
