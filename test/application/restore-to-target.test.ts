import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { restoreToTarget } from '../../src/operations/restore/restore-to-target.ts'
import { APP, briefly, type ProtectedApplication, protectedApplication } from '../equipment/protected-application.ts'

function toTarget(app: ProtectedApplication, options: { components?: string[]; paths?: string[] } = {}) {
  return restoreToTarget(app.access, {
    choice: { name: 'latest', app: APP },
    target: join(app.base, 'out'),
    ...options,
    observe: () => {},
    signal: new AbortController().signal,
  })
}

test('what the backup could not store is missing from the restore, and the outcome says so', async () => {
  using app = await protectedApplication({ config: 'config', data: 'data' })
  app.put('config/app.json', '{}')
  app.put('config/.env', 'TOKEN=1', 0o600)
  app.put('data/notes.txt', 'notes')
  assert.equal((await app.backUp()).outcome, 'incomplete')

  const whole = await toTarget(app)
  assert.equal(whole.outcome, 'incomplete')
  assert.deepEqual(briefly(whole.findings, app.root), ['error snapshot-secret-not-sealed /config/.env'])
  assert.equal(readFileSync(join(app.base, 'out', app.at('data/notes.txt')), 'utf8'), 'notes')

  const other = await toTarget(app, { components: ['data'] })
  assert.equal(other.outcome, 'succeeded')
  assert.deepEqual(other.findings, [])
})

test('a component that was not there at the backup is not restored in silence', async () => {
  using app = await protectedApplication({ config: 'config', data: 'data' })
  app.put('config/app.json', '{}')
  app.put('data/notes.txt', 'notes')
  rmSync(app.at('config'), { recursive: true })
  assert.equal((await app.backUp()).outcome, 'incomplete')
  const report = await toTarget(app, { components: ['config'] })
  assert.equal(report.outcome, 'incomplete')
  assert.deepEqual(
    report.findings.map(({ severity, component }) => `${severity} ${component}`),
    ['error config'],
  )
})
