import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { backUp } from '../../../test/equipment/path-operations.ts'
import { briefly, protectedApplication } from '../../../test/equipment/protected-application.ts'
import { runRestic, withoutRestic } from '../../../test/equipment/restic.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { PASSWORD } from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../../engine/error.ts'
import { localStorage } from '../../engine/storage/local.ts'
import { memoryStorage } from '../../engine/storage/memory.ts'
import { makeRepository } from '../protect/create-repository.ts'
import { placeRecoveryProgram, readRecoveryFile } from './place-recovery-program.ts'

test('a new repository holds the recovery program and its note, which restic passes over', {
  skip: withoutRestic('restic', 'restic-stable'),
}, async () => {
  using folder = temporaryFolder()
  const location = join(folder.path, 'repository')
  const signal = new AbortController().signal
  const { findings } = await makeRepository({ location, password: async () => PASSWORD }, { signal })
  assert.deepEqual(findings, [])
  writeFileSync(join(folder.path, 'file'), 'x')
  await backUp(location, [join(folder.path, 'file')])
  for (const program of ['restic', 'restic-stable'] as const) {
    for (const args of [['check', '--read-data'], ['prune'], ['list', 'packs'], ['snapshots']]) {
      const run = runRestic(args, { program, repository: location, password: PASSWORD })
      assert.equal(run.status, 0, run.stderr)
      assert.doesNotMatch(run.stdout + run.stderr, /recover/i)
    }
  }
  for (const name of ['recover.mjs', 'RECOVERY.txt'] as const) {
    assert.deepEqual(readFileSync(join(location, name)), await readRecoveryFile(name))
    assert.equal(statSync(join(location, name)).mode & 0o777, 0o400)
  }
})

test('a backup brings an older or altered program up to date, and leaves a newer one', async () => {
  const storage = memoryStorage()
  const program = await readRecoveryFile('recover.mjs')
  const place = async (content: string) => {
    await storage.beside!.write('recover.mjs', Buffer.from(content))
    assert.deepEqual(await placeRecoveryProgram(storage), [])
    return (await storage.beside!.read('recover.mjs'))!.toString()
  }
  assert.equal(await place('export const RECOVERY_PROGRAM_VERSION = 0\n'), program.toString())
  assert.equal(await place('something else'), program.toString())
  assert.equal(await place(`${program} `), program.toString())
  const newer = '// later\nexport const RECOVERY_PROGRAM_VERSION = 1000\n'
  assert.equal(await place(newer), newer)
})

test('where it cannot be written, the backup is made, and warns', async () => {
  using app = await protectedApplication()
  app.put('config/a.json', '{}')
  app.put('data/b', 'b')
  mkdirSync(join(app.access.location, 'recover.mjs'))
  const { outcome, findings } = await app.backUp()
  assert.deepEqual([outcome, briefly(findings)], ['succeeded', ['warning recovery-program-not-placed']])
  rmSync(join(app.access.location, 'recover.mjs'), { recursive: true })
  assert.deepEqual((await app.backUp()).findings, [])
  assert.deepEqual(readFileSync(join(app.access.location, 'recover.mjs')), await readRecoveryFile('recover.mjs'))
})

test('a full disk is a warning, a storage without room for other files is none, and an interruption is no warning', async () => {
  const storage = memoryStorage()
  const full = new EngineError('NO_SPACE', 'no space is left', { hint: 'Make room' })
  const beside = { ...storage.beside!, write: () => Promise.reject(full) }
  const [finding, ...more] = await placeRecoveryProgram({ ...storage, beside })
  assert.deepEqual([finding?.severity, finding?.hint, more], ['warning', 'Make room', []])
  const { beside: _, ...without } = storage
  assert.deepEqual(await placeRecoveryProgram(without), [])
  const signal = AbortSignal.abort(new Error('enough'))
  await assert.rejects(placeRecoveryProgram(localStorage('/nowhere'), signal), /enough/)
})
