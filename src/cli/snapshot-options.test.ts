import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Config } from '../application/config/config.ts'
import { collectList, collectTags, snapshotChoice, splitOperands } from './snapshot-options.ts'

const none = { host: [], tag: [] }
const config = { app: 'shop' } as Config

test('what begins with a slash is a path, and then the latest snapshot is meant', () => {
  assert.deepEqual(splitOperands(['/etc', '/home']), { name: undefined, paths: ['/etc', '/home'] })
  assert.deepEqual(splitOperands(['latest', '/etc']), { name: 'latest', paths: ['/etc'] })
  assert.deepEqual(splitOperands([]), { name: undefined, paths: [] })
})

test('with a config the latest is that of its application, also where it is looked for by host or tag', async () => {
  assert.deepEqual(await snapshotChoice(undefined, none, config), { name: 'latest', app: 'shop' })
  assert.deepEqual(await snapshotChoice(undefined, { host: ['web'], tag: [['a'], ['b', 'c']] }, config), {
    name: 'latest',
    filter: {
      hosts: ['web'],
      tags: [
        ['a', 'app:shop'],
        ['b', 'c', 'app:shop'],
      ],
      paths: [],
    },
  })
  assert.deepEqual(await snapshotChoice('latest', { ...none, at: 5n }, undefined), {
    name: 'latest',
    notAfter: 5n,
    filter: { hosts: [], tags: [], paths: [] },
  })
})

test('an ID and a search for one exclude each other', async () => {
  await assert.rejects(snapshotChoice('1d68', { ...none, at: 5n }, config), { code: 'USAGE' })
  await assert.rejects(snapshotChoice('1d68', { ...none, host: ['web'] }, undefined), { code: 'USAGE' })
})

test('lists may have commas, and be given several times', () => {
  assert.deepEqual(collectList('a, b', collectList('c,', [])), ['c', 'a', 'b'])
  assert.deepEqual(collectTags('a,b', collectTags('c', [])), [['c'], ['a', 'b']])
})
