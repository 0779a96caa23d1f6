import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ApplicationError } from '../error.ts'
import { followLinks, isWithin, onHost } from './host-path.ts'

test('a path lies in a folder by whole names', () => {
  assert.ok(isWithin('/opt/app', '/opt/app') && isWithin('/opt/app/', '/opt/app/x') && isWithin('/', '/x'))
  assert.ok(
    !isWithin('/opt/app', '/opt/app2') && !isWithin('/opt/app', '/opt/app/../x') && !isWithin('/opt/app', '/opt'),
  )
})

test('a path of the host lies below its root, once', () => {
  assert.equal(onHost('/', '/etc/x'), '/etc/x')
  assert.equal(onHost('/mnt/host', '/etc/x'), '/mnt/host/etc/x')
  assert.equal(onHost('/mnt/host', '/mnt/host/etc/x'), '/mnt/host/etc/x')
})

test('links are followed one by one, absolute ones below the root, circles not for ever', async () => {
  const root = mkdtempSync(join(tmpdir(), 'holdfast-links-'))
  try {
    symlinkSync('/two', join(root, 'one'))
    symlinkSync('three', join(root, 'two'))
    writeFileSync(join(root, 'three'), '')
    symlinkSync('circle', join(root, 'circle'))
    assert.deepEqual(
      await followLinks(join(root, 'one'), root),
      ['one', 'two', 'three'].map((name) => join(root, name)),
    )
    assert.deepEqual(await followLinks(join(root, 'absent'), root), [join(root, 'absent')])
    await assert.rejects(followLinks(join(root, 'circle'), root), (error: ApplicationError) => error.code === 'SOURCE')
  } finally {
    rmSync(root, { recursive: true })
  }
})
