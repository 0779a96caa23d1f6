import assert from 'node:assert/strict'
import { it } from 'node:test'
import {
  CHEAP_KDF,
  namesOf,
  overwrite,
  PASSWORD,
  testRepository,
  through,
} from '../../../test/equipment/test-repository.ts'
import { withFaults } from '../storage/faults.ts'
import { changePassword, findKey, listKeys, removeKey } from './keys.ts'
import { addKey, openRepository } from './repository.ts'

const OTHER = Buffer.from('another password')

it('every key is listed, with who made it, and which is in use', async () => {
  const repository = await testRepository()
  const added = await addKey(repository, { password: OTHER, kdf: CHEAP_KDF, username: 'ana', hostname: 'laptop' })
  const { keys, damaged } = await listKeys(repository)
  assert.deepEqual(damaged, [])
  assert.deepEqual(
    keys.map(({ id, isCurrent }) => [id, isCurrent]).sort(),
    [
      [repository.keyId, true],
      [added, false],
    ].sort(),
  )
  const { username, hostname } = keys.find(({ id }) => id === added)!
  assert.deepEqual([username, hostname], ['ana', 'laptop'])
})

it('a damaged key file is listed apart', async () => {
  const repository = await testRepository()
  const id = await addKey(repository, { password: OTHER, kdf: CHEAP_KDF })
  await overwrite(repository.storage, { type: 'key', id }, Buffer.from('{}'))
  const { keys, damaged } = await listKeys(repository)
  assert.deepEqual([keys.length, damaged.map((one) => [one.id, one.error.code])], [1, [[id, 'CORRUPT']]])
})

it('a key that was removed opens nothing, the others still do', async () => {
  const repository = await testRepository()
  const id = await addKey(repository, { password: OTHER, kdf: CHEAP_KDF })
  await removeKey(repository, await findKey(repository, id.slice(0, 12)))
  await assert.rejects(openRepository(repository.storage, { password: OTHER }), { code: 'WRONG_PASSWORD' })
  await openRepository(repository.storage, { password: PASSWORD })
})

it('the key in use cannot be removed', async () => {
  const repository = await testRepository()
  await addKey(repository, { password: OTHER, kdf: CHEAP_KDF })
  await assert.rejects(removeKey(repository, repository.keyId), { code: 'REFUSED' })
  assert.equal((await namesOf(repository.storage, 'key')).length, 2)
})

it('a name that fits no key or several is rejected', async () => {
  const repository = await testRepository()
  await assert.rejects(findKey(repository, 'x'), { code: 'NOT_FOUND' })
  await assert.rejects(findKey(repository, ''), { code: 'NOT_FOUND' })
  for (let i = 0; i < 16; i++) await addKey(repository, { password: OTHER, kdf: CHEAP_KDF })
  const first = (await namesOf(repository.storage, 'key')).map((id) => id[0]!)
  const twice = first.find((digit, i) => first.indexOf(digit) !== i)!
  await assert.rejects(findKey(repository, twice), { code: 'AMBIGUOUS' })
})

it('a changed password opens, and the old one no longer', async () => {
  const repository = await testRepository()
  const changed = await changePassword(repository, { password: OTHER, kdf: CHEAP_KDF })
  assert.equal((await openRepository(repository.storage, { password: OTHER })).keyId, changed.keyId)
  await assert.rejects(openRepository(repository.storage, { password: PASSWORD }), { code: 'WRONG_PASSWORD' })
})

it('while the new key cannot be read back the old one stays', async () => {
  for (const on of ['write', 'read'] as const) {
    const repository = await testRepository()
    const faulty = withFaults(repository.storage, [{ on, type: 'key', nth: 1, effect: 'flip' }])
    await assert.rejects(changePassword(through(repository, faulty), { password: OTHER, kdf: CHEAP_KDF }), {
      code: 'STORAGE',
    })
    assert.equal(faulty.fired[0], 1)
    assert.equal((await namesOf(repository.storage, 'key')).length, 1)
    await openRepository(repository.storage, { password: PASSWORD })
  }
})
