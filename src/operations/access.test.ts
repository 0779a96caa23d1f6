import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { recordingStorage } from '../../test/equipment/recording-storage.ts'
import { namesOf, PASSWORD, testRepository } from '../../test/equipment/test-repository.ts'
import { encodeLock } from '../engine/format/lock.ts'
import { now } from '../engine/format/timestamp.ts'
import type { Repository } from '../engine/repository/repository.ts'
import { writeUnpacked } from '../engine/repository/unpacked-files.ts'
import { memoryStorage } from '../engine/storage/memory.ts'
import type { Storage } from '../engine/storage/storage.ts'
import { openAhead, withRepository } from './access.ts'

const EARLY = { lock: 'shared', early: true } as const
const access = (storage: Storage) => ({ location: 'memory', storage, password: async () => Buffer.from(PASSWORD) })

/** Somebody who takes the repository for themselves at the same time. */
function lockExclusively(repository: Repository) {
  const info = { time: now(), exclusive: true, hostname: 'elsewhere', username: 'somebody', pid: 4711, uid: 0, gid: 0 }
  return writeUnpacked(repository, 'lock', encodeLock(info))
}

describe('work that begins while the lock settles', () => {
  for (const type of ['pack', 'config'] as const) {
    it(`changes nothing when somebody else turns up, and says that it is locked (${type})`, async () => {
      const storage = recordingStorage(memoryStorage())
      const repository = await testRepository({ storage })
      const begin = storage.done.length
      let hasBegun = false
      const working = withRepository(access(storage), EARLY, async (opened) => {
        hasBegun = true
        await lockExclusively(repository)
        if (type === 'pack') await opened.storage.write({ type, id: 'a'.repeat(64) }, Buffer.from('pack'))
        else await opened.storage.remove({ type, id: '' })
      })
      await assert.rejects(working, { code: 'LOCKED', message: /process 4711/ })
      assert.ok(hasBegun)
      const done = storage.done.slice(begin).filter((call) => !call.includes(' locks/'))
      assert.deepEqual(done, [])
      assert.equal((await namesOf(storage, 'lock')).length, 1)
    })
  }

  it('hands out nothing that was read when somebody else turns up', async () => {
    const storage = memoryStorage()
    const repository = await testRepository({ storage })
    const working = withRepository(access(storage), EARLY, async () => {
      await lockExclusively(repository)
      return 'read'
    })
    await assert.rejects(working, { code: 'LOCKED' })
  })

  it('puts no file beside the repository either before nobody is in the way', async () => {
    const storage = memoryStorage()
    const repository = await testRepository({ storage })
    const working = withRepository(access(storage), EARLY, async (opened) => {
      await lockExclusively(repository)
      await opened.storage.beside!.write('RECOVERY.txt', Buffer.from('note'))
    })
    await assert.rejects(working, { code: 'LOCKED' })
    assert.equal(await storage.beside!.read('RECOVERY.txt'), undefined)
  })

  it('says that it is locked when the work fails because of who turned up', async () => {
    const storage = memoryStorage()
    const repository = await testRepository({ storage })
    const working = withRepository(access(storage), EARLY, async () => {
      await lockExclusively(repository)
      throw new Error('an index file is gone')
    })
    await assert.rejects(working, { code: 'LOCKED' })
    const failing = withRepository(access(memoryStorage()), EARLY, async () => {})
    await assert.rejects(failing, { code: 'NO_REPOSITORY' })
  })

  it('tells the work when nobody can turn up any more', async () => {
    const storage = memoryStorage()
    const repository = await testRepository({ storage })
    let written = false
    const working = withRepository(access(storage), EARLY, async (_, __, settled) => {
      await lockExclusively(repository)
      await settled
      written = true
    })
    await assert.rejects(working, { code: 'LOCKED' })
    assert.equal(written, false)
    await withRepository({ ...access(storage), noLock: true }, EARLY, (_, __, settled) => settled)
  })

  it('writes once nobody is in the way', async () => {
    const storage = memoryStorage()
    await testRepository({ storage })
    const name = { type: 'pack', id: 'a'.repeat(64) } as const
    await withRepository(access(storage), EARLY, ({ storage: opened }) => opened.write(name, Buffer.from('pack')))
    assert.equal((await storage.read(name)).toString(), 'pack')
    assert.deepEqual(await namesOf(storage, 'lock'), [])
  })
})

describe('opening ahead', () => {
  const NOW = { lock: 'none' } as const

  it('resolves while the key is derived, and what is opened then is what the access opens', async () => {
    const storage = memoryStorage()
    const repository = await testRepository({ storage })
    let asked = 0
    const password = async () => {
      asked += 1
      return Buffer.from(PASSWORD)
    }
    const ahead = await openAhead({ ...access(storage), password }, undefined)
    let isOpened = false
    ahead.opening!.repository.then(() => {
      isOpened = true
    })
    for (let turn = 0; turn < 10; turn++) await Promise.resolve()
    assert.equal(isOpened, false)
    assert.deepEqual(await withRepository(ahead, NOW, async ({ masterKey }) => masterKey), repository.masterKey)
    assert.equal(asked, 1)
  })

  it('says to who uses the access what went wrong, and to nobody before', async () => {
    const storage = memoryStorage()
    await testRepository({ storage })
    const wrong = await openAhead({ ...access(storage), password: async () => Buffer.from('another') }, undefined)
    const none = await openAhead(access(memoryStorage()), undefined)
    await new Promise((resolve) => setTimeout(resolve, 50)) // an unhandled rejection would end the test
    await assert.rejects(
      withRepository(wrong, NOW, async () => {}),
      { code: 'WRONG_PASSWORD' },
    )
    await assert.rejects(
      withRepository(none, NOW, async () => {}),
      { code: 'NO_REPOSITORY' },
    )
  })
})
