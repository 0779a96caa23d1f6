import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, it } from 'node:test'
import type { Expectations, GoldenFile } from '../scripts/make-golden.ts'
import type { EngineErrorCode } from '../src/engine/error.ts'
import { EngineError } from '../src/engine/error.ts'
import { listExtendedAttributes } from '../src/engine/os/extended-attributes.ts'
import { checkRepository } from '../src/engine/repository/check.ts'
import type { CheckCode, CheckFinding } from '../src/engine/repository/check-finding.ts'
import { openRepository, type Repository } from '../src/engine/repository/repository.ts'
import { byTime, readSnapshots, type StoredSnapshot } from '../src/engine/repository/snapshots.ts'
import { localStorage } from '../src/engine/storage/local.ts'
import type { Storage } from '../src/engine/storage/storage.ts'
import { restoreSnapshot } from './equipment/restore-snapshot.ts'
import { temporaryFolder } from './equipment/temporary-folder.ts'

const golden = join(import.meta.dirname, 'golden')
const expectations: Expectations = JSON.parse(readFileSync(join(golden, 'expectations.json'), 'utf8'))
const password = Buffer.from(expectations.password)

/** What check finds besides restic's exit codes: without reading the data, and with it. */
interface Expected {
  readonly structure: Counts
  readonly readData: Counts
}

type Counts = Partial<Record<CheckCode, number>>

const WRONG = { keysTried: 2, keysDamaged: 0 }

const same = (counts: Counts): Expected => ({ structure: counts, readData: counts })

/** An index file that cannot be read; its packs are in none, and restic would stop here. */
const INDEX_DAMAGED = same({ 'index-damaged': 1, 'pack-unindexed': 2, 'blob-missing': 19 })

/** Either what check finds, or why the repository cannot be opened. */
const DAMAGES: Readonly<Record<string, Expected | EngineErrorCode>> = {
  'pack-data-flipped': { structure: {}, readData: { 'pack-damaged': 1, 'blob-damaged': 1 } },
  'pack-tree-flipped': {
    structure: { 'tree-damaged': 1 },
    readData: { 'tree-damaged': 1, 'pack-damaged': 1, 'blob-damaged': 1 },
  },
  'pack-header-flipped': { structure: {}, readData: { 'pack-damaged': 1 } },
  'pack-header-length-altered': { structure: {}, readData: { 'pack-damaged': 1 } },
  'pack-truncated': {
    structure: { 'pack-size': 1 },
    readData: { 'pack-size': 1, 'pack-damaged': 1, 'blob-damaged': 1 },
  },
  'pack-emptied': {
    structure: { 'pack-size': 1 },
    readData: { 'pack-size': 1, 'pack-damaged': 1, 'blob-damaged': 1 },
  },
  'pack-too-long': { structure: { 'pack-size': 1 }, readData: { 'pack-size': 1, 'pack-damaged': 1 } },
  'pack-data-missing': same({ 'pack-missing': 1 }),
  'pack-tree-missing': same({ 'pack-missing': 1, 'tree-damaged': 5 }),
  'pack-renamed': { structure: {}, readData: { 'pack-damaged': 1 } },
  'pack-unindexed': same({ 'pack-unindexed': 2 }),
  'pack-mixed': same({ 'pack-mixed': 1 }),
  'blob-data-forged': { structure: { 'node-damaged': 1 }, readData: { 'node-damaged': 1, 'blob-damaged': 1 } },
  'blob-data-missing': same({ 'blob-missing': 39 }),
  'blob-tree-missing': same({ 'blob-missing': 5 }),
  'index-altered': INDEX_DAMAGED,
  'index-truncated': INDEX_DAMAGED,
  'index-emptied': INDEX_DAMAGED,
  'index-missing': same({ 'pack-unindexed': 2, 'blob-missing': 19 }),
  'index-all-missing': same({ 'pack-unindexed': 4, 'blob-missing': 2 }),
  'index-duplicate': same({ 'index-duplicate': 2 }),
  'index-contradicts-itself': same({ 'index-contradicts': 1 }),
  'index-names-wrong-blob': {
    structure: { 'node-damaged': 2 },
    readData: { 'node-damaged': 2, 'pack-damaged': 1, 'blob-damaged': 1 },
  },
  'snapshot-altered': same({ 'snapshot-damaged': 1 }),
  'snapshot-truncated': same({ 'snapshot-damaged': 1 }),
  'config-altered': 'CORRUPT',
  'config-missing': 'NO_REPOSITORY',
  'key-truncated': 'CORRUPT',
  'key-altered': 'CORRUPT',
  'key-missing': 'CORRUPT', // restic cannot tell this from a wrong password
}

/** Sizes that the index claims are held against those of files, so these are seen without reading the data; restic needs to. */
const SEEN_EARLIER = ['blob-data-forged', 'index-names-wrong-blob']

