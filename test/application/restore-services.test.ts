import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, join, resolve } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { serviceState } from '../../src/application/host/service.ts'
import {
  countRows,
  makeDatabase,
  type ProtectedApplication,
  protectedApplication,
} from '../equipment/protected-application.ts'

const binaries = resolve(import.meta.dirname, '../../node_modules/.bin')
const skip = existsSync(join(binaries, 'pm2')) ? false : 'pm2 is not installed: npm ci'

/** A PM2 of its own, as long as it is open: its daemon is ended with all that it runs. */
function openPm2(folder: string) {
  const before = { PM2_HOME: process.env.PM2_HOME, PATH: process.env.PATH }
  process.env.PM2_HOME = join(folder, 'pm2')
  process.env.PATH = `${binaries}${delimiter}${before.PATH}`
  const pm2 = (...args: string[]) => {
    const { status, stderr, stdout } = spawnSync('pm2', [...args, '--silent'], { encoding: 'utf8' })
    assert.equal(status, 0, stderr + stdout)
  }
  return {
    pm2,
    [Symbol.dispose]() {
      pm2('kill')
      for (const [name, value] of Object.entries(before)) {
        if (value === undefined) delete process.env[name]
        else process.env[name] = value
      }
    },
  }
}

/** Keeps the database open as a bot would, writes to it, and closes it when it is told to end. */
const SERVER = `
const { DatabaseSync } = require('node:sqlite')
const { appendFileSync } = require('node:fs')
const database = new DatabaseSync(__dirname + '/data/auth.db')
appendFileSync(__dirname + '/started', 'x')
const timer = setInterval(() => database.exec("INSERT INTO events (text) VALUES ('live')"), 20)
process.on('SIGINT', () => { clearInterval(timer); database.close(); process.exit() })
`

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const deadline = Date.now() + 20_000; !(await condition()); await sleep(50)) {
    if (Date.now() > deadline) throw new Error(`${what} did not happen`)
  }
}

const starts = (app: ProtectedApplication) => (existsSync(app.at('started')) ? app.read('started').length : 0)

test('a service is stopped for the swap and started after it, also when the swap fails', { skip }, async () => {
  using app = await protectedApplication({ data: 'data', last: 'last.txt' })
  using daemon = openPm2(app.base)
  makeDatabase(app.at('data/auth.db'), { rows: 10 })
  app.put('last.txt', 'one')
  await app.backUp()
  app.put('server.cjs', SERVER)
  daemon.pm2('start', app.at('server.cjs'), '--name', 'bot')
  await until(() => starts(app) === 1, 'the first start')
  await until(() => existsSync(app.at('data/auth.db-wal')), 'the first row')

  await assert.rejects(app.restore(), { code: 'IN_USE', hint: /--stop/ })
  await assert.rejects(app.restore({}, { stop: ['pm2:nobody'] }), { code: 'SERVICE' })
  assert.equal(await serviceState('pm2:bot'), 'running')

  // A swap that fails: the service runs on with what it had.
  const failing = app.restore(
    {},
    {
      stop: ['pm2:bot'],
      observe: (event) =>
        event.type === 'phase' && event.phase === 'swap' && spawnSync('chattr', ['+i', app.at('last.txt')]),
    },
  )
  await assert
    .rejects(failing, { code: 'SWAP', message: /^Nothing was changed/ })
    .finally(() => spawnSync('chattr', ['-i', app.at('last.txt')]))
  await until(() => starts(app) === 2, 'the second start')
  assert.ok(countRows(app.at('data/auth.db')) > 10)

  const report = await app.restore({}, { stop: ['pm2:bot'] })
  assert.equal(report.outcome, 'succeeded')
  await until(() => starts(app) === 3, 'the third start')
  const [kept] = readdirSync(app.root).filter((name) => name.startsWith('data.before-'))
  assert.ok(countRows(app.at(`${kept}/auth.db`)) > 10, 'what the service wrote is kept')

  // One that is down stays down.
  daemon.pm2('stop', 'bot')
  await app.restore({}, { stop: ['pm2:bot'] })
  assert.equal(await serviceState('pm2:bot'), 'stopped')
  assert.equal(countRows(app.at('data/auth.db')), 10)
})

test('a service that cannot be started again is said to be down, and the files stay restored', { skip }, async () => {
  using app = await protectedApplication({ data: 'data' })
  using daemon = openPm2(app.base)
  app.put('data/notes', 'one')
  app.put('server.cjs', SERVER)
  makeDatabase(app.at('data/auth.db'))
  await app.backUp()
  daemon.pm2('start', app.at('server.cjs'), '--name', 'bot', '--no-autorestart')
  await until(() => starts(app) === 1, 'the start')
  app.put('data/notes', 'two')
  const report = await app.restore(
    {},
    {
      stop: ['pm2:bot'],
      observe: (event) => event.type === 'phase' && event.phase === 'swap' && daemon.pm2('delete', 'bot'),
    },
  )
  assert.equal(report.outcome, 'incomplete')
  assert.ok('findings' in report && report.findings.some(({ code }) => code === 'service-not-started'))
  assert.equal(readFileSync(app.at('data/notes'), 'utf8'), 'one')
})

test('a socket in a component is noted, and the rest is backed up', async () => {
  using app = await protectedApplication({ data: 'data' })
  app.put('data/notes', 'notes')
  const server = createServer().listen(app.at('data/app.sock'))
  await once(server, 'listening')
  const report = await app.backUp()
  server.close()
  assert.equal(report.outcome, 'succeeded')
  assert.deepEqual(
    report.findings.map(({ severity, code }) => [severity, code]),
    [['note', 'socket-skipped']],
  )
})
