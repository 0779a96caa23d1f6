import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { EngineError } from '../error.ts'
import { listExtendedAttributes, removeExtendedAttribute, setExtendedAttribute } from './extended-attributes.ts'

const isRoot = process.getuid?.() === 0

describe('extended attributes', { skip: !hasUserAttributes() && 'the temporary folder has none' }, () => {
  it('a file has none until one is set', (test) => {
    const file = temporaryFile(test)
    assert.deepEqual(listExtendedAttributes(file), [])
    setExtendedAttribute(file, 'user.comment', Buffer.from('one'))
    assert.deepEqual(listExtendedAttributes(file), [{ name: 'user.comment', value: Buffer.from('one') }])
    setExtendedAttribute(file, 'user.comment', Buffer.from('two'))
    assert.deepEqual(listExtendedAttributes(file), [{ name: 'user.comment', value: Buffer.from('two') }])
    removeExtendedAttribute(file, 'user.comment')
    assert.deepEqual(listExtendedAttributes(file), [])
  })

  it('any bytes are a value, none too', (test) => {
    const file = temporaryFile(test)
    const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    setExtendedAttribute(file, 'user.bytes', everyByte)
    setExtendedAttribute(file, 'user.empty', Buffer.alloc(0))
    const values = new Map(listExtendedAttributes(file).map(({ name, value }) => [name, value]))
    assert.deepEqual(values.get('user.bytes'), everyByte)
    assert.deepEqual(values.get('user.empty'), Buffer.alloc(0))
  })

  it('the order is the one of the system', { skip: !has('python3') && 'needs python3 to ask the system' }, (test) => {
    const file = temporaryFile(test)
    for (const letter of 'zamqbx') setExtendedAttribute(file, `user.${letter}`, Buffer.from(letter))
    const system = execFileSync('python3', [
      '-c',
      'import os, sys; print("\\n".join(os.listxattr(sys.argv[1], follow_symlinks=False)))',
      file.toString(),
    ]).toString()
    assert.equal(
      `${listExtendedAttributes(file)
        .map(({ name }) => name)
        .join('\n')}\n`,
      system,
    )
  })

  it('names that are UTF-8 are text, and others do no harm and can be told', (test) => {
    const file = temporaryFile(test)
    setExtendedAttribute(file, 'user.größe-😀', Buffer.from('1'))
    const raw = Buffer.from([...Buffer.from('user.'), 0xff, 0xe2, 0x82, 0x41, 0xc3, 0xa9])
    setExtendedAttribute(file, raw, Buffer.from('2'))
    const attributes = listExtendedAttributes(file)
    assert.deepEqual(
      attributes.find(({ rawName }) => rawName === undefined),
      { name: 'user.größe-😀', value: Buffer.from('1') },
    )
    assert.deepEqual(
      attributes.find(({ rawName }) => rawName !== undefined),
      {
        name: 'user.\ufffd\ufffd\ufffdAé',
        value: Buffer.from('2'),
        rawName: raw,
      },
    )
    removeExtendedAttribute(file, raw)
    assert.equal(listExtendedAttributes(file).length, 1)
  })

  it('paths that are not UTF-8 are reached', (test) => {
    const file = Buffer.concat([temporaryFile(test), Buffer.of(0xff, 0xc0)])
    writeFileSync(file, '')
    setExtendedAttribute(file, 'user.here', Buffer.from('1'))
    assert.equal(listExtendedAttributes(file).length, 1)
  })

  it('an ACL is an attribute, and comes back as one', { skip: !has('setfacl') && 'needs setfacl' }, (test) => {
    const [file, copy] = [temporaryFile(test), temporaryFile(test)]
    execFileSync('setfacl', ['-m', 'u:12345:rw,g:54321:r', file.toString()])
    const acl = listExtendedAttributes(file)
    assert.deepEqual(
      acl.map(({ name }) => name),
      ['system.posix_acl_access'],
    )
    setExtendedAttribute(copy, acl[0]!.name, acl[0]!.value)
    assert.equal(aclOf(copy), aclOf(file))
    assert.match(aclOf(copy), /user:12345:rw-/)
    removeExtendedAttribute(copy, 'system.posix_acl_access')
    assert.doesNotMatch(aclOf(copy), /12345/)
  })

  it("a program's capabilities are an attribute", { skip: !isRoot && 'needs root' }, (test) => {
    const file = temporaryFile(test)
    // Revision 2, effective: cap_net_bind_service permitted.
    const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex')
    setExtendedAttribute(file, 'security.capability', capability)
    assert.deepEqual(listExtendedAttributes(file), [{ name: 'security.capability', value: capability }])
  })

  it('a symbolic link is not followed', { skip: !isRoot && 'only root can give a link attributes' }, (test) => {
    const file = temporaryFile(test)
    setExtendedAttribute(file, 'user.target', Buffer.from('1'))
    const link = Buffer.from(`${file}-link`)
    symlinkSync(file, link)
    assert.deepEqual(listExtendedAttributes(link), [])
    setExtendedAttribute(link, 'trusted.link', Buffer.from('2'))
    assert.deepEqual(listExtendedAttributes(link), [{ name: 'trusted.link', value: Buffer.from('2') }])
    assert.deepEqual(
      listExtendedAttributes(file).map(({ name }) => name),
      ['user.target'],
    )
    removeExtendedAttribute(link, 'trusted.link')
    assert.deepEqual(listExtendedAttributes(link), [])
    throwsCode('PERMISSION', () => setExtendedAttribute(link, 'user.link', Buffer.from('3')))
  })

  it('a dangling link is there', (test) => {
    const link = Buffer.from(`${temporaryFile(test)}-link`)
    symlinkSync('/nonexistent', link)
    assert.deepEqual(listExtendedAttributes(link), [])
  })

  it('lists and values of the full 64 KiB are read, larger lists are an error that says so', (test) => {
    const file = largeAttributesFile(test)
    if (file === undefined) return test.skip('needs root to mount a file system that takes them')
    const value = Buffer.alloc(65536, 'v')
    setExtendedAttribute(file, 'user.large', value)
    assert.deepEqual(listExtendedAttributes(file)[0]!.value, value)
    removeExtendedAttribute(file, 'user.large')

    // 250 bytes each with the NUL: 262 of them are 65,500.
    const nameOf = (index: number) => `user.${String(index).padStart(244, '0')}`
    for (let index = 0; index < 262; index++) setExtendedAttribute(file, nameOf(index), Buffer.from([index & 255]))
    const attributes = listExtendedAttributes(file)
    assert.deepEqual(
      new Set(attributes.map(({ name }) => name)),
      new Set(Array.from({ length: 262 }, (_, index) => nameOf(index))),
    )
    for (const { name, value } of attributes) assert.deepEqual(value, Buffer.from([Number(name.slice(5)) & 255]))

    setExtendedAttribute(file, nameOf(262), Buffer.alloc(0))
    const error = throwsCode('SYSTEM', () => listExtendedAttributes(file))
    assert.equal(error.facts.errno, 'E2BIG')
    assert.match(error.message, /64 KiB/)
    return undefined
  })

  it('a file system without attributes has none, and takes none', { skip: process.platform !== 'linux' }, () => {
    const file = Buffer.from('/proc/self/comm')
    assert.deepEqual(listExtendedAttributes(file), [])
    throwsCode('UNSUPPORTED', () => setExtendedAttribute(file, 'user.comment', Buffer.from('1')))
  })

  it('removing what is not there is no error', (test) => {
    removeExtendedAttribute(temporaryFile(test), 'user.none')
  })

  it('a missing file, a folder that is none and a name that is none are errors', (test) => {
    const file = temporaryFile(test)
    const missing = Buffer.from(`${file}-missing`)
    throwsCode('NOT_FOUND', () => listExtendedAttributes(missing))
    throwsCode('NOT_FOUND', () => setExtendedAttribute(missing, 'user.a', Buffer.from('1')))
    throwsCode('NOT_FOUND', () => removeExtendedAttribute(missing, 'user.a'))
    throwsCode('NOT_A_DIRECTORY', () => listExtendedAttributes(Buffer.from(`${file}/below`)))
    throwsCode('UNSUPPORTED', () => setExtendedAttribute(file, 'nonsense', Buffer.from('1')))
    throwsCode('SYSTEM', () => setExtendedAttribute(file, `user.${'a'.repeat(300)}`, Buffer.from('1')))
  })

  it('a NUL byte cannot turn a path or a name into another one', (test) => {
    const file = temporaryFile(test)
    throwsCode('HOSTILE', () => setExtendedAttribute(Buffer.from(`${file}\0x`), 'user.a', Buffer.from('1')))
    throwsCode('HOSTILE', () => setExtendedAttribute(file, 'user.a\0x', Buffer.from('1')))
    assert.deepEqual(listExtendedAttributes(file), [])
  })
})

