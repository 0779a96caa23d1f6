import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, test } from 'node:test'
import { unlessRoot } from '../../../../test/equipment/as-nobody.ts'
import { compareTrees } from '../../../../test/equipment/describe-tree.ts'
import { makeOddTree } from '../../../../test/equipment/odd-tree.ts'
import { backUp, makeRepository, openIndexed } from '../../../../test/equipment/path-operations.ts'
import { randomBytes } from '../../../../test/equipment/random-bytes.ts'
import { runRestic, withoutRestic } from '../../../../test/equipment/restic.ts'
import { temporaryFolder } from '../../../../test/equipment/temporary-folder.ts'
import { overwrite, PASSWORD, storeBlobs, testRepository } from '../../../../test/equipment/test-repository.ts'
import { folderNode, treeNode, uncheckedTree } from '../../../../test/equipment/tree-node.ts'
import { type BlobId, hashId } from '../../format/id.ts'
import { encodeTree } from '../../format/tree.ts'
import { listExtendedAttributes } from '../../os/extended-attributes.ts'
import type { IndexedRepository } from '../../repository/repository.ts'
import { findSnapshot } from '../../repository/snapshots.ts'
import { dumpFolder } from './dump-folder.ts'
import { tarArchive } from './tar-archive.ts'
import { zipArchive } from './zip-archive.ts'

interface Dumped {
  readonly archive: Buffer
  readonly leftOut: readonly string[]
}

async function dump(repository: IndexedRepository, tree: BlobId, format: 'tar' | 'zip'): Promise<Dumped> {
  const pieces: Buffer[] = []
  const leftOut: string[] = []
  const write = async (bytes: Buffer) => void pieces.push(bytes)
  await dumpFolder(repository, tree, format === 'tar' ? tarArchive(write) : zipArchive(write), {
    prefix: [],
    onLeftOut: (path, reason) => leftOut.push(`${JSON.stringify(path.toString())}: ${reason}`),
  })
  return { archive: Buffer.concat(pieces), leftOut }
}

