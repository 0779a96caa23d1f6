import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { recordingStorage } from '../../../test/equipment/recording-storage.ts'
import { runRestic, withoutRestic } from '../../../test/equipment/restic.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import {
  CHEAP_KDF,
  namesOf,
  overwrite,
  PASSWORD,
  POLYNOMIAL,
  snapshotOf,
  testRepository,
} from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import { hashId, type KeyId } from '../format/id.ts'
import { seal } from '../format/master-key.ts'
import { withFaults } from '../storage/faults.ts'
import { localStorage } from '../storage/local.ts'
import { memoryStorage } from '../storage/memory.ts'
import type { Storage } from '../storage/storage.ts'
import { addKey, createRepository, openRepository, type Repository } from './repository.ts'
import { writeSnapshot } from './snapshots.ts'

const CONFIG = { type: 'config', id: '' } as const
const CREATION = { password: PASSWORD, kdf: CHEAP_KDF, polynomial: POLYNOMIAL }
const OTHER = Buffer.from('another password')

/** The key files in this order, whatever the storage would say. */
function listingKeys(storage: Storage, order: readonly string[]): Storage {
  return {
    ...storage,
    async *list(type, signal) {
      if (type !== 'key') return yield* storage.list(type, signal)
      for (const id of order) yield { name: { type, id }, size: await storage.size({ type, id }, signal) }
    },
  }
}

async function storeKey(storage: Storage, content: Buffer, id = hashId<KeyId>(content)): Promise<KeyId> {
  await storage.write({ type: 'key', id }, content)
  return id
}

/** The repository's key file with other members. */
async function keyFile(repository: Repository, changes: object): Promise<Buffer> {
  const bytes = await repository.storage.read({ type: 'key', id: repository.keyId })
  return Buffer.from(JSON.stringify({ ...JSON.parse(bytes.toString()), ...changes }))
}

describe('creating a repository', () => {
  it('makes one that the password opens', async () => {
    for (const version of [1, 2] as const) {
      const storage = memoryStorage()
      const created = await createRepository(storage, { ...CREATION, version })
      const opened = await openRepository(storage, { password: PASSWORD })
      assert.deepEqual(opened, created)
      assert.equal(opened.config.version, version)
    }
  })

  it('gives every repository an ID, a master key and a polynomial of its own', async () => {
    const { polynomial: _, ...options } = CREATION
    const made = [await createRepository(memoryStorage(), options), await createRepository(memoryStorage(), options)]
    for (const part of ['id', 'polynomial'] as const) assert.notEqual(made[0]!.config[part], made[1]!.config[part])
    assert.notDeepEqual(made[0]!.masterKey, made[1]!.masterKey)
  })

  it('writes the key before the config, so that half a creation does not open', async () => {
    const storage = recordingStorage(memoryStorage())
    const { keyId } = await createRepository(storage, CREATION)
    assert.deepEqual(storage.done, [`write keys/${keyId}`, 'write config'])
    await storage.remove(CONFIG)
    await assert.rejects(openRepository(storage, { password: PASSWORD }), { code: 'NO_REPOSITORY' })
  })

  it('refuses where a repository is', async () => {
    const { storage } = await testRepository()
    await assert.rejects(createRepository(storage, CREATION), {
      code: 'REPOSITORY_EXISTS',
      message: /is there already/,
    })
    assert.equal((await namesOf(storage, 'key')).length, 1)
  })

  it('refuses where a key or a snapshot is though no config, and says which file stands in the way', async () => {
    const withKey = await testRepository()
    await withKey.storage.remove(CONFIG)
    await assert.rejects(createRepository(withKey.storage, CREATION), {
      code: 'REPOSITORY_EXISTS',
      facts: { location: 'memory', file: `keys/${withKey.keyId}` },
      hint: /remove it; otherwise bring the file `config` back/,
    })

    const withSnapshot = await testRepository()
    const id = await writeSnapshot(withSnapshot, snapshotOf())
    await withSnapshot.storage.remove(CONFIG)
    await withSnapshot.storage.remove({ type: 'key', id: withSnapshot.keyId })
    await assert.rejects(createRepository(withSnapshot.storage, CREATION), {
      code: 'REPOSITORY_EXISTS',
      facts: { location: 'memory', file: `snapshots/${id}` },
    })
  })

  it('leaves no key behind when somebody else is quicker', async () => {
    const memory = memoryStorage()
    const racing: Storage = {
      ...memory,
      async write(name, content, signal) {
        if (name.type === 'key') await createRepository(memory, { ...CREATION, password: OTHER })
        await memory.write(name, content, signal)
      },
    }
    await assert.rejects(createRepository(racing, CREATION), { code: 'REPOSITORY_EXISTS' })
    assert.equal((await namesOf(memory, 'key')).length, 1)
    await openRepository(memory, { password: OTHER })
  })

  it('passes on what the storage says', async () => {
    for (const on of ['create', 'size', 'list', 'write'] as const) {
      const storage = withFaults(memoryStorage(), [{ on, nth: 1, effect: 'fail' }])
      await assert.rejects(createRepository(storage, CREATION), { code: 'STORAGE' })
      assert.deepEqual(storage.fired, [1])
    }
  })

  it('never writes a polynomial that nobody could use', async () => {
    const storage = memoryStorage()
    await assert.rejects(createRepository(storage, { ...CREATION, polynomial: 7n }), { code: 'UNSUPPORTED' })
    assert.deepEqual(await namesOf(storage, 'key'), [])
  })

  it('refuses a file in the place of the folder', async () => {
    await assert.rejects(createRepository(localStorage(import.meta.filename), CREATION), { code: 'NOT_A_DIRECTORY' })
  })

  it('keeps the password out of what it stores', async () => {
    using folder = temporaryFolder()
    const { keyId } = await createRepository(localStorage(folder.path), { ...CREATION, kdf: { N: 1024, r: 8, p: 1 } })
    for (const file of ['config', `keys/${keyId}`]) {
      assert.equal(readFileSync(join(folder.path, file)).includes(PASSWORD), false)
    }
  })
})

