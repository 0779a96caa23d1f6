import assert from 'node:assert/strict'
import { linkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import type { ComponentConfig } from '../../application/config/config.ts'
import { EntryStats } from '../../engine/os/entry-stats.ts'
import { otherNamesOf, selectionOf, vetoOf } from './admission.ts'

const DATABASE = Buffer.concat([Buffer.from('SQLite format 3\0'), Buffer.alloc(84)])
const KEY = Buffer.from('-----BEGIN PRIVATE KEY-----\n')

test('a secret or a database is vetoed on its name and bytes, whatever the survey saw', () => {
  const vetoed = [
    ['/x/.env', 'A=1'],
    ['/x/server.key', ''],
    ['/x/id_rsa', ''],
    ['/x/tls.pem', KEY],
    ['/x/plain.txt', DATABASE],
  ] as const
  for (const [path, bytes] of vetoed)
    assert.match(vetoOf(Buffer.from(path), Buffer.from(bytes)) ?? '', /appeared/, path)
  const passed = [
    ['/x/.env.example', 'A=1'],
    ['/x/tls.pem', '-----BEGIN CERTIFICATE-----'],
    ['/x/id_rsa.pub', ''],
    ['/x/plain.txt', KEY],
    ['/x/app.db.corrupt-20261101-020000', DATABASE],
  ] as const
  for (const [path, bytes] of passed) assert.equal(vetoOf(Buffer.from(path), Buffer.from(bytes)), undefined, path)
})

test('the rules of the innermost component hold, and what lies in none is let in', () => {
  const stats = EntryStats.atPath(Buffer.from('/'))
  const component = (name: string) => ({ name }) as ComponentConfig
  const rules = new Map([
    ['outer', () => true],
    ['inner', () => false],
  ])
  const isSelected = selectionOf(
    [
      { component: component('outer'), targets: [Buffer.from('/a')] },
      { component: component('inner'), targets: [Buffer.from('/a/b')] },
      { component: component('unknown'), targets: [Buffer.from('/c')] },
    ],
    rules,
  )
  assert.equal(isSelected(Buffer.from('/a/x'), stats), false)
  assert.equal(isSelected(Buffer.from('/a/b/x'), stats), true)
  assert.equal(isSelected(Buffer.from('/a/bc'), stats), false)
  assert.equal(isSelected(Buffer.from('/c/x'), stats), true)
  assert.equal(isSelected(Buffer.from('/d'), stats), true)
})

test('another name of a secret is found by its inode', async () => {
  using folder = temporaryFolder()
  const at = (name: string) => join(folder.path, name)
  for (const name of ['secret', 'plain', 'alone']) writeFileSync(at(name), name)
  linkSync(at('secret'), at('alias'))
  linkSync(at('plain'), at('plain-alias'))
  const found: string[] = []
  const secrets = [at('secret'), at('alone'), at('absent')].map((path) => Buffer.from(path))
  const isOther = await otherNamesOf(secrets, (path, secret) => found.push(`${path} ${secret}`))
  const names = ['secret', 'alias', 'plain', 'plain-alias', 'alone']
  assert.deepEqual(
    names.filter((name) => isOther(Buffer.from(at(name)), EntryStats.atPath(Buffer.from(at(name))))),
    ['alias'],
  )
  assert.deepEqual(found, [`${at('alias')} ${at('secret')}`])
})
