import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { writeFileDurably } from './write-file-durably.ts'

describe('durable writes', () => {
  it('the file holds the content and has the mode, whatever the umask', async (test) => {
    const folder = await temporaryFolder(test)
    const umask = process.umask(0o077)
    try {
      await writeFileDurably(join(folder, 'private'), Buffer.from('secret'))
      await writeFileDurably(join(folder, 'public'), [Buffer.from('pub'), Buffer.from('lic')], { mode: 0o644 })
    } finally {
      process.umask(umask)
    }
    assert.equal(await readFile(join(folder, 'private'), 'utf8'), 'secret')
    assert.equal((await stat(join(folder, 'private'))).mode & 0o7777, 0o600)
    assert.equal(await readFile(join(folder, 'public'), 'utf8'), 'public')
    assert.equal((await stat(join(folder, 'public'))).mode & 0o7777, 0o644)
    assert.deepEqual((await readdir(folder)).sort(), ['private', 'public'])
  })

  it('a file is replaced in one step: readers see one content or the other', async (test) => {
    const path = join(await temporaryFolder(test), 'file')
    const contents = [Buffer.alloc(300_000, 'a'), Buffer.alloc(300_000, 'b')]
    await writeFileDurably(path, contents[0]!)
    let finished = false
    const reading = (async () => {
      while (!finished) {
        const seen = await readFile(path)
        assert.ok(contents.some((content) => content.equals(seen)))
      }
    })()
    for (let round = 1; round <= 20; round++) await writeFileDurably(path, contents[round % 2]!)
    finished = true
    await reading
  })

  it('a link of that name is replaced, and what it points to is not touched', async (test) => {
    const folder = await temporaryFolder(test)
    await writeFile(join(folder, 'target'), 'mine')
    await symlink('target', join(folder, 'link'))
    await assert.rejects(writeFileDurably(join(folder, 'link'), Buffer.from('new'), { replace: false }), {
      code: 'EXISTS',
    })
    await writeFileDurably(join(folder, 'link'), Buffer.from('new'))
    assert.equal(await readFile(join(folder, 'target'), 'utf8'), 'mine')
    assert.equal(await readFile(join(folder, 'link'), 'utf8'), 'new')
  })

  it('every kind of failure leaves no temporary file', async (test) => {
    const folder = await temporaryFolder(test)
    await writeFile(join(folder, 'file'), 'old')
    await mkdir(join(folder, 'folder'))
    const content = randomBytes(9_000_000)
    const reason = new Error('enough')
    await assert.rejects(writeFileDurably(join(folder, 'file'), content, { replace: false }), { code: 'EXISTS' })
    await assert.rejects(writeFileDurably(join(folder, 'folder'), content), { code: 'STORAGE' })
    await assert.rejects(writeFileDurably(join(folder, 'none', 'file'), content), { code: 'NOT_FOUND' })
    await assert.rejects(writeFileDurably(join(folder, 'file', 'file'), content), { code: 'NOT_A_DIRECTORY' })
    const controller = new AbortController()
    setImmediate(() => controller.abort(reason))
    await assert.rejects(
      writeFileDurably(join(folder, 'file'), content, { signal: controller.signal }),
      (error) => error === reason,
    )
    assert.deepEqual((await readdir(folder)).sort(), ['file', 'folder'])
    assert.equal(await readFile(join(folder, 'file'), 'utf8'), 'old')
  })
})

async function temporaryFolder(test: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-durable-'))
  test.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}
