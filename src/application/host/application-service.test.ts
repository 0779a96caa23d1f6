import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ApplicationService, applicationState, startApplication, stopApplication } from './application-service.ts'
import { markLog, readServiceLog } from './service-log.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-service-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const byCommand = (start: string, stop?: string): ApplicationService => ({
  manager: 'command',
  name: undefined,
  start,
  stop,
  root: folder,
  account: undefined,
  outputFile: join(folder, 'state', 'service.log'),
})

test('a start command may end or be the application itself; what it says is kept, what it starts lives on', async () => {
  const app = byCommand('echo ready; sleep 1000 & echo $! > pid', 'kill $(cat pid)')
  const mark = await markLog(app)
  await startApplication(app)
  assert.equal(await applicationState(app), undefined)
  assert.equal(await readServiceLog(app, mark), 'ready\n')
  assert.equal(statSync(app.outputFile).mode & 0o777, 0o600)
  const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'))
  process.kill(pid, 0)
  await stopApplication(app)
  await until(() => !lives(pid))

  const itself = byCommand('echo $$ > pid; echo up; exec sleep 1000', 'kill $(cat pid)')
  await startApplication(itself)
  assert.equal(await readServiceLog(itself, mark), 'up\n', 'the log of the run before is gone')
  await stopApplication(itself)
  const own = Number(readFileSync(join(folder, 'pid'), 'utf8'))
  await until(() => !lives(own))
})

test('a start command that fails says why', async () => {
  await assert.rejects(startApplication(byCommand('echo no token; exit 3')), {
    code: 'COMMAND',
    message: 'The start command failed: it ended with exit code 3',
    hint: /no token$/,
  })
  await assert.rejects(startApplication({ ...byCommand('true'), root: join(folder, 'nowhere') }), { code: 'COMMAND' })
})

const binaries = resolve(import.meta.dirname, '../../../node_modules/.bin')

test('of a pm2 log, what an earlier run said does not count', {
  skip: existsSync(join(binaries, 'pm2')) ? false : 'pm2 is not installed: npm ci',
}, async () => {
  const { PATH, PM2_HOME } = process.env
  process.env.PATH = `${binaries}${delimiter}${PATH}`
  process.env.PM2_HOME = join(folder, 'pm2')
  try {
    writeFileSync(join(folder, 'app.cjs'), "console.log('started', process.env.MODE); setInterval(() => {}, 1000)")
    const apps = [
      {
        name: 'bot',
        script: 'app.cjs',
        out_file: 'out.log',
        error_file: 'error.log',
        env_production: { MODE: 'live' },
      },
    ]
    const ecosystem = join(folder, 'ecosystem.config.cjs')
    writeFileSync(ecosystem, `module.exports = ${JSON.stringify({ apps })}`)
    writeFileSync(join(folder, 'out.log'), 'started by an earlier run\n')
    const app: ApplicationService = {
      ...byCommand('true'),
      manager: 'pm2',
      name: 'bot',
      ecosystem,
      environment: 'production',
    }
    await stopApplication(app) // unknown so far
    const mark = await markLog(app)
    await startApplication(app)
    await until(async () => (await readServiceLog(app, mark)) === 'started live\n')
    assert.equal(await applicationState(app), 'running')
    await stopApplication(app)
    const next = await markLog(app)
    assert.equal(await readServiceLog(app, next), '')
    await startApplication(app)
    await until(async () => (await readServiceLog(app, next)) === 'started live\n')
    await stopApplication(app)
  } finally {
    spawnSync('pm2', ['kill'])
    process.env.PATH = PATH
    if (PM2_HOME === undefined) delete process.env.PM2_HOME
    else process.env.PM2_HOME = PM2_HOME
  }
})

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 20_000; !(await condition()); await sleep(50)) {
    if (Date.now() > deadline) throw new Error('it did not happen')
  }
}
