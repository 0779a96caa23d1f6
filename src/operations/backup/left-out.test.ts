import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { parseConfig } from '../../application/config/load-config.ts'
import { keyFilesOf, leftOutOf } from './left-out.ts'

function configIn(folder: string, components: Record<string, unknown>, more: Record<string, unknown> = {}) {
  const written = {
    app: 'shop',
    root: folder,
    repository: '/var/backups/shop',
    'state-dir': '/var/lib/shop',
    components,
    ...more,
  }
  return parseConfig(JSON.stringify(written), '/etc/holdfast/shop.yaml')
}

async function leftOutIn(folder: string, components: Record<string, unknown>, more: Record<string, unknown> = {}) {
  const rules = await leftOutOf(configIn(folder, components, more))
  return (component: string, path: string, isDirectory = false) =>
    rules.get(component)!(Buffer.from(join(folder, path)), isDirectory)
}

test('what the config excludes, by pattern and by component', async () => {
  using folder = temporaryFolder()
  const data = { path: 'data', exclude: ['/tmp'] }
  const isOut = await leftOutIn(folder.path, { data, all: '.' }, { exclude: ['*.log'] })
  assert.ok(isOut('data', 'data/a.log') && isOut('all', 'a.log') && isOut('data', 'data/tmp', true))
  assert.ok(!isOut('data', 'data/sub/tmp', true) && !isOut('data', 'data/a.txt'))
  assert.ok(isOut('all', 'data', true), 'it belongs to another component')
})

test('a database of another component, with its log', async () => {
  using folder = temporaryFolder()
  const isOut = await leftOutIn(folder.path, { data: 'data', auth: { kind: 'sqlite', path: 'data/auth.db' } })
  for (const suffix of ['', '-wal', '-shm', '-journal']) assert.ok(isOut('data', `data/auth.db${suffix}`), suffix)
  assert.ok(!isOut('data', 'data/other.db-wal'))
  assert.ok(!isOut('auth', 'data/auth.db'))
})

test('folders of secrets and of Holdfast, also where links lead', async () => {
  using folder = temporaryFolder()
  for (const name of ['data/sealed', 'data/repository', 'data/state/work'])
    mkdirSync(join(folder.path, name), { recursive: true })
  symlinkSync('data/sealed', join(folder.path, 'secrets'))
  symlinkSync('data/repository', join(folder.path, 'backups'))
  symlinkSync('data/state', join(folder.path, 'state'))
  const isOut = await leftOutIn(
    folder.path,
    { data: 'data', secrets: 'secrets' },
    { repository: join(folder.path, 'backups'), 'state-dir': join(folder.path, 'state') },
  )
  for (const name of ['sealed', 'repository', 'state']) assert.ok(isOut('data', `data/${name}`, true), name)
  assert.ok(!isOut('secrets', 'data/sealed', true))
})

test('what restores leave behind, and nothing that only resembles it', async () => {
  using folder = temporaryFolder()
  const isOut = await leftOutIn(folder.path, { all: '.' })
  const left = [
    'data.before-20261101-020000',
    'auth.db.before-20261101-020000-wal',
    'data.before-20261101-020000-3',
    '.holdfast-restore-20261101-020000-4711-0',
  ]
  for (const name of left) assert.ok(isOut('all', name, true), name)
  for (const name of ['data.before-lunch', 'before-20261101-020000', '.holdfast-restore', 'x.before-20261101-0200']) {
    assert.ok(!isOut('all', name, true), name)
  }
})

test('every file that opens or signs something of ours is a key file', async () => {
  using folder = temporaryFolder()
  const config = configIn(
    folder.path,
    { all: '.' },
    {
      'password-file': '/keys/password',
      unseal: ['/keys/age.txt'],
      sign: 'ssh:/keys/id',
      'off-site': [{ to: 'sftp:user@host:/x', 'password-file': '/keys/off-site' }],
      notify: [{ discord: 'file:/keys/webhook' }, { mail: 'ops@example.com', smtp: 'file:/keys/smtp' }],
    },
  )
  assert.deepEqual((await keyFilesOf(config)).toSorted(), [
    '/keys/age.txt',
    '/keys/id',
    '/keys/off-site',
    '/keys/password',
    '/keys/smtp',
    '/keys/webhook',
  ])
})