/** Golden repositories belong to everybody: whatever would change one fails. */
function readOnly(storage: Storage): Storage {
  const refuse = async () => {
    throw new Error('a golden repository would be changed')
  }
  return { ...storage, create: refuse, write: refuse, remove: refuse }
}

const opened = new Map<string, Promise<Repository>>()

/** Opens a golden repository once for all tests: each costs half a second of key derivation. */
async function open(kind: 'healthy' | 'damaged', name: string): Promise<Repository> {
  const path = join(golden, kind, name)
  const opening = opened.get(path) ?? openRepository(readOnly(localStorage(path)), { password })
  opened.set(path, opening)
  return opening
}

function countCodes(findings: readonly CheckFinding[]): Counts {
  const counts: Counts = {}
  for (const { code } of findings) counts[code] = (counts[code] ?? 0) + 1
  return counts
}

describe('healthy golden repositories', { concurrency: 2 }, () => {
  for (const [name, { origin, version, snapshots: expected }] of Object.entries(expectations.healthy)) {
    it(`${name} (${origin}) checks clean and comes back as it was backed up`, async () => {
      const repository = await open('healthy', name)
      assert.equal(repository.config.version, version)
      const { findings, snapshots } = await checkRepository(repository, { readData: true })
      assert.deepEqual(findings, [])
      assert.equal(snapshots, expected.length)

      const stored: StoredSnapshot[] = []
      for await (const result of readSnapshots(repository)) {
        assert.ok('snapshot' in result)
        stored.push(result)
      }
      for (const [at, { id, snapshot }] of stored.sort(byTime).entries()) {
        const { source, ...facts } = expected[at]!
        assert.deepEqual(facts, { id, tree: snapshot.tree, tags: snapshot.tags, paths: snapshot.paths })
        using target = temporaryFolder()
        const problems = await restoreSnapshot(repository, id, target.path, { verify: true })
        assert.deepEqual(isRoot ? problems : problems.filter(({ kind }) => kind !== 'metadata'), [])
        assertRestored(target.path, source)
      }
    })
  }

  it('v2-two-keys opens with its second password too', async () => {
    const { storage, keyId, masterKey } = await open('healthy', 'v2-two-keys')
    const second = await openRepository(storage, { password: Buffer.from(expectations.secondPassword) })
    assert.notEqual(second.keyId, keyId)
    assert.deepEqual(second.masterKey, masterKey)
    const third = { password: Buffer.from('a third') }
    await assert.rejects(openRepository(storage, third), {
      code: 'WRONG_PASSWORD',
      facts: { ...WRONG, location: storage.location },
    })
  })
})

describe('damaged golden repositories', { concurrency: 2 }, () => {
  it('every one of them is expected here', () => {
    assert.deepEqual(Object.keys(DAMAGES).sort(), Object.keys(expectations.damaged).sort())
  })

  for (const [name, { damage, file, check, checkReadData }] of Object.entries(expectations.damaged)) {
    const expected = DAMAGES[name]!

    if (typeof expected === 'string') {
      it(`${name} (${damage}) cannot be opened: ${expected}`, async () => {
        assert.notEqual(check.exitCode, 0)
        await assert.rejects(open('damaged', name), (error: EngineError) => {
          assert.equal(error.code, expected)
          assert.ok(error.hint)
          return true
        })
      })
      continue
    }

    it(`${name} (${damage}): check finds just that, and agrees with restic`, async () => {
      const repository = await open('damaged', name)
      const structure = await checkRepository(repository)
      const full = await checkRepository(repository, { readData: true })
      assert.deepEqual(countCodes(structure.findings), expected.structure)
      assert.deepEqual(countCodes(full.findings), expected.readData)

      assert.equal(full.errors > 0, checkReadData.exitCode !== 0)
      if (!SEEN_EARLIER.includes(name)) assert.equal(structure.errors > 0, check.exitCode !== 0)
      for (const pack of checkReadData.brokenPacks) {
        assert.ok(full.findings.some(({ severity, facts }) => severity === 'error' && facts.pack === pack))
      }
      const isUntidy = full.findings.some(({ severity }) => severity === 'hint')
      if (check.suggestPrune) assert.ok(isUntidy)
      if (file === undefined || isMissingIndex(file, damage)) return
      if (full.findings.length > 0)
        assert.ok(
          full.findings.some((finding) => isAbout(finding, file)),
          file,
        )
    })

    it(`${name}: a restore brings back what is intact, and reports the rest`, async () => {
      const repository = await open('damaged', name)
      for (const { id, source } of expectations.healthy['v2-restic-0.19']!.snapshots) {
        using target = temporaryFolder()
        const outcome = await restoreSnapshot(repository, id, target.path).catch((error: unknown) => {
          assert.ok(error instanceof EngineError, String(error))
          return error
        })
        const restored = assertNothingAltered(target.path, source)
        const isComplete = restored === expectations.sources[source]!.filter(({ type }) => type === 'file').length
        const isReported = outcome instanceof EngineError || outcome.some(({ kind }) => kind !== 'metadata')
        assert.equal(isReported, !isComplete)
      }
    })
  }
})

