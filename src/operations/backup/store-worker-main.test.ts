import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { it } from 'node:test'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { testRepository } from '../../../test/equipment/test-repository.ts'
import type { StoredFile } from '../../engine/archiver/file-store.ts'
import { StorePool } from '../../engine/archiver/pool/store-pool.ts'
import { BlobWriter } from '../../engine/repository/blob-writer.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'

it('threads keep out what appeared after the survey: secrets and databases', async () => {
  using folder = temporaryFolder()
  const files = {
    '.env': 'PASSWORD=x',
    'app.db': Buffer.concat([Buffer.from('SQLite format 3\0'), Buffer.alloc(496)]),
    'key.pem': '-----BEGIN PRIVATE KEY-----\n',
    'notes.txt': 'stored',
  }
  for (const [name, content] of Object.entries(files)) writeFileSync(`${folder.path}/${name}`, content)
  const repository = await loadIndex(await testRepository())
  await using writer = new BlobWriter(repository)
  const program = new URL('./store-worker-main.ts', import.meta.url)
  await using pool = new StorePool({ repository, writer, threads: { program, workers: 1 } })
  const kinds: string[] = []
  for (const name of Object.keys(files)) {
    const { kind } = await new Promise<StoredFile>((whenStored, whenFailed) => {
      const path = Buffer.from(`${folder.path}/${name}`)
      pool.store({ path, seen: undefined, size: 512, asksVeto: true, whenStored, whenFailed })
    })
    kinds.push(kind)
  }
  assert.deepEqual(kinds, ['vetoed', 'vetoed', 'vetoed', 'stored'])
})
