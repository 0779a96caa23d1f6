import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { openGpgHome, without } from '../../src/application/sources/gpg-home.test-fixture.ts'
import { readSnapshot } from '../../src/engine/repository/snapshots.ts'
import type { OperationEvent } from '../../src/operations/event.ts'
import { type ExportReport, exportSnapshot } from '../../src/operations/interop/export-snapshot.ts'
import { findNode } from '../../src/operations/snapshot-files.ts'
import { damagePackOf } from '../equipment/damage-pack.ts'
import { compareTrees } from '../equipment/describe-tree.ts'
import {
  APP,
  addRows,
  briefly,
  countRows,
  makeDatabase,
  type ProtectedApplication,
  protectedApplication,
} from '../equipment/protected-application.ts'

const quiet = { observe: () => {}, signal: new AbortController().signal }

/**
 * The commands of the hand-made procedure's chapter on full recovery, steps 3 to 6, as operators have them: only where
 * backup and system lie is said by variables, nobody needs sudo, and services are not started.
 */
const RUNBOOK = `
set -euo pipefail
# Step 3: Decrypt and Extract Secrets
gpg --decrypt $RESTORE/secrets.tar.gz.gpg | tar -xzf - -C $SECRETS_BASE/
ls -l $APP/secrets/
chmod 600 $APP/secrets/.env.*
# Step 4: Restore Configuration and Data
tar -xzf $RESTORE/config.tar.gz -C $APP/
tar -xzf $RESTORE/data.tar.gz -C $APP/
if [ -f $RESTORE/auth.db.backup ]; then
    cp $RESTORE/auth.db.backup $APP/data/auth.db
fi
# Step 5: Restore System Configuration
cp $RESTORE/ecosystem.config.js $APP/
cp $RESTORE/shop.service $SYSTEM/etc/systemd/system/
if [ -f $RESTORE/nginx-shop.conf ]; then
    cp $RESTORE/nginx-shop.conf $SYSTEM/etc/nginx/sites-available/shop
    ln -sf $SYSTEM/etc/nginx/sites-available/shop $SYSTEM/etc/nginx/sites-enabled/
fi
# Step 6: Fix Ownership and Permissions
chmod 750 $APP
chmod 700 $APP/secrets
chmod 750 $APP/data
`

