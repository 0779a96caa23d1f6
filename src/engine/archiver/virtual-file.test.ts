import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, statSync } from 'node:fs'
import { it } from 'node:test'
import { checkAll, makeRepository, openIndexed, restoreTo } from '../../../test/equipment/path-operations.ts'
import { runRestic, withoutRestic } from '../../../test/equipment/restic.ts'
import { expectClean } from '../../../test/equipment/restic-check.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { PASSWORD, snapshotOf } from '../../../test/equipment/test-repository.ts'
import { encodeTree } from '../format/tree.ts'
import { BlobWriter } from '../repository/blob-writer.ts'
import { writeSnapshot } from '../repository/snapshots.ts'
import { virtualFile, virtualFolder } from './virtual-file.ts'

it('a file that lies on no disk is one for restic, and belongs to who made the snapshot', {
  skip: withoutRestic(),
}, async () => {
  using folder = temporaryFolder()
  const location = `${folder.path}/repository`
  await makeRepository(location, 2)
  const repository = await openIndexed(location)
  const time = { ns: 1_234_567_890_123_456_789n, offset: 0 }
  {
    await using writer = new BlobWriter(repository)
    const content = [(await writer.save('data', Buffer.from('{}'))).id]
    const inner = encodeTree([virtualFile('note.json', time, { content, size: 2 })])
    const outer = encodeTree([virtualFolder('.holdfast', time, (await writer.save('tree', inner)).id)])
    const { id } = await writer.save('tree', outer)
    await writer.finish()
    await writeSnapshot(repository, snapshotOf(id))
  }
  expectClean(location)
  assert.deepEqual((await checkAll(location)).findings, [])

  const theirs = `${folder.path}/theirs`
  mkdirSync(theirs)
  const run = runRestic(['restore', 'latest', '--target', theirs], { repository: location, password: PASSWORD })
  assert.deepEqual([run.status, run.stderr], [0, ''])
  const ours = `${folder.path}/ours`
  assert.deepEqual((await restoreTo(ours, location)).findings, [])
  for (const target of [theirs, ours]) {
    const path = `${target}/.holdfast/note.json`
    assert.equal(readFileSync(path, 'utf8'), '{}')
    const { mode, uid, gid, mtimeNs } = statSync(path, { bigint: true })
    assert.deepEqual(
      [Number(mode) & 0o7777, Number(uid), Number(gid), mtimeNs],
      [0o600, process.getuid!(), process.getgid!(), time.ns],
    )
    assert.equal(statSync(`${target}/.holdfast`).mode & 0o7777, 0o700)
  }
})