describe('opening a repository', () => {
  it('works with any of its keys', async () => {
    const repository = await testRepository()
    const keyId = await addKey(repository, { password: OTHER, kdf: CHEAP_KDF })
    assert.equal((await openRepository(repository.storage, { password: PASSWORD })).keyId, repository.keyId)
    const opened = await openRepository(repository.storage, { password: OTHER })
    assert.equal(opened.keyId, keyId)
    assert.deepEqual(opened.masterKey, repository.masterKey)
  })

  it('compares passwords byte for byte', async () => {
    const storage = memoryStorage()
    await createRepository(storage, { ...CREATION, password: Buffer.from('pässword'.normalize('NFC')) })
    const decomposed = Buffer.from('pässword'.normalize('NFD'))
    await assert.rejects(openRepository(storage, { password: decomposed }), { code: 'WRONG_PASSWORD' })
  })

  it('says that there is no repository', async () => {
    await assert.rejects(openRepository(memoryStorage('/backups'), { password: PASSWORD }), {
      code: 'NO_REPOSITORY',
      message: 'No repository at /backups: there is no file named config',
      hint: /holdfast -r LOCATION init/,
    })
    using folder = temporaryFolder()
    const absent = localStorage(join(folder.path, 'absent'))
    await assert.rejects(openRepository(absent, { password: PASSWORD }), { code: 'NO_REPOSITORY' })
  })

  it('says that the location is a file', async () => {
    await assert.rejects(openRepository(localStorage(import.meta.filename), { password: PASSWORD }), {
      code: 'NOT_A_DIRECTORY',
    })
  })

  it('says that the password is wrong, and how many keys it was tried on', async () => {
    const repository = await testRepository()
    await addKey(repository, { password: OTHER, kdf: CHEAP_KDF })
    await assert.rejects(openRepository(repository.storage, { password: Buffer.from('guess') }), {
      code: 'WRONG_PASSWORD',
      message: 'Wrong password for the repository at memory: it opens none of 2 key files',
      facts: { location: 'memory', keysTried: 2, keysDamaged: 0 },
    })
  })

  it('says that no key is there', async () => {
    const { storage, keyId } = await testRepository()
    await storage.remove({ type: 'key', id: keyId })
    await assert.rejects(openRepository(storage, { password: PASSWORD }), {
      code: 'CORRUPT',
      message: /it holds no key file$/,
    })
  })

  const badKeys: Readonly<Record<string, (repository: Repository) => Promise<KeyId>>> = {
    'of no JSON': ({ storage }) => storeKey(storage, Buffer.from('no JSON')),
    'of no bytes': ({ storage }) => storeKey(storage, Buffer.alloc(0)),
    'whose name is not its hash': async (repository) =>
      storeKey(repository.storage, await keyFile(repository, {}), hashId(Buffer.from('elsewhere'))),
    'with a short salt': async (repository) =>
      storeKey(repository.storage, await keyFile(repository, { salt: 'AAAA' })),
    'of another derivation': async (repository) =>
      storeKey(repository.storage, await keyFile(repository, { kdf: 'argon2' })),
    'that asks for hundreds of gigabytes': async (repository) =>
      storeKey(repository.storage, await keyFile(repository, { N: 2 ** 30, r: 8 })),
    'that asks for years of work': async (repository) =>
      storeKey(repository.storage, await keyFile(repository, { N: 2, r: 1, p: 2 ** 29 })),
    'of a million bytes': ({ storage }) => storeKey(storage, Buffer.alloc(1_000_000, ' ')),
  }

  for (const [kind, store] of Object.entries(badKeys)) {
    it(`is not blocked by a key file ${kind} beside the good one`, async () => {
      const repository = await testRepository()
      const bad = await store(repository)
      const storage = listingKeys(repository.storage, [bad, repository.keyId])
      assert.equal((await openRepository(storage, { password: PASSWORD })).keyId, repository.keyId)
      await assert.rejects(openRepository(storage, { password: OTHER }), {
        code: 'WRONG_PASSWORD',
        message: /opens none of 1 key file; 1 key file could not be tried$/,
        hint: /bring the folder `keys` back/,
      })
    })

    it(`is corrupt when the only key file is one ${kind}`, async () => {
      const repository = await testRepository()
      const bad = await store(repository)
      await repository.storage.remove({ type: 'key', id: repository.keyId })
      await assert.rejects(openRepository(repository.storage, { password: PASSWORD }), (error: EngineError) => {
        assert.equal(error.code, 'CORRUPT')
        assert.match(error.message, /none of 1 key file can be used: /)
        assert.ok(error.cause instanceof EngineError)
        assert.deepEqual(error.facts, { location: 'memory', keysTried: 1, keysDamaged: 1 })
        return true
      })
      assert.equal(bad.length, 64)
    })
  }

  it('does not read a key file that is far too long', async () => {
    const repository = await testRepository()
    const long = await storeKey(repository.storage, Buffer.alloc(1_000_000, ' '))
    const storage: Storage = {
      ...listingKeys(repository.storage, [long, repository.keyId]),
      async read(name, range, signal) {
        assert.notEqual(name.id, long)
        return repository.storage.read(name, range, signal)
      },
    }
    await openRepository(storage, { password: PASSWORD })
  })

  it('is not blocked by a key that is removed while they are tried', async () => {
    const repository = await testRepository()
    const removed = hashId<KeyId>(Buffer.from('removed'))
    const storage: Storage = {
      ...repository.storage,
      async *list(type, signal) {
        if (type === 'key') yield { name: { type, id: removed }, size: 400 }
        yield* repository.storage.list(type, signal)
      },
    }
    assert.equal((await openRepository(storage, { password: PASSWORD })).keyId, repository.keyId)
  })

  it('tries twenty keys and no more, as restic does', async () => {
    const repository = await testRepository()
    const others: string[] = []
    for (let i = 0; i < 20; i++) others.push(await addKey(repository, { password: OTHER, kdf: CHEAP_KDF }))
    const open = (order: readonly string[]) =>
      openRepository(listingKeys(repository.storage, order), { password: PASSWORD })
    assert.equal((await open([...others.slice(1), repository.keyId])).keyId, repository.keyId)
    await assert.rejects(open([...others, repository.keyId]), { code: 'WRONG_PASSWORD' })
  })

  it('says that the config was altered, whatever was done to it', async () => {
    const repository = await testRepository()
    const stored = await repository.storage.read(CONFIG)
    const flipped = Buffer.from(stored)
    flipped[stored.length >> 1]! ^= 1
    for (const content of [flipped, stored.subarray(0, 40), Buffer.alloc(0)]) {
      await overwrite(repository.storage, CONFIG, content)
      await assert.rejects(openRepository(repository.storage, { password: PASSWORD }), {
        code: 'CORRUPT',
        facts: { location: 'memory', file: 'config', key: repository.keyId },
        hint: /Bring the file `config` back/,
      })
    }
  })

  it('refuses a version that it does not know', async () => {
    const { storage, masterKey } = await testRepository()
    const config = JSON.stringify({ version: 3, id: '0'.repeat(64), chunker_polynomial: POLYNOMIAL.toString(16) })
    await overwrite(storage, CONFIG, seal(masterKey, Buffer.from(config)))
    await assert.rejects(openRepository(storage, { password: PASSWORD }), { code: 'UNSUPPORTED', message: /version 3/ })
  })

  it('passes on what the storage says, instead of calling keys damaged', async () => {
    for (const fault of [
      { on: 'read', type: 'config' },
      { on: 'list', type: 'key' },
      { on: 'read', type: 'key' },
    ] as const) {
      const storage = withFaults((await testRepository()).storage, [{ ...fault, effect: 'fail' }])
      await assert.rejects(openRepository(storage, { password: PASSWORD }), { code: 'STORAGE' })
      assert.deepEqual(storage.fired, [1])
    }
  })

  it('stops when interrupted, with the signal’s own reason', async () => {
    const { storage } = await testRepository()
    const reason = new EngineError('INTERRUPTED', 'Interrupted by SIGINT')
    const signal = AbortSignal.abort(reason)
    await assert.rejects(openRepository(storage, { password: PASSWORD, signal }), (error) => error === reason)
  })
})

describe('real restic', { skip: withoutRestic() }, () => {
  it('opens what we create with either key, and finds it sound', async () => {
    using folder = temporaryFolder()
    const repository = await createRepository(localStorage(folder.path), { password: PASSWORD })
    await addKey(repository, { password: OTHER, kdf: { N: 1024, r: 8, p: 1 } })
    for (const password of [PASSWORD, OTHER]) {
      const { status, stdout } = runRestic(['cat', 'config'], { repository: folder.path, password })
      assert.equal(status, 0)
      assert.equal(JSON.parse(stdout).id, repository.config.id)
    }
    assert.equal(runRestic(['check', '--read-data'], { repository: folder.path, password: PASSWORD }).status, 0)
    assert.equal(runRestic(['cat', 'config'], { repository: folder.path, password: 'wrong' }).status, 12)
  })
})
