import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openLogFile } from './log-file.ts'

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-log-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

const now = () => new Date('2026-11-01T02:00:00Z')
const noWarning = (message: string) => assert.fail(message)

test('one time-stamped line per event, appended; progress is left out', (t) => {
  const path = join(temporaryFolder(t), 'log', 'app.log')
  for (let run = 0; run < 2; run++) {
    using log = openLogFile(path, { now, warn: noWarning })
    log.observe({ type: 'started', at: now(), operation: 'backup', subject: 'app' })
    log.observe({ type: 'progress', phase: 'archive', done: { files: 1, bytes: 1 } })
    log.observe({ type: 'phase', phase: 'capture', component: 'data' })
    log.observe({
      type: 'finding',
      finding: {
        severity: 'error',
        code: 'missing',
        component: 'data',
        path: '/a\n',
        message: 'two\nlines\x1b[2J',
        hint: 'h',
      },
    })
    log.write('error', 'it failed')
    log.observe({
      type: 'finished',
      at: now(),
      operation: 'backup',
      outcome: 'incomplete',
      milliseconds: 5,
      summary: {},
    })
  }
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n')
  assert.equal(lines.length, 10)
  const stamp = `2026-11-01T02:00:00.000Z [${process.pid}]`
  assert.deepEqual(lines.slice(5), [
    `${stamp} info backup started: app`,
    `${stamp} info phase capture data`,
    `${stamp} error missing component=data path="/a\\n": two\\nlines\\x1b[2J (hint: h)`,
    `${stamp} error it failed`,
    `${stamp} warning backup incomplete after 5 ms`,
  ])
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700)
})

test('a log that cannot be opened is one warning and stops nothing', (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'file'), '')
  const warnings: string[] = []
  using log = openLogFile(join(folder, 'file', 'app.log'), { now, warn: (message) => warnings.push(message) })
  log.write('info', 'a')
  log.write('info', 'b')
  assert.equal(warnings.length, 1)
  assert.match(warnings[0]!, /^Cannot write log file .*app\.log: /)
})

test('a full disk is one warning and stops nothing', () => {
  const warnings: string[] = []
  using log = openLogFile('/dev/full', { now, warn: (message) => warnings.push(message) })
  log.write('info', 'a')
  log.write('info', 'b')
  assert.deepEqual(warnings.length, 1)
  assert.match(warnings[0]!, /ENOSPC/)
})

test('the mode that logrotate gave a file is left alone', (t) => {
  const path = join(temporaryFolder(t), 'app.log')
  writeFileSync(path, '', { mode: 0o640 })
  renameSync(path, `${path}.1`)
  writeFileSync(path, '', { mode: 0o640 })
  using log = openLogFile(path, { now, warn: noWarning })
  log.write('info', 'a')
  assert.equal(statSync(path).mode & 0o777, 0o640)
})