/** Nothing in a repository says which index files there should be, so only their packs can be named. */
function isMissingIndex(file: string, damage: string): boolean {
  return file.startsWith('index/') && damage.includes('removed')
}

function isAbout({ facts }: CheckFinding, file: string): boolean {
  return facts.file === file || facts.pack === basename(file)
}

const isRoot = process.geteuid?.() === 0

function assertRestored(target: string, source: string): void {
  const folder = join(target, expectations.source)
  const files = expectations.sources[source]!
  assert.deepEqual(
    namesBelow(folder),
    files
      .map(pathOf)
      .map((path) => path.toString('latin1'))
      .sort(),
  )
  for (const file of files) {
    assert.deepEqual(describeEntry(folder, file), expectedEntry(file), file.path)
  }
}

/** Only root can make devices, give files away and set every attribute. */
function expectedEntry(file: GoldenFile): Partial<GoldenFile> {
  if (isRoot) return file
  const { uid: _uid, gid: _gid, extendedAttributes: _attributes, ...rest } = file
  return rest
}

function describeEntry(folder: string, expected: GoldenFile): Partial<GoldenFile> {
  const path = Buffer.concat([Buffer.from(`${folder}/`), pathOf(expected)])
  const stats = lstatSync(path, { bigint: true })
  const { path: name, pathBytes, hardLinkOf } = expected
  const type = stats.isFile()
    ? 'file'
    : stats.isDirectory()
      ? 'dir'
      : stats.isSymbolicLink()
        ? 'symlink'
        : stats.isFIFO()
          ? 'fifo'
          : stats.isBlockDevice()
            ? 'dev'
            : 'chardev'
  const content = type === 'file' ? readFileSync(path) : undefined
  const attributes = Object.fromEntries(
    listExtendedAttributes(path).map(({ name, value }) => [name, value.toString('base64')]),
  )
  if (hardLinkOf !== undefined) assert.equal(lstatSync(join(folder, hardLinkOf), { bigint: true }).ino, stats.ino)
  return {
    path: name,
    ...(pathBytes === undefined ? {} : { pathBytes }),
    type,
    mode: (Number(stats.mode) & 0o7777).toString(8).padStart(4, '0'),
    ...(isRoot ? { uid: Number(stats.uid), gid: Number(stats.gid) } : {}),
    mtimeNs: String(stats.mtimeNs),
    ...(content === undefined ? {} : { size: content.length, sha256: sha256(content) }),
    ...(type === 'symlink' ? { linkTarget: readlinkSync(path) } : {}),
    ...(hardLinkOf === undefined ? {} : { hardLinkOf }),
    ...(type === 'dev' || type === 'chardev' ? { device: `${stats.rdev >> 8n}:${stats.rdev & 0xffn}` } : {}),
    ...(isRoot && Object.keys(attributes).length > 0 ? { extendedAttributes: attributes } : {}),
  }
}

/** Fails when a restored file holds anything but what was backed up; answers with how many there are. */
function assertNothingAltered(target: string, source: string): number {
  const folder = join(target, expectations.source)
  const known = new Map(expectations.sources[source]!.map((file) => [pathOf(file).toString('latin1'), file]))
  let files = 0
  for (const path of namesBelow(folder)) {
    const bytes = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(path, 'latin1')])
    const expected = known.get(path)
    assert.ok(expected, `${path} was never backed up`)
    if (!lstatSync(bytes).isFile()) continue
    assert.equal(sha256(readFileSync(bytes)), expected.sha256, path)
    files += 1
  }
  return files
}

/** Every path below the folder, as `latin1` text of its bytes; none where the folder is not there. */
function namesBelow(folder: string): string[] {
  const below = (path: Buffer): Buffer[] =>
    readdirSync(path, { encoding: 'buffer', withFileTypes: true }).flatMap((entry) => {
      const child = Buffer.concat([path, Buffer.from('/'), entry.name])
      return entry.isDirectory() ? [child, ...below(child)] : [child]
    })
  if (lstatSync(folder, { throwIfNoEntry: false }) === undefined) return []
  const start = Buffer.byteLength(folder) + 1
  return below(Buffer.from(folder))
    .map((path) => path.subarray(start).toString('latin1'))
    .sort()
}

function pathOf({ path, pathBytes }: GoldenFile): Buffer {
  return pathBytes === undefined ? Buffer.from(path) : Buffer.from(pathBytes, 'base64')
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
