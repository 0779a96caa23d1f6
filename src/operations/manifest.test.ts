import assert from 'node:assert/strict'
import test from 'node:test'
import type { SnapshotId } from '../engine/format/id.ts'
import { encodeManifest, type Manifest } from './manifest.ts'
import { parseManifest } from './parse-manifest.ts'

const SNAPSHOT = 'ab'.repeat(32) as SnapshotId

const MANIFEST: Manifest = {
  format: 1,
  app: 'shop',
  configFile: '/opt/shop/holdfast.yaml',
  environment: 'production',
  host: 'web',
  time: '2026-11-01T02:00:00.000Z',
  who: { user: 'root', uid: 0 },
  versions: { holdfast: '1' },
  tree: '00',
  self: { 'holdfast.yaml': { sha256: '00', bytes: 1 } },
  components: [
    {
      name: 'nginx',
      kind: 'nginx',
      configured: ['shop', '/etc/nginx/x'],
      paths: [{ path: '/etc/nginx/x', files: 1, bytes: 2 }],
      files: 1,
      bytes: 2,
      outcome: 'succeeded',
    },
  ],
  databases: [],
  secrets: {
    archives: ['secrets.tar.gz.age'],
    recipients: ['age1'],
    digest: 'd',
    files: [{ path: '/s', component: 'x' }],
  },
  findings: [],
  outcome: 'succeeded',
}

test('a manifest reads back as it was written, and unknown fields are passed over', () => {
  assert.deepEqual(parseManifest(encodeManifest(MANIFEST), SNAPSHOT), MANIFEST)
  const later = Buffer.from(JSON.stringify({ ...MANIFEST, invented: 'later' }))
  assert.deepEqual(parseManifest(later, SNAPSHOT), MANIFEST)
})

test('the error says what is wrong where, and what is still possible', () => {
  const [component] = MANIFEST.components
  const wrong = { ...MANIFEST, components: [{ ...component, paths: [{ path: '/etc/../x', files: 1, bytes: 1 }] }] }
  assert.throws(() => parseManifest(Buffer.from(JSON.stringify(wrong)), SNAPSHOT), {
    code: 'MANIFEST',
    message: /^Cannot read the manifest of snapshot abababab: components\.0\.paths\.0\.path: expected an absolute path/,
    hint: /--target/,
  })
  assert.throws(() => parseManifest(Buffer.from('{'), SNAPSHOT), { code: 'MANIFEST' })
})

test('only plain paths and names pass', () => {
  const configured = (text: string) => ({
    ...MANIFEST,
    components: [{ ...MANIFEST.components[0]!, configured: [text] }],
  })
  for (const good of ['shop', 'shop@1.service', '/', '/opt/ü', '/a b']) {
    assert.ok(parseManifest(encodeManifest(configured(good)), SNAPSHOT), good)
  }
  for (const bad of ['', 'a/b', '../x', '/a/', '/a//b', '/a/./b', '/..', '/a\0']) {
    assert.throws(() => parseManifest(encodeManifest(configured(bad)), SNAPSHOT), { code: 'MANIFEST' }, bad)
  }
})
