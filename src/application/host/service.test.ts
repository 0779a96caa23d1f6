import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import type { ApplicationError } from '../error.ts'
import { type ServiceSpec, serviceState, startService, stopService } from './service.ts'

let folder: string
const { PATH, PM2_HOME } = process.env
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'hfs-'))
})
after(() => {
  process.env.PATH = PATH
  rmSync(folder, { recursive: true, force: true })
})

function fails(code: string, message: RegExp) {
  return (error: ApplicationError) => {
    assert.equal(error.code, code, error.stack)
    assert.match(error.message, message)
    return true
  }
}

suite('pm2', {
  // Looked up, not run: every pm2 command starts a daemon.
  skip: spawnSync('sh', ['-c', 'command -v pm2']).status !== 0 && 'pm2 is not installed',
}, () => {
  before(() => {
    process.env.PM2_HOME = join(folder, 'pm2')
  })
  after(() => {
    spawnSync('pm2', ['kill'])
    if (PM2_HOME === undefined) delete process.env.PM2_HOME
    else process.env.PM2_HOME = PM2_HOME
  })

  test('a service is started from its file, stopped and started again; asking starts no daemon', {
    timeout: 120_000,
  }, async () => {
    const spec: ServiceSpec = 'pm2:holdfast-test'
    assert.equal(await serviceState(spec), 'absent')
    assert.ok(!existsSync(join(folder, 'pm2')))
    await assert.rejects(startService(spec), fails('SERVICE', /pm2 knows no such service/))
    await assert.rejects(stopService(spec), fails('SERVICE', /pm2 knows no such service/))

    const ecosystem = join(folder, 'ecosystem.config.js')
    writeFileSync(join(folder, 'app.js'), 'setInterval(() => {}, 1000)')
    const apps = [
      { name: 'holdfast-test', script: join(folder, 'app.js') },
      { name: 'other', script: join(folder, 'app.js') },
    ]
    writeFileSync(ecosystem, `module.exports = ${JSON.stringify({ apps })}`)
    await startService(spec, { ecosystem })
    assert.equal(await serviceState(spec), 'running')
    assert.equal(await serviceState('pm2:other'), 'absent')
    await startService(spec)
    await stopService(spec)
    assert.equal(await serviceState(spec), 'stopped')
    await stopService(spec)
    await startService(spec)
    assert.equal(await serviceState(spec), 'running')
    const reason = new Error('stop')
    await assert.rejects(serviceState(spec, { signal: AbortSignal.abort(reason) }), reason)
  })
})

suite('systemd', () => {
  const states = () => join(folder, 'states')
  before(() => {
    // Stands in for systemctl, which needs a running systemd: a folder of units, each a file with its state.
    const bin = join(folder, 'bin')
    mkdirSync(bin)
    mkdirSync(states())
    const script = `#!/bin/sh
verb=$1; shift; for unit; do :; done; file=${states()}/$unit
case $verb in
show) if [ -e "$file" ]; then echo "LoadState=loaded"; echo "ActiveState=$(cat "$file")"
      else echo LoadState=not-found; echo ActiveState=inactive; fi ;;
start) [ ! -e "$file.limit" ] || { echo 'start request repeated too quickly' >&2; exit 1; }
      case $unit in broken*) echo "Job for $unit failed" >&2; exit 1 ;; dies*) echo failed > "$file" ;; *) echo active > "$file" ;; esac ;;
stop) [ "$(cat "$file")" = failed ] || echo inactive > "$file" ;;
reset-failed) echo inactive > "$file"; rm -f "$file.limit" ;;
esac
`
    writeFileSync(join(bin, 'systemctl'), script, { mode: 0o755 })
    process.env.PATH = `${bin}${delimiter}${PATH}`
  })

  test('a unit is stopped and started, and its states are told apart', async () => {
    const spec: ServiceSpec = 'systemd:bot.service'
    assert.equal(await serviceState(spec), 'absent')
    await assert.rejects(stopService(spec), fails('SERVICE', /systemd knows no such service/))
    await assert.rejects(startService(spec), fails('SERVICE', /systemd knows no such service/))
    for (const [active, state] of [
      ['active', 'running'],
      ['reloading', 'running'],
      ['activating', 'changing'],
      ['deactivating', 'changing'],
      ['failed', 'failed'],
      ['inactive', 'stopped'],
    ] as const) {
      writeFileSync(join(states(), 'bot.service'), active)
      assert.equal(await serviceState(spec), state)
    }
    await startService(spec)
    assert.equal(await serviceState(spec), 'running')
    await stopService(spec)
    assert.equal(readFileSync(join(states(), 'bot.service'), 'utf8').trim(), 'inactive')
  })

  test('a unit that does not start is an error with what systemctl said and where to look', async () => {
    writeFileSync(join(states(), 'broken.service'), 'inactive')
    await assert.rejects(startService('systemd:broken.service'), (error: ApplicationError) => {
      assert.equal(error.hint, 'See `journalctl -u broken.service -n 50`')
      return fails('SERVICE', /Job for broken\.service failed/)(error)
    })
    writeFileSync(join(states(), 'dies.service'), 'inactive')
    await assert.rejects(
      startService('systemd:dies.service'),
      fails('SERVICE', /its state is failed, expected running/),
    )
  })

  test('a unit that has failed so often that it is refused a start is started all the same', async () => {
    const file = join(states(), 'limited.service')
    writeFileSync(file, 'failed')
    writeFileSync(`${file}.limit`, '')
    await stopService('systemd:limited.service')
    await startService('systemd:limited.service')
    assert.equal(await serviceState('systemd:limited.service'), 'running')
  })

  test('without systemctl the tool is missing, and what is no service is refused', async () => {
    const path = process.env.PATH
    process.env.PATH = join(folder, 'nothing')
    await assert.rejects(serviceState('systemd:x'), fails('TOOL_MISSING', /Cannot run systemctl/))
    process.env.PATH = path
    for (const spec of ['x', 'pm2:', 'systemd:-x', 'systemd:a\nb', 'cron:x']) {
      await assert.rejects(
        serviceState(spec as ServiceSpec),
        fails('CONFIG', /expected pm2:NAME or systemd:UNIT/),
        spec,
      )
    }
  })
})
