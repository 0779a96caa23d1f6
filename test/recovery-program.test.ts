import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { builtinModules } from 'node:module'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Expectations, GoldenFile } from '../scripts/make-golden.ts'
import { hashId } from '../src/engine/format/id.ts'
import { createKeyFile } from '../src/engine/format/key-file.ts'
import type { MasterKey } from '../src/engine/format/master-key.ts'
import { parseTimestamp } from '../src/engine/format/timestamp.ts'
import { openRepository } from '../src/engine/repository/repository.ts'
import { writeSnapshot } from '../src/engine/repository/snapshots.ts'
import { localStorage } from '../src/engine/storage/local.ts'
import { unlessRoot } from './equipment/as-nobody.ts'
import { compareDescriptions, describeTree } from './equipment/describe-tree.ts'
import { LOSSY_LINKS, makeOddTree } from './equipment/odd-tree.ts'
import { backUp, makeRepository } from './equipment/path-operations.ts'
import { RECOVERY_PROGRAM, recover, recoverable } from './equipment/recovery-program.ts'
import { runRestic, withoutRestic } from './equipment/restic.ts'
import { type TemporaryFolder, temporaryFolder } from './equipment/temporary-folder.ts'
import { CHEAP_KDF, PASSWORD, snapshotOf, storeBlobs, testRepository } from './equipment/test-repository.ts'
import { treeNode, uncheckedTree } from './equipment/tree-node.ts'

const golden = join(import.meta.dirname, 'golden')
const expectations: Expectations = JSON.parse(readFileSync(join(golden, 'expectations.json'), 'utf8'))
const source = readFileSync(RECOVERY_PROGRAM, 'utf8')
const isRoot = process.geteuid?.() === 0

/** What of both snapshots comes back from damaged copies of `healthy/v2-restic-0.19`: all where nothing is said, or the exit code. */
const LOST: Readonly<Record<string, 'some' | 10 | 12>> = {
  'pack-data-flipped': 'some',
  'pack-tree-flipped': 'some',
  'pack-truncated': 'some',
  'pack-unindexed': 'some', // with the snapshot removed, as restic would have it
  'pack-emptied': 'some',
  'pack-data-missing': 'some',
  'pack-tree-missing': 'some',
  'blob-data-forged': 'some',
  'blob-data-missing': 'some',
  'blob-tree-missing': 'some',
  'snapshot-altered': 'some',
  'snapshot-truncated': 'some',
  'key-missing': 10,
  'key-altered': 12,
  'key-truncated': 12,
}

