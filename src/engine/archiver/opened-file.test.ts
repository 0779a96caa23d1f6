import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  mkdirSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { describe, it } from 'node:test'
import { asNobody, unlessRoot } from '../../../test/equipment/as-nobody.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { OpenedFile } from './opened-file.ts'

/** All that the reader gives, in pieces of at most this size. */
function readAll(file: OpenedFile, piece = 1 << 16): string {
  const read = file.reader()
  const parts: string[] = []
  const buffer = Buffer.alloc(piece)
  for (let count = read(buffer); count > 0; count = read(buffer)) parts.push(buffer.toString('latin1', 0, count))
  return parts.join('')
}

describe('OpenedFile', () => {
  it('reads a file that grows only up to the size that it had', () => {
    using folder = temporaryFolder()
    const path = Buffer.from(`${folder.path}/log`)
    writeFileSync(path, '0123456789')
    using file = new OpenedFile(path)
    appendFileSync(path, 'more')
    assert.equal(readAll(file, 3), '0123456789')
    assert.equal(file.hasChanged(), true)
  })

  it('comes to an end with an empty file that never stops growing', () => {
    using folder = temporaryFolder()
    const path = Buffer.from(`${folder.path}/log`)
    writeFileSync(path, '')
    using file = new OpenedFile(path)
    const read = file.reader()
    const buffer = Buffer.alloc(4)
    let total = 0
    appendFileSync(path, '0123456789')
    for (let count = read(buffer); count > 0; count = read(buffer)) {
      total += count
      appendFileSync(path, 'x'.repeat(100))
    }
    assert.equal(total, 10)
  })

  it('reads a file of /proc, which says that it has no bytes, to its end', () => {
    using file = new OpenedFile(Buffer.from('/proc/self/mounts'))
    assert.equal(file.stats.size, 0)
    assert.match(readAll(file, 100), / \/ .*\n$/s)
    assert.equal(file.hasChanged(), false)
  })

  it('reads as much as is left of a file that is cut off', () => {
    using folder = temporaryFolder()
    const path = Buffer.from(`${folder.path}/log`)
    writeFileSync(path, '0123456789')
    using file = new OpenedFile(path)
    truncateSync(path, 4)
    assert.equal(readAll(file, 3), '0123')
    assert.equal(file.hasChanged(), true)
  })

  it('does not touch the access time', () => {
    using folder = temporaryFolder()
    const path = Buffer.from(`${folder.path}/file`)
    writeFileSync(path, 'x')
    utimesSync(path, 1000, 2000)
    {
      using file = new OpenedFile(path)
      readAll(file)
    }
    assert.equal(statSync(path).atimeMs, 1_000_000)
  })

  it('reads the file of another owner, whose access time cannot be spared', { skip: unlessRoot }, async () => {
    using file = await asNobody(async () => new OpenedFile(Buffer.from('/etc/passwd')))
    assert.match(readAll(file), /^root:/)
  })

  for (const [what, make] of [
    ['a FIFO without waiting for a writer', (path: string) => execFileSync('mkfifo', [path])],
    ['a symbolic link', (path: string) => symlinkSync('/etc/passwd', path)],
    ['a folder', (path: string) => mkdirSync(path)],
  ] as const) {
    it(`refuses ${what}`, () => {
      using folder = temporaryFolder()
      make(`${folder.path}/file`)
      assert.throws(() => new OpenedFile(Buffer.from(`${folder.path}/file`)), {
        code: 'SOURCE',
        message: /^Cannot read .*: something else than a regular file has taken its place$/,
      })
    })
  }

  it('refuses a socket', async () => {
    using folder = temporaryFolder()
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(`${folder.path}/socket`, resolve))
    assert.throws(() => new OpenedFile(Buffer.from(`${folder.path}/socket`)), { code: 'SOURCE' })
    server.close()
  })

  it('closes what it opened, also when it refuses', () => {
    using folder = temporaryFolder()
    const isOpen = (fd: number) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder.path)
      } catch {
        return false // no such descriptor
      }
    }
    mkdirSync(`${folder.path}/folder`)
    writeFileSync(`${folder.path}/file`, '')
    assert.throws(() => new OpenedFile(Buffer.from(`${folder.path}/folder`)))
    let fd: number
    {
      using file = new OpenedFile(Buffer.from(`${folder.path}/file`))
      fd = file.fd
      assert.ok(isOpen(fd))
    }
    assert.ok(!isOpen(fd))
  })

  it('waits until what is written next gets another time', async () => {
    using folder = temporaryFolder()
    const path = Buffer.from(`${folder.path}/file`)
    for (let i = 0; i < 20; i++) {
      writeFileSync(path, 'first!')
      using file = new OpenedFile(path)
      await file.settle()
      assert.equal(file.hasChanged(), false)
      writeFileSync(path, 'second')
      assert.equal(file.hasChanged(), true)
    }
  })

  it('does not wait for a file that has been left alone', async () => {
    using file = new OpenedFile(Buffer.from(process.execPath))
    const begun = performance.now()
    await file.settle()
    assert.ok(performance.now() - begun < 15)
  })
})