let made = 0

function temporaryFile(test: TestContext, parent = tmpdir()): Buffer {
  const folder = mkdtempSync(join(parent, 'holdfast-attributes-'))
  test.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, `file${made++}`)
  writeFileSync(file, '')
  return Buffer.from(file)
}

/** On a disk that stores as many attributes as Linux lets a file have; ext4 has room for 4 KiB. */
function largeAttributesFile(test: TestContext): Buffer | undefined {
  if (!isRoot) return undefined
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-disk-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'holdfast-test', folder])
  test.after(() => {
    execFileSync('umount', [folder])
    rmSync(folder, { recursive: true })
  })
  const file = Buffer.from(join(folder, 'file'))
  writeFileSync(file, '')
  try {
    setExtendedAttribute(file, 'user.test', Buffer.of(1))
    removeExtendedAttribute(file, 'user.test')
    return file
  } catch (error) {
    if (error instanceof EngineError && error.code === 'UNSUPPORTED') return undefined // Linux before 6.6
    throw error
  }
}

function hasUserAttributes(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-attributes-'))
  try {
    setExtendedAttribute(Buffer.from(folder), 'user.test', Buffer.of(1))
    return true
  } catch (error) {
    if (error instanceof EngineError && error.code === 'UNSUPPORTED') return false
    throw error
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function has(program: string): boolean {
  return spawnSync(program, ['--version']).status === 0
}

function aclOf(file: Buffer): string {
  return execFileSync('getfacl', ['-cpn', file.toString()], { encoding: 'utf8' })
}

function throwsCode(code: string, work: () => unknown): EngineError {
  try {
    work()
  } catch (error) {
    assert.ok(error instanceof EngineError, String(error))
    assert.equal(error.code, code, error.message)
    return error
  }
  return assert.fail(`expected ${code}`)
}