describe('the recovery program', () => {
  let folder: TemporaryFolder
  let at: (name: string) => string
  before(() => {
    folder = temporaryFolder()
    at = (name) => join(folder.path, name)
  })
  after(() => folder[Symbol.dispose]())

  it('is one readable file of less than 500 lines that needs nothing but Node.js', () => {
    const lines = source.trimEnd().split('\n')
    assert.ok(lines.length < 500, `${lines.length} lines`)
    assert.ok(lines.every((line) => line.length <= 120))
    const imported = [...source.matchAll(/\bfrom '([^']+)'|\bimport\(|\brequire\(/g)].map(([, name]) => name)
    assert.ok(imported.length > 0)
    for (const name of imported) assert.ok(name?.startsWith('node:') && builtinModules.includes(name.slice(5)), name)
    assert.doesNotMatch(source, /child_process|worker_threads|node:net|node:http|\beval\b/)
  })

  it('is in the package', () => {
    const { files } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'))
    assert.ok(files.includes('recovery'))
  })

  for (const [name, { origin, snapshots }] of Object.entries(expectations.healthy)) {
    it(`lists and restores ${name} (${origin})`, { concurrency: 2 }, () => {
      const place = at(`healthy ${name}`)
      const options = { password: `${expectations.password}\n` }
      const listed = recover(place, ['list', '--repo', join(golden, 'healthy', name)], options)
      assert.deepEqual([listed.code, listed.err], [0, ''])
      assert.deepEqual(
        listed.out
          .split('\n')
          .filter(Boolean)
          .map((line) => line.slice(0, 12)),
        snapshots.map(({ id }) => id.slice(0, 12)),
      )
      const newest = snapshots.at(-1)
      if (newest === undefined) return
      const files = expectations.sources[newest.source]!
      const run = recover(place, ['restore', newest.id, 'target', '--repo', join(golden, 'healthy', name)], options)
      const unmade = files.filter((file) => file.extendedAttributes || ['fifo', 'dev', 'chardev'].includes(file.type))
      assert.equal(run.code, unmade.length === 0 ? 0 : 3, run.err)
      assert.deepEqual(run.err.match(/^! .*$/gm)?.length ?? 0, unmade.length, run.err)
      assert.equal(
        assertNothingAltered(join(place, 'target'), files),
        files.filter(({ type }) => type === 'file').length,
      )
    })
  }

  describe('of a damaged repository', () => {
    let key: MasterKey
    before(async () => {
      const storage = localStorage(join(golden, 'healthy/v2-restic-0.19'))
      key = (await openRepository(storage, { password: Buffer.from(expectations.password) })).masterKey
    })

    for (const [name, { damage }] of Object.entries(expectations.damaged)) {
      it(`brings back what is intact and reports the rest: ${name} (${damage})`, async () => {
        const place = at(`damaged ${name}`)
        const repository = join(place, 'repository')
        cpSync(join(golden, 'damaged', name), repository, { recursive: true })
        // Derives in no time what the damage is not about.
        if (!name.startsWith('key-')) await replaceKey(repository, key)
        const lost = LOST[name]
        const counts = { restored: 0, there: 0 }
        for (const { id, source } of expectations.healthy['v2-restic-0.19']!.snapshots) {
          const target = join(place, source)
          const run = recover(place, ['restore', id, target, '--repo', 'repository'], { password: PASSWORD })
          if (typeof lost === 'number') {
            assert.equal(run.code, lost, run.err)
            continue
          }
          const files = expectations.sources[source]!
          const restored = assertNothingAltered(target, files)
          const there = files.filter(({ type }) => type === 'file').length
          // Devices are never restored, so that 0 would be wrong for any of these.
          assert.equal(run.code, restored > 0 ? 3 : 1, run.err)
          if (restored < there) assert.match(run.err, /^! .*(is lost|is damaged|cannot be read)|No snapshots/m)
          counts.restored += restored
          counts.there += there
        }
        if (lost === undefined) assert.equal(counts.restored, counts.there)
        if (lost === 'some') assert.ok(counts.restored > 0 && counts.restored < counts.there, String(counts.restored))
      })
    }
  })

  describe('of repositories of every writer', { skip: unlessRoot || withoutRestic('restic', 'restic-stable') }, () => {
    let original: string
    let expected: Map<string, string>
    before(() => {
      original = at('source')
      makeOddTree(original)
      expected = describeTree(original)
    })

    for (const version of [1, 2] as const) {
      for (const writer of ['holdfast', 'restic', 'restic-stable'] as const) {
        if (version === 1 && writer === 'restic-stable') continue // as a golden repository
        it(`brings everything back equal: ${writer}, version ${version}`, async () => {
          const place = at(`${writer} ${version}`)
          const repository = join(place, 'repository')
          await makeRepository(repository, version)
          if (writer === 'holdfast') await backUp(repository, [original])
          else {
            const run = runRestic(['backup', original], { program: writer, repository, password: PASSWORD })
            assert.equal(run.status, 0, run.stderr)
          }
          // Where it lies in earnest: in the repository's own folder.
          const run = recover(repository, ['restore', 'latest', '../target'], { password: PASSWORD })
          assert.equal(run.code, 3)
          assert.match(run.err, /extended attributes or ACLs, which this program cannot set/)
          const found = describeTree(join(place, 'target', original))
          const lost = writer === 'restic-stable' ? LOSSY_LINKS : []
          assert.deepEqual(
            compareDescriptions(recoverable(expected, found), found).filter(
              (line) => !lost.some((path) => line.startsWith(`"${path}"`)),
            ),
            [],
          )
          assert.ok(statSync(join(place, 'target', original, 'sizes/sparse')).blocks * 512 < 2 ** 20, 'holes')
          rmSync(place, { recursive: true })
        })
      }
    }
  })

  describe('on the command line', () => {
    let repository: string
    before(async () => {
      repository = at('small repository')
      mkdirSync(at('small/data'), { recursive: true })
      writeFileSync(at('small/data/one'), 'one')
      writeFileSync(at('small/two'), Buffer.from([0, 255, 10]))
      symlinkSync('data/one', at('small/link'))
      await makeRepository(repository, 2)
      await backUp(repository, [at('small')])
      writeFileSync(at('small/two'), 'later')
      await backUp(repository, [at('small')])
    })

    const inRepository = (args: string[], options: Parameters<typeof recover>[2] = { password: PASSWORD }) =>
      recover(at('elsewhere'), [...args, '--repo', repository], options)

    it('takes the first digits of an ID, paths of a snapshot, and prints one file', () => {
      const { out } = inRepository(['list'])
      const [first] = out.split('\n').map((line) => line.slice(0, 8))
      const printed = inRepository(['print', first!, `${at('small')}/two`])
      assert.equal(printed.out, Buffer.from([0, 255, 10]).toString())
      const files = inRepository(['files', 'latest', at('small/data')])
      assert.match(files.out, / 3 .* \S+\/small\/data\/one\n/)
      assert.doesNotMatch(files.out, /two/)
      const run = inRepository(['restore', first!, 'some', at('small/data'), at('small/link')])
      assert.equal(run.code, 0, run.err)
      assert.deepEqual(readdirSync(join(at('elsewhere/some'), at('small'))).sort(), ['data', 'link'])
      assert.equal(readlinkSync(join(at('elsewhere/some'), at('small/link'))), 'data/one')
      assert.equal(statSync(at('elsewhere/some')).mode & 0o777, 0o700)
    })

    it('says with 3 that a path is missing, and with 1 that nothing came back', () => {
      const both = inRepository(['restore', 'latest', 'both', at('small/two'), '/not/there'])
      assert.equal(both.code, 3)
      assert.match(both.err, /^! \/not\/there is not in this snapshot$/m)
      assert.equal(inRepository(['restore', 'latest', 'none', '/not/there']).code, 1)
    })

    it('restores only to a folder that it makes', () => {
      mkdirSync(at('elsewhere/there'), { recursive: true })
      assert.equal(inRepository(['restore', 'latest', 'there']).code, 1)
      assert.deepEqual(readdirSync(at('elsewhere/there')), [])
    })

    it('says what is wrong: the password, the folder, the snapshot, the command line', () => {
      const wrong = inRepository(['list'], { password: 'wrong' })
      assert.deepEqual([wrong.code, wrong.out], [12, ''])
      assert.equal(recover(at('elsewhere'), ['list', '--repo', at('small')], { password: PASSWORD }).code, 10)
      assert.equal(inRepository(['restore', 'ffffffffffff', 'x']).code, 1)
      assert.equal(inRepository(['restore', '', 'x']).code, 1)
      for (const args of [['restore', 'latest'], ['remove'], ['list', 'x'], ['--unknown']]) {
        const run = inRepository(args)
        assert.deepEqual([args, run.code, run.out], [args, 1, ''])
      }
      assert.match(inRepository([]).out, /node recover\.mjs restore SNAPSHOT TARGET/)
    })

    it('takes any of several passwords, from a file too, and passes over a key file that is none', () => {
      const keys = join(repository, 'keys')
      writeFileSync(join(keys, '0'.repeat(64)), 'nonsense')
      const password = `${PASSWORD}\nmore`
      const run = inRepository(['list'], { password })
      assert.deepEqual([run.code, run.out.split('\n').length], [0, 3])
      assert.match(run.err, /Key file 000000000000 is of no use/)
      rmSync(join(keys, '0'.repeat(64)))
      const twoKeys = ['list', '--repo', join(golden, 'healthy/v2-two-keys'), '--password-file', at('password')]
      writeFileSync(at('password'), `\ufeff ${expectations.secondPassword}\r\n`)
      assert.equal(recover(at('elsewhere'), twoKeys).code, 0)
    })

    it('restores as an ordinary user too, without owners and setuid, and says so', { skip: unlessRoot }, async () => {
      writeFileSync(at('small/setuid'), 'x')
      chmodSync(at('small/setuid'), 0o4755)
      await backUp(repository, [at('small')])
      const place = at('nobody')
      mkdirSync(place)
      chmodSync(folder.path, 0o755)
      chmodSync(place, 0o777)
      cpSync(repository, join(place, 'repository'), { recursive: true })
      for (const name of readdirSync(place, { recursive: true, encoding: 'utf8' })) chmodSync(join(place, name), 0o755)
      const run = recover(place, ['restore', 'latest', 'target', '--repo', 'repository'], {
        password: PASSWORD,
        uid: 65534,
      })
      assert.equal(run.code, 0, run.err)
      assert.match(run.err, /Owners, setuid and setgid bits are not restored/)
      const { mode, uid } = statSync(join(place, 'target', at('small/setuid')))
      assert.deepEqual([mode & 0o7777, uid], [0o755, 65534])
    })
  })

  it('cannot be led out of its target, nor be made to write to the terminal what a name says', async () => {
    const location = at('hostile repository')
    const stored = await testRepository({ storage: localStorage(location) }).catch(async () => {
      await localStorage(location).create()
      return testRepository({ storage: localStorage(location) })
    })
    const content = [hashId(Buffer.from('owned'))]
    const file = (name: string) => treeNode(name, 'file', { size: 5, content } as never)
    const inner = uncheckedTree([file('planted')])
    const outside = at('outside')
    mkdirSync(outside)
    const link = (name: string, to = outside) => treeNode(name, 'symlink', { linkTarget: Buffer.from(to) })
    const dir = (name: string) => treeNode(name, 'dir', { subtree: hashId(inner) } as never)
    const nodes = [
      file('..'),
      file('../planted'),
      dir('..'),
      file('a/../../planted'),
      file(join(outside, 'planted')),
      file('nul\0byte'),
      file('.'),
      file('.'),
      link('entered'),
      dir('entered'), // a link, then a folder of its name
      link('written', join(outside, 'written')),
      file('written'),
      dir('folder'),
      link('folder'),
      file('\x1b[2J\u202ename'),
      treeNode('unknown', 'fifo'),
    ]
    const named = uncheckedTree(nodes).toString()
    const tree = Buffer.from(named.replace('"name":"."', '"name":""'))
    await storeBlobs(stored, [
      ['data', 'owned'],
      ['tree', inner],
      ['tree', tree],
    ])
    await writeSnapshot(
      stored,
      snapshotOf(hashId(tree), { hostname: '\x1b[31mhost', time: parseTimestamp('2026-11-02T00:00:00Z') }),
    )
    const run = recover(at('victim'), ['restore', 'latest', 'target', '--repo', location], { password: PASSWORD })
    assert.equal(run.code, 3, run.err)
    assert.deepEqual(readdirSync(outside), [])
    assert.deepEqual(readdirSync(at('victim')).sort(), ['recover.mjs', 'target'])
    assert.deepEqual(
      readdirSync(at('victim/target')).sort(),
      ['entered', 'folder', 'written', '\x1b[2J\u202ename'].sort(),
    )
    assert.deepEqual(readdirSync(at('victim/target/folder')), ['planted'])
    assert.equal(run.err.match(/^! /gm)?.length, 12, run.err)
    const listed = recover(at('victim'), ['files', 'latest', '--repo', location], { password: PASSWORD })
    for (const text of [run.err, listed.out, listed.err]) assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f\u202e]/)
  })
})

