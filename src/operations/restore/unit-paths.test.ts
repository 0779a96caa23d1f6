import assert from 'node:assert/strict'
import test from 'node:test'
import { parseConfig } from '../../application/config/load-config.ts'
import type { Manifest } from '../manifest.ts'
import type { ChosenSnapshot } from './snapshot-choice.ts'
import { componentRoots, namedBy, outermost, unitPaths } from './unit-paths.ts'

const signal = new AbortController().signal

function component(
  name: string,
  kind: string,
  configured: string[],
  paths: string[] = [],
): Manifest['components'][number] {
  const described = paths.map((path) => ({ path, files: 1, bytes: 1 }))
  return { name, kind, configured, paths: described, files: 1, bytes: 1, outcome: 'succeeded' }
}

const manifest = {
  app: 'shop',
  components: [
    component('data', 'files', ['/opt/shop/data'], ['/opt/shop/data', '/srv/data']),
    component('deep', 'files', ['/opt/shop/data/deep'], ['/opt/shop/data/deep']),
    component('secrets', 'secrets', ['/opt/shop/secrets']),
    component('nginx', 'nginx', ['shop'], ['/etc/nginx/sites-available/shop']),
    component('empty', 'pm2', ['/opt/shop/ecosystem.config.js']),
  ],
  secrets: {
    archives: [],
    recipients: [],
    digest: '',
    files: [
      { path: '/opt/shop/secrets/.env', component: 'secrets' },
      { path: '/etc/nginx/ssl/shop.key', component: 'nginx' },
      { path: '/opt/shop/data/.env', component: 'data' },
    ],
  },
} as unknown as Manifest

const chosen = { manifest, stored: { id: 'ab'.repeat(32), snapshot: { paths: [] } } } as unknown as ChosenSnapshot

test('a component stands for its targets, its secrets and, if all of it is secret, its folder', () => {
  assert.deepEqual(componentRoots(manifest, 'data'), ['/opt/shop/data', '/srv/data', '/opt/shop/data/.env'])
  assert.deepEqual(componentRoots(manifest, 'secrets'), ['/opt/shop/secrets', '/opt/shop/secrets/.env'])
  assert.deepEqual(componentRoots(manifest, 'absent'), [])
})

test('what lies in another unit is no unit of its own', () => {
  assert.deepEqual(outermost(['/b/c', '/a', '/b', '/bc', '/a/x/y', '/a']), ['/a', '/b', '/bc'])
})

test('all components, or the chosen ones', async () => {
  assert.deepEqual(await unitPaths(chosen, { signal }), [
    '/etc/nginx/sites-available/shop',
    '/etc/nginx/ssl/shop.key',
    '/opt/shop/data',
    '/opt/shop/secrets',
    '/srv/data',
  ])
  assert.deepEqual(await unitPaths(chosen, { components: ['deep', 'secrets'], signal }), [
    '/opt/shop/data/deep',
    '/opt/shop/secrets',
  ])
  await assert.rejects(unitPaths(chosen, { components: ['absent'], signal }), {
    code: 'NO_COMPONENT',
    hint: /data, deep/,
  })
  await assert.rejects(unitPaths(chosen, { components: ['empty'], signal }), { code: 'NOTHING' })
  await assert.rejects(unitPaths({ ...chosen, manifest: undefined }, { signal }), { code: 'USAGE', hint: /--path/ })
})

test('folders of the system are never replaced as a whole', async () => {
  for (const path of ['/', '/etc', '/usr', '/home', '/var/lib', '/etc/systemd/system', '/etc/nginx/sites-enabled']) {
    for (const evil of [component('evil', 'files', [], [path]), component('evil', 'secrets', [path])]) {
      const forged = { ...chosen, manifest: { ...manifest, components: [evil] } }
      await assert.rejects(unitPaths(forged, { signal }), {
        code: 'USAGE',
        message: `Cannot replace ${path} in place: it belongs to the system`,
      })
    }
  }
})

test('the config names its paths, the files of its units, and for a web server its folders', async () => {
  const components = { data: 'data', systemd: ['shop', 'worker@1.service'], nginx: 'shop', pm2: 'ecosystem.config.js' }
  const written = { app: 'shop', root: '/opt/shop', repository: '/var/backups/shop', components }
  const config = parseConfig(JSON.stringify(written), '/etc/holdfast/shop.yaml')
  const named = [
    '/opt/shop/data',
    '/opt/shop/data/x/y',
    '/opt/shop/ecosystem.config.js',
    '/etc/systemd/system/shop.service',
    '/etc/systemd/system/shop.service.d/override.conf',
    '/etc/systemd/system/multi-user.target.wants/shop.service',
    '/usr/lib/systemd/system/worker@.service',
    '/etc/systemd/system/worker@1.service',
    '/etc/nginx/sites-available/shop',
    '/etc/letsencrypt/live/shop/privkey.pem',
  ]
  const others = [
    '/opt/shop',
    '/opt/shop/database',
    '/etc/systemd/system/ssh.service',
    '/etc/systemd/system/shop.service.d/deep/x.conf',
    '/etc/systemd/system/multi-user.target.wants/evil.service',
    '/etc/systemd/shop.service',
    '/etc/cron.d/shop',
    '/etc/nginxx',
    '/root/.ssh/authorized_keys',
  ]
  const isNamed = await namedBy(config, '/')
  assert.deepEqual(
    named.filter((path) => !isNamed(path)),
    [],
  )
  assert.deepEqual(others.filter(isNamed), [])
  const onHost = await namedBy(config, '/mnt')
  assert.ok(onHost('/mnt/etc/nginx/sites-available/shop') && !onHost('/etc/nginx/sites-available/shop'))
})
