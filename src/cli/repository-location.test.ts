import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fakeIo } from '../../test/support/fake-io.ts'
import { absoluteLocation, resolveRepositoryLocation, withoutCredentials } from './repository-location.ts'

const world = (env: Record<string, string> = {}) => fakeIo({ cwd: '/work', env })

test('the first place that says something wins: options, HOLDFAST_, RESTIC_', async () => {
  const env = { HOLDFAST_REPOSITORY: '/h', RESTIC_REPOSITORY: '/r' }
  assert.equal(await resolveRepositoryLocation(world(env), { repo: 'sub/../repo' }), '/work/repo')
  assert.equal(await resolveRepositoryLocation(world(env), {}), '/h')
  assert.equal(await resolveRepositoryLocation(world({ HOLDFAST_REPOSITORY: '', RESTIC_REPOSITORY: '/r' }), {}), '/r')
  assert.equal(await resolveRepositoryLocation(world(), {}), undefined)
  await assert.rejects(resolveRepositoryLocation(world(), { repo: '' }), { code: 'NO_LOCATION' })
})

test('a URL that names no repository is not taken for a folder', async () => {
  await assert.rejects(resolveRepositoryLocation(world(), { repo: 'https://u:secret@host/x' }), {
    code: 'NO_LOCATION',
    message: 'Cannot open https://u:***@host/x: https: is no kind of repository',
    hint: /rest:https:/,
  })
})

test('a file can name the location, white space aside', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-location-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'location')
  writeFileSync(path, ' s3:host/bucket\n')
  assert.equal(await resolveRepositoryLocation(world(), { repositoryFile: path }), 's3:host/bucket')
  assert.equal(await resolveRepositoryLocation(world({ RESTIC_REPOSITORY_FILE: path }), {}), 's3:host/bucket')
  await assert.rejects(resolveRepositoryLocation(world(), { repositoryFile: path, repo: '/x' }), { code: 'USAGE' })
  await assert.rejects(resolveRepositoryLocation(world(), { repositoryFile: `${path}x` }), {
    code: 'NO_LOCATION',
    message: /there is no such file$/,
  })
  writeFileSync(path, '\n')
  await assert.rejects(resolveRepositoryLocation(world(), { repositoryFile: path }), { code: 'NO_LOCATION' })
})

test('local paths become absolute, other locations stay', () => {
  assert.equal(absoluteLocation('repo', '/work'), '/work/repo')
  assert.equal(absoluteLocation('local:repo', '/work'), '/work/repo')
  assert.equal(absoluteLocation('sftp:user@host:/x', '/work'), 'sftp:user@host:/x')
  assert.equal(absoluteLocation('a:b', '/work'), '/work/a:b')
})

test('a password in a URL is not shown', () => {
  assert.equal(withoutCredentials('rest:https://user:secret@host:8000/x'), 'rest:https://user:***@host:8000/x')
  assert.equal(withoutCredentials('rest:https://host:8000/x@y'), 'rest:https://host:8000/x@y')
  assert.equal(withoutCredentials('sftp:user@host:/x'), 'sftp:user@host:/x')
})