/** Puts a key file that costs nothing in the place of the others. */
async function replaceKey(repository: string, masterKey: MasterKey): Promise<void> {
  rmSync(join(repository, 'keys'), { recursive: true })
  mkdirSync(join(repository, 'keys'))
  const created = parseTimestamp('2026-11-01T12:00:00Z')
  const bytes = await createKeyFile({
    password: PASSWORD,
    masterKey,
    username: '',
    hostname: '',
    created,
    kdf: CHEAP_KDF,
  })
  writeFileSync(join(repository, 'keys', hashId(bytes)), bytes)
}

/** Everything under its own name is as it was backed up. Answers with how many files there are. */
function assertNothingAltered(target: string, files: readonly GoldenFile[]): number {
  const base = join(target, expectations.source)
  let restored = 0
  for (const file of files) {
    const name = file.pathBytes === undefined ? Buffer.from(file.path) : Buffer.from(file.pathBytes, 'base64')
    const path = Buffer.concat([Buffer.from(`${base}/`), name])
    if (file.type !== 'file' || !existsSync(path)) continue
    const { mode, mtimeMs, uid } = statSync(path)
    assert.equal(createHash('sha256').update(readFileSync(path)).digest('hex'), file.sha256, file.path)
    assert.ok(Math.abs(mtimeMs - Number(BigInt(file.mtimeNs) / 1_000_000n)) <= 1, file.path)
    if (isRoot) assert.deepEqual([uid, (mode & 0o7777).toString(8).padStart(4, '0')], [file.uid, file.mode])
    restored++
  }
  return restored
}
