import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fakeIo } from '../../test/support/fake-io.ts'
import { readGlobalOptions } from './global-options.ts'
import { findRepositoryConfig, repositoryAccess, requireConfig } from './repository-access.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-access-'))
after(() => rmSync(folder, { recursive: true }))

writeFileSync(join(folder, 'key'), 'from the config\n')
writeFileSync(join(folder, 'other-key'), 'of the copy\n')
for (const name of ['key', 'other-key']) chmodSync(join(folder, name), 0o600)
writeFileSync(
  join(folder, 'holdfast.yaml'),
  `app: example
root: ${folder}
repository: /srv/backup
password-file: ${join(folder, 'key')}
components: { config: config/ }
off-site:
  - { to: /mnt/one }
  - { to: /mnt/two, password-file: ${join(folder, 'other-key')} }
`,
)
mkdirSync(join(folder, 'broken'))
writeFileSync(join(folder, 'broken', 'holdfast.yaml'), 'app: [')

function surroundings(globals: Record<string, unknown> = {}, env: Record<string, string> = {}, cwd = folder) {
  const io = fakeIo({ env, cwd })
  const warn = (message: string) => assert.fail(message)
  return { io, globals: readGlobalOptions(globals), signal: new AbortController().signal, warn, complain: () => {} }
}

const passwordAt = async (location: string | undefined) => {
  const here = surroundings(location === undefined ? {} : { repo: location })
  const access = await repositoryAccess(here, await requireConfig(here))
  return (await access.password()).toString()
}

test('without options the config says which repository, and its password file opens it', async () => {
  const here = surroundings()
  const config = await findRepositoryConfig(here)
  assert.equal(config?.app, 'example')
  const access = await repositoryAccess(here, config)
  assert.equal(access.location, '/srv/backup')
  assert.equal((await access.password()).toString(), 'from the config')
  assert.deepEqual([access.noLock, access.retryLock], [false, 0])
})

test('a repository that is named needs no config, and a broken one is in nobody’s way', async () => {
  const named = surroundings({ repo: 'r' }, {}, join(folder, 'broken'))
  assert.equal(await findRepositoryConfig(named), undefined)
  assert.equal((await repositoryAccess(named, undefined)).location, join(folder, 'broken', 'r'))
  assert.equal(await findRepositoryConfig(surroundings({}, { RESTIC_REPOSITORY: '/r' })), undefined)
  await assert.rejects(findRepositoryConfig(surroundings({}, {}, join(folder, 'broken'))), { code: 'CONFIG' })
})

test('the password in a config is for its own repositories only', async () => {
  assert.equal(await passwordAt('/srv/backup'), 'from the config')
  assert.equal(await passwordAt('/mnt/one'), 'from the config')
  assert.equal(await passwordAt('/mnt/two'), 'of the copy')
  await assert.rejects(passwordAt('/mnt/three'), { code: 'NO_PASSWORD' })
})

test('lock options reach the repository', async () => {
  const access = await repositoryAccess(surroundings({ repo: '/r', lock: false, retryLock: 5000 }), undefined)
  assert.deepEqual([access.noLock, access.retryLock], [true, 5000])
})

test('where nobody says which, the error says how to', async () => {
  const nowhere = surroundings({}, {}, '/')
  await assert.rejects(requireConfig(nowhere), { code: 'NO_CONFIG', hint: /--config/ })
  await assert.rejects(repositoryAccess(nowhere, undefined), { code: 'NO_LOCATION', hint: /--repo/ })
})
