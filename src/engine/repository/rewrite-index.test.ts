import assert from 'node:assert/strict'
import { it } from 'node:test'
import { recordingStorage } from '../../../test/equipment/recording-storage.ts'
import { namesOf, testRepository, through } from '../../../test/equipment/test-repository.ts'
import { type BlobId, hashId, type IndexId, type PackId } from '../format/id.ts'
import { encodeIndexFile, type PackIndex } from '../format/index-file.ts'
import { FULL_INDEX_BLOBS } from './blob-writer.ts'
import { readIndexFiles } from './load-index.ts'
import type { Repository } from './repository.ts'
import { rewriteIndex } from './rewrite-index.ts'
import { writeUnpacked } from './unpacked-files.ts'

function pack(name: string, blobs = 2): PackIndex {
  const entries = Array.from({ length: blobs }, (_, i) => ({
    type: 'data' as const,
    id: hashId<BlobId>(Buffer.from(`${name} ${i}`)),
    offset: i * 100,
    length: 100,
    uncompressedLength: 90,
  }))
  return { id: hashId<PackId>(Buffer.from(name)), blobs: entries }
}

async function write(repository: Repository, ...packs: PackIndex[]): Promise<IndexId> {
  return writeUnpacked(repository, 'index', encodeIndexFile(packs))
}

async function packsIn(repository: Repository): Promise<string[]> {
  const found: string[] = []
  for await (const file of readIndexFiles(repository)) {
    if ('error' in file) throw file.error
    found.push(...file.packs.map(({ id }) => id))
  }
  return found.sort()
}

it('what is small is merged, what is full stays, and packs that are named twice are named once', async () => {
  const repository = await testRepository()
  const [a, b, c, full] = [pack('a'), pack('b'), pack('c'), pack('full', FULL_INDEX_BLOBS)]
  const files = [
    await write(repository, a, b),
    await write(repository, full),
    await write(repository, b, c, pack('empty', 0)),
  ]
  const report = await rewriteIndex(repository, { without: new Set([a.id]), files })
  assert.deepEqual(report, { written: 1, removed: 2, untouched: 1 })
  assert.ok((await namesOf(repository.storage, 'index')).includes(files[1]!))
  assert.deepEqual(await packsIn(repository), [b.id, c.id, full.id].sort())
})

it('a full file that names a pack to take out is written anew', async () => {
  const repository = await testRepository()
  const [full, gone] = [pack('full', FULL_INDEX_BLOBS), pack('gone')]
  const file = await write(repository, full, gone)
  await rewriteIndex(repository, { without: new Set([gone.id]), files: [file] })
  assert.deepEqual(await packsIn(repository), [full.id])
})

it('entries that contradict each other are both kept, for a check to name them', async () => {
  const repository = await testRepository()
  const files = [await write(repository, pack('a', 2)), await write(repository, pack('a', 3))]
  await rewriteIndex(repository, { without: new Set(), files })
  assert.equal((await packsIn(repository)).length, 2)
})

it('every new file is stored before an old one is removed, and those that name what is taken out go last', async () => {
  const repository = await testRepository()
  const [a, b] = [pack('a'), pack('b')]
  const files = [await write(repository, a), await write(repository, b)]
  const recording = recordingStorage(repository.storage)
  await rewriteIndex(through(repository, recording), { without: new Set([a.id]), files })
  const [written, ...removed] = recording.done
  assert.match(written!, /^write index\//)
  assert.deepEqual(removed, [`remove index/${files[1]}`, `remove index/${files[0]}`])
})
