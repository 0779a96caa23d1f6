import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { testRepository } from '../../../test/equipment/test-repository.ts'
import type { EngineError } from '../error.ts'
import { hashId } from '../format/id.ts'
import { readNote, writeNote } from './notes.ts'

const NAME = hashId(Buffer.from('a note'))
const NOTE = Buffer.from('what was seen, and when')

function strict(folder: string) {
  return { folder, onProblem: (error: EngineError) => assert.fail(error) }
}

test('a note is read again by its name, of its repository alone, and gives nothing away', async () => {
  using folder = temporaryFolder()
  const options = strict(join(folder.path, 'cache'))
  const repository = await testRepository()
  assert.equal(await readNote(repository, NAME, options), undefined)
  await writeNote(repository, NAME, NOTE, options)
  assert.deepEqual(await readNote(repository, NAME, options), NOTE)
  await writeNote(repository, NAME, Buffer.alloc(0), options)
  assert.deepEqual(await readNote(repository, NAME, options), Buffer.alloc(0))
  await writeNote(repository, NAME, NOTE, options)

  const notes = join(options.folder, repository.config.id, 'notes')
  const [file = ''] = readdirSync(notes)
  assert.ok(!readFileSync(join(notes, file)).includes('seen'))
  for (const [path, mode] of [
    [join(notes, file), 0o600],
    [notes, 0o700],
    [options.folder, 0o700],
  ] as const) {
    assert.equal(statSync(path).mode & 0o777, mode, path)
  }
  assert.ok(readFileSync(join(options.folder, 'CACHEDIR.TAG'), 'latin1').startsWith('Signature: 8a477f597d28d172'))

  const otherName = hashId(Buffer.from('another'))
  writeFileSync(join(notes, otherName), readFileSync(join(notes, file)))
  assert.equal(await readNote(repository, otherName, options), undefined)
  const other = await testRepository()
  const sameKey = { ...repository, config: { ...repository.config, id: other.config.id } }
  mkdirSync(join(options.folder, other.config.id, 'notes'), { recursive: true })
  writeFileSync(join(options.folder, other.config.id, 'notes', NAME), readFileSync(join(notes, file)))
  assert.equal(await readNote(sameKey, NAME, options), undefined)
})

test('a note of which any byte was altered, or that was cut short, is as good as none', async () => {
  using folder = temporaryFolder()
  const options = strict(folder.path)
  const repository = await testRepository()
  await writeNote(repository, NAME, NOTE, options)
  const path = join(folder.path, repository.config.id, 'notes', NAME)
  const bytes = readFileSync(path)
  for (let at = 0; at < bytes.length; at++) {
    const altered = Buffer.from(bytes)
    altered[at]! ^= 1
    writeFileSync(path, altered)
    assert.equal(await readNote(repository, NAME, options), undefined)
    writeFileSync(path, bytes.subarray(0, at))
    assert.equal(await readNote(repository, NAME, options), undefined)
  }
  writeFileSync(path, bytes)
  assert.deepEqual(await readNote(repository, NAME, options), NOTE)
})

test('the oldest of very many notes go', async () => {
  using folder = temporaryFolder()
  const options = strict(folder.path)
  const repository = await testRepository()
  const names = Array.from({ length: 20 }, (_, n) => hashId(Buffer.from(String(n))))
  const notes = join(folder.path, repository.config.id, 'notes')
  for (const [n, name] of names.entries()) {
    await writeNote(repository, name, NOTE, options)
    utimesSync(join(notes, name), 1000 + n, 1000 + n)
  }
  assert.deepEqual(readdirSync(notes).sort(), names.slice(4).sort())
})

test('a folder that cannot be used is told of, and no link in it is followed', async () => {
  using folder = temporaryFolder()
  const repository = await testRepository()
  const told: EngineError[] = []
  const onProblem = (error: EngineError) => told.push(error)
  const file = join(folder.path, 'file')
  writeFileSync(file, '')
  await writeNote(repository, NAME, NOTE, { folder: file, onProblem })
  assert.match(told[0]!.message, /Cannot keep notes in .*file/)
  assert.match(told[0]!.hint!, /--cache-dir/)

  const options = strict(join(folder.path, 'cache'))
  await writeNote(repository, NAME, NOTE, options)
  const notes = join(options.folder, repository.config.id, 'notes')
  const linked = hashId(Buffer.from('linked'))
  symlinkSync(join(notes, NAME), join(notes, linked))
  told.length = 0
  assert.equal(await readNote(repository, linked, { ...options, onProblem }), undefined)
  assert.equal(told.length, 1)
})