describe('export', { skip: without('gpg', 'tar', 'sha256sum', 'bash') }, () => {
  let app: ProtectedApplication
  let home: ReturnType<typeof openGpgHome>
  let config: Record<string, unknown>
  const at = (path: string) => join(app.base, path)
  const host = (path: string) => at(join('host', path))

  before(async () => {
    home = openGpgHome()
    const [key] = [home.makeKey('Admin <admin@example.com>')]
    app = await protectedApplication()
    const components = {
      config: 'config',
      data: 'data',
      secrets: 'secrets',
      pm2: 'ecosystem.config.js',
      systemd: host('etc/systemd/system/shop.service'),
      nginx: host('etc/nginx/sites-available/shop'),
      'press-kit': { kind: 'files', path: at('elsewhere') },
    }
    config = { seal: [`gpg:${key}`], sign: `gpg:${key}`, components }
    app.put('config/bot.json', '{"a":1}', 0o640)
    app.put('config/empty', '')
    symlinkSync('bot.json', app.at('config/link'))
    linkSync(app.at('config/bot.json'), app.at('config/the same'))
    app.put('secrets/.env.production', 'TOKEN=hunter2', 0o600)
    app.put('data/notes with space.txt', 'x'.repeat(1_000_000))
    app.put('data/deep/\u00fcml\u00e4ut/file', 'y')
    makeDatabase(app.at('data/auth.db'))
    makeDatabase(app.at('data/more/auth.db'), { rows: 7 })
    app.put('ecosystem.config.js', 'module.exports = { apps: [] }\n')
    const hostFiles = {
      'etc/systemd/system/shop.service': '[Unit]\nDescription=shop\n[Service]\nExecStart=/bin/true\n',
      'etc/nginx/sites-available/shop': 'server { listen 80; location / { proxy_pass http://127.0.0.1:3000; } }\n',
    }
    for (const [path, text] of Object.entries(hostFiles)) {
      mkdirSync(join(host(path), '..'), { recursive: true })
      writeFileSync(host(path), text)
    }
    mkdirSync(at('elsewhere'))
    writeFileSync(at('elsewhere/logo.svg'), '<svg/>')
    const { findings, outcome } = await backUp()
    assert.deepEqual([outcome, findings.filter(({ severity }) => severity !== 'note')], ['succeeded', []])
  })
  after(() => {
    app[Symbol.dispose]()
    home[Symbol.dispose]()
  })

  const backUp = () => app.backUp(config)
  const exportTo = (name: string, options: Partial<Parameters<typeof exportSnapshot>[1]> = {}): Promise<ExportReport> =>
    exportSnapshot(app.access, {
      choice: { name: 'latest', app: APP },
      directory: at(name),
      config: app.config(config),
      ...quiet,
      ...options,
    })

  it('restores with the commands of the hand-made procedure, equal to what was there', async () => {
    const report = await exportTo('export')
    assert.deepEqual(briefly(report.findings), [])
    assert.equal(report.outcome, 'succeeded')
    for (const name of [
      'config.tar.gz',
      'data.tar.gz',
      'auth.db.backup',
      'secrets.tar.gz.gpg',
      'ecosystem.config.js',
    ]) {
      assert.ok(existsSync(at(`export/${name}`)), name)
    }
    const system = at('fresh')
    const appDir = join(system, app.root)
    for (const path of ['etc/systemd/system', 'etc/nginx/sites-available', 'etc/nginx/sites-enabled']) {
      mkdirSync(join(system, path), { recursive: true })
    }
    mkdirSync(appDir, { recursive: true })
    const env = { ...process.env, RESTORE: at('export'), SYSTEM: system, SECRETS_BASE: system, APP: appDir }
    const run = spawnSync('bash', ['-c', RUNBOOK], { env, encoding: 'utf8' })
    assert.equal(run.status, 0, run.stderr)
    for (const name of ['config', 'secrets', 'ecosystem.config.js']) {
      const [original, copy] = [app.at(name), join(appDir, name)]
      if (name === 'ecosystem.config.js') assert.deepEqual(readFileSync(copy), readFileSync(original))
      else assert.deepEqual(compareTrees(original, copy, { without: (path) => path === '' }), [])
    }
    const without = (path: string) => path === '' || path === 'more' || path.includes('auth.db')
    assert.deepEqual(compareTrees(app.at('data'), join(appDir, 'data'), { without }), [])
    assert.deepEqual([countRows(join(appDir, 'data/auth.db')), countRows(join(appDir, 'data/more/auth.db'))], [100, 7])
    assert.equal(statSync(join(appDir, 'secrets/.env.production')).mode & 0o777, 0o600)
    const unit = 'etc/systemd/system/shop.service'
    assert.deepEqual(readFileSync(join(system, unit)), readFileSync(host(unit)))
    const site = readFileSync(join(system, 'etc/nginx/sites-enabled/shop'))
    assert.deepEqual(site, readFileSync(host('etc/nginx/sites-available/shop')))
    // The operator's own component is there too.
    execFileSync('tar', ['-xzf', at('export/press-kit.tar.gz'), '-C', system])
    assert.equal(readFileSync(join(system, at('elsewhere/logo.svg')), 'utf8'), '<svg/>')
  })

  it('is checked by sha256sum and gpg alone, and readable for its owner alone', async () => {
    await exportTo('checked')
    execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: at('checked'), stdio: 'pipe' })
    execFileSync('gpg', ['--verify', 'SHA256SUMS.asc', 'SHA256SUMS'], { cwd: at('checked'), stdio: 'pipe' })
    const listed = readFileSync(at('checked/SHA256SUMS'), 'utf8').match(/\S+$/gm)!
    const names = readdirSync(at('checked'))
    assert.deepEqual([...listed, 'SHA256SUMS', 'SHA256SUMS.asc'].sort(), names.sort())
    for (const name of names) assert.equal(statSync(at(`checked/${name}`)).mode & 0o777, 0o600, name)
    assert.equal(statSync(at('checked')).mode & 0o777, 0o700)
    const notes = readFileSync(at('checked/MANIFEST.txt'), 'utf8')
    assert.match(notes, /^Date: \d{8}_\d{6}$/m)
    assert.match(notes, /^- auth\.db\.backup: a consistent copy of the database \S+\/data\/auth\.db/m)
    for (const name of listed.filter((name) => name !== 'MANIFEST.txt'))
      assert.ok(notes.includes(`\n- ${name}: `), name)
  })

  it('says in MANIFEST.txt the commands that restore it, and they do', async () => {
    await exportTo('noted')
    const target = at('by notes')
    mkdirSync(target)
    const notes = readFileSync(at('noted/MANIFEST.txt'), 'utf8')
    const commands = [...notes.matchAll(/^\d+\. (?:Check|Decrypt secrets|Extract): (.*)$/gm)]
      .map(([, command]) => command!.replace(/ -C (\S+)$/, (_, base) => ` -C "${target}${base}"`))
      .map((command) => command.replace(/^(tar .* -C )(".*")$/, 'mkdir -p $2 && $1$2'))
    assert.ok(commands.length >= 6, notes)
    const script = ['set -euo pipefail', ...commands].join('\n')
    const run = spawnSync('bash', ['-c', script], { cwd: at('noted'), env: { ...process.env }, encoding: 'utf8' })
    assert.equal(run.status, 0, `${script}\n${run.stderr}`)
    const without = (path: string) => path === '' || path === 'data' || path.includes('auth.db') || path === 'data/more'
    assert.deepEqual(compareTrees(app.root, join(target, app.root), { without }), [])
  })

  it('never touches a folder that is there, but an earlier export when told so', async () => {
    mkdirSync(at('taken'))
    writeFileSync(at('taken/mine'), 'mine')
    await assert.rejects(exportTo('taken'), { code: 'EXISTS' })
    await assert.rejects(exportTo('taken', { replace: true }), { code: 'EXISTS' })
    assert.deepEqual(readdirSync(at('taken')), ['mine'])
    mkdirSync(at('twice'))
    await exportTo('twice')
    await assert.rejects(exportTo('twice'), { code: 'EXISTS' })
    writeFileSync(at('twice/MANIFEST.txt'), 'older')
    await exportTo('twice', { replace: true })
    assert.match(readFileSync(at('twice/MANIFEST.txt'), 'utf8'), /Snapshot/)
    assert.deepEqual(
      readdirSync(app.base).filter((name) => name.startsWith('twice')),
      ['twice'],
    )
  })

  it('leaves nothing behind when it is interrupted', async () => {
    const controller = new AbortController()
    const observe = (event: OperationEvent) => {
      if (event.type === 'phase' && event.component === 'data') controller.abort(new Error('enough'))
    }
    await assert.rejects(exportTo('interrupted', { signal: controller.signal, observe }), /enough/)
    assert.deepEqual(
      readdirSync(app.base).filter((name) => name.startsWith('interrupted')),
      [],
    )
  })

  it('of a damaged file leaves that one out, says so, and is incomplete', async () => {
    const repository = await app.open()
    addRows(makeDatabase(app.at('data/auth.db'), { rows: 0, keepOpen: true }), 3)
    const { snapshot } = await backUp()
    const fresh = await app.open()
    const { tree } = await readSnapshot(fresh, snapshot)
    const node = await findNode(fresh, tree, app.at('data/notes with space.txt'))
    damagePackOf(repository, app.access.location, 'data', node!.content![0]!)
    const report = await exportTo('damaged')
    assert.equal(report.outcome, 'incomplete')
    assert.ok(briefly(report.findings, app.root).includes('error not-exported /data/notes with space.txt'))
    const listed = execFileSync('tar', ['-tzf', at('damaged/data.tar.gz')], { encoding: 'utf8' })
    assert.match(listed, /data\/deep\//)
    assert.doesNotMatch(listed, /notes/)
  })
})