function run(command: string, args: readonly string[], options: { input?: Buffer; cwd?: string } = {}): Buffer {
  const { status, stdout, stderr, error } = spawnSync(command, args, { ...options, maxBuffer: 1 << 28 })
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${error ?? stderr}`)
  return stdout
}

/** Names, modes, types and hashes of content as Python reads them, in the order of the directory. */
const READ_ZIP = `
import sys, zipfile, hashlib
with zipfile.ZipFile(sys.argv[1]) as archive:
    for info in archive.infolist():
        print(info.filename.encode('utf8' if info.flag_bits & 0x800 else 'cp437').hex(), oct(info.external_attr >> 16), hashlib.sha256(archive.read(info)).hexdigest())
`

describe('a folder of every kind of file', { skip: withoutRestic() || unlessRoot }, () => {
  it('comes out of a tar archive as it was, and is named as restic names it', async () => {
    using folder = temporaryFolder()
    const at = (name: string) => join(folder.path, name)
    makeOddTree(at('source'))
    await makeRepository(at('repository'), 2)
    await backUp(at('repository'), [at('source')])
    const repository = await openIndexed(at('repository'))
    const { snapshot, id } = await findSnapshot(repository, { name: 'latest' })
    const { archive, leftOut } = await dump(repository, snapshot.tree, 'tar')
    assert.deepEqual(leftOut, [])
    mkdirSync(at('out'))
    run('tar', ['-xp', '--numeric-owner', '--xattrs', '--xattrs-include=*', '--acls', '-C', at('out')], {
      input: archive,
    })
    const restored = join(at('out'), at('source'))
    // A symbolic link has no attributes of its own that tar would restore; those of a folder come back in another order.
    const without = (path: string) => path === 'attributes/attributed link'
    const differing = compareTrees(at('source'), restored, { without })
    assert.deepEqual(
      differing.filter((line) => !line.startsWith('"attributes/hands down"\n')),
      [],
    )
    const attributes = (root: string) =>
      listExtendedAttributes(Buffer.from(join(root, 'attributes/hands down')))
        .map(({ name, value }) => `${name}=${value.toString('hex')}`)
        .sort()
    assert.deepEqual(attributes(restored), attributes(at('source')))

    writeFileSync(at('ours.tar'), archive)
    for (const format of ['tar', 'zip']) {
      const args = ['dump', '--archive', format, id, '/', '--target', at(`theirs.${format}`)]
      const { status, stderr } = runRestic(args, { repository: at('repository'), password: PASSWORD })
      assert.equal(status, 0, stderr)
    }
    const names = (file: string) => run('tar', ['-t', '--quoting-style=escape', '-f', file]).toString().split('\n')
    const special = /\/special\/./
    assert.deepEqual(
      names(at('ours.tar')).filter((name) => !special.test(name)),
      names(at('theirs.tar')).filter((name) => !special.test(name)),
    )

    const zip = await dump(repository, snapshot.tree, 'zip')
    assert.deepEqual(zip.leftOut, [])
    writeFileSync(at('ours.zip'), zip.archive)
    run('unzip', ['-tqq', at('ours.zip')])
    // Go takes the type of a link and of a folder for bits of its own; the permissions are the same.
    const read = (file: string) => run('python3', ['-c', READ_ZIP, file]).toString()
    assert.equal(read(at('ours.zip')), read(at('theirs.zip')))
  })
})

test('what no honest program stores does not get into an archive', async () => {
  const evil = encodeTree([treeNode('passwd', 'file', { content: [] })])
  const tree = uncheckedTree([
    treeNode('..', 'file', { content: [] }),
    treeNode('.', 'file', { content: [] }),
    treeNode('../../etc/cron', 'file', { content: [] }),
    treeNode('/etc/passwd', 'file', { content: [] }),
    treeNode('with\0nul', 'file', { content: [] }),
    treeNode('link', 'symlink', { linkTarget: Buffer.from('/etc') }),
    folderNode('link', hashId(evil)),
    treeNode('nul', 'symlink', { linkTarget: Buffer.from('a\0b') }),
    treeNode('nowhere', 'symlink'),
    treeNode('folder', 'dir'),
    treeNode('one', 'file', { content: [], inode: 7n, links: 2 }),
    treeNode('other', 'file', { content: [hashId(Buffer.from('secret'))], inode: 7n, links: 2 }),
  ])
  const { repository, ids } = await storeBlobs(await testRepository(), [
    ['tree', evil],
    ['tree', tree],
    ['data', 'secret'],
  ])
  for (const format of ['tar', 'zip'] as const) {
    const { archive, leftOut } = await dump(repository, ids[1]!, format)
    assert.equal(leftOut.length, 9, leftOut.join('\n'))
    using folder = temporaryFolder()
    const file = join(folder.path, 'archive')
    writeFileSync(file, archive)
    const names = format === 'tar' ? run('tar', ['-tf', file]) : run('zipinfo', ['-1', file])
    assert.equal(names.toString(), 'link\none\nother\n')
  }
})

test('a damaged file is left out of an archive, the others are in it', async () => {
  const plain = await testRepository()
  const good = randomBytes(1000, 'good')
  const bad = randomBytes(1000, 'bad')
  const tree = encodeTree([
    treeNode('bad', 'file', { content: [hashId(bad)], size: 1000 }),
    treeNode('good', 'file', { content: [hashId(good)], size: 1000 }),
    treeNode('lost', 'file', { content: [hashId(Buffer.from('lost'))], size: 4 }),
  ])
  const { packs } = await storeBlobs(plain, [['data', bad]])
  const { repository, ids } = await storeBlobs(plain, [
    ['data', good],
    ['tree', tree],
  ])
  const name = { type: 'pack', id: packs[0]! } as const
  const content = await plain.storage.read(name)
  content[20]! ^= 1
  await overwrite(plain.storage, name, content)
  const { archive, leftOut } = await dump(repository, ids[1]!, 'tar')
  assert.deepEqual(
    leftOut.map((line) => line.split(':')[0]),
    ['"/bad"', '"/lost"'],
  )
  using folder = temporaryFolder()
  run('tar', ['-x', '-C', folder.path], { input: archive })
  assert.deepEqual(readdirSync(folder.path), ['good'])
})

test('a zip archive holds more members than its first format had room for', async () => {
  const pieces: Buffer[] = []
  const archive = zipArchive(async (bytes) => void pieces.push(bytes))
  const nothing = async function* (): AsyncGenerator<Buffer> {}
  for (let number = 0; number < 66_000; number++) {
    const name = Buffer.from(`${number}`)
    await archive.add({ name, node: folderNode(name, hashId(name)), size: 0, linkTo: undefined }, nothing())
  }
  await archive.end()
  using folder = temporaryFolder()
  const file = join(folder.path, 'many.zip')
  writeFileSync(file, Buffer.concat(pieces))
  const count = 'import sys, zipfile; print(len(zipfile.ZipFile(sys.argv[1]).namelist()))'
  assert.equal(run('python3', ['-c', count, file]).toString(), '66000\n')
})

test('a zip archive holds files of more than 4 GiB', {
  skip: process.env.HOLDFAST_FULL ? false : 'only with HOLDFAST_FULL=1',
}, async () => {
  using folder = temporaryFolder()
  const file = join(folder.path, 'large.zip')
  const pieces: Buffer[] = []
  const archive = zipArchive(async (bytes) => void pieces.push(Buffer.from(bytes)))
  const zeros = Buffer.alloc(64 << 20)
  const content = async function* () {
    for (let piece = 0; piece < 65; piece++) yield zeros
  }
  for (const name of ['large', 'after it']) {
    const node = treeNode(name, 'file', { content: [] })
    await archive.add({ name: Buffer.from(name), node, size: 65 * zeros.length, linkTo: undefined }, content())
  }
  await archive.end()
  writeFileSync(file, Buffer.concat(pieces))
  run('unzip', ['-tqq', file])
  const sizes = 'import sys, zipfile; print([i.file_size for i in zipfile.ZipFile(sys.argv[1]).infolist()])'
  assert.equal(run('python3', ['-c', sizes, file]).toString(), `[${65 * zeros.length}, ${65 * zeros.length}]\n`)
})
