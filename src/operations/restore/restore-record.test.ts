import assert from 'node:assert/strict'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { processIdentity } from '../../engine/os/process-identity.ts'
import { activeStages, findInterrupted, settleInterrupted, writeRecord } from './restore-record.ts'

const STAMP = '20261101-020000'
/** No process has it: they are counted up to 4194304. */
const DEAD = 4_999_999

test('a restore that is still running is not interfered with', async () => {
  using folder = temporaryFolder()
  const stage = join(folder.path, `.holdfast-restore-${STAMP}-${process.pid}-0`)
  await mkdir(stage)
  const path = join(folder.path, 'data')
  const process_ = processIdentity()
  activeStages.add(stage)
  await writeRecord(stage, { format: 1, path, before: `${path}.before-x`, kept: [], sidecars: [], process: process_ })
  await assert.rejects(findInterrupted([folder.path]), {
    code: 'IN_USE',
    message: new RegExp(`process ${process.pid}`),
  })
  activeStages.delete(stage)
  assert.equal((await findInterrupted([folder.path])).length, 1, 'an earlier one of this process')
  // The same ID, given to another process since.
  activeStages.add(stage)
  await writeRecord(stage, {
    format: 1,
    path,
    before: `${path}.before-x`,
    kept: [],
    sidecars: [],
    process: process_.replace(/\d+$/, '1'),
  })
  const [leftover] = await findInterrupted([folder.path])
  activeStages.delete(stage)
  assert.equal(await settleInterrupted(leftover!), 'taken-back')
  assert.ok(!existsSync(stage))
})

test('what only looks like a leftover is left alone', async () => {
  using folder = temporaryFolder()
  const named = (n: number) => join(folder.path, `.holdfast-restore-${STAMP}-${DEAD}-${n}`)
  for (const n of [0, 1, 2]) mkdirSync(named(n))
  writeFileSync(join(named(0), 'precious'), 'no record')
  const elsewhere = {
    format: 1,
    path: '/etc/passwd',
    before: '/etc/x',
    kept: [],
    sidecars: [],
    process: `:${DEAD}:`,
  } as const
  await writeRecord(named(1), { ...elsewhere, kept: [], sidecars: [] })
  writeFileSync(join(named(2), 'restore.json'), 'rubbish')
  writeFileSync(join(folder.path, `.holdfast-restore-${STAMP}-${DEAD}-3`), 'a file')
  mkdirSync(named(4))
  const found = await findInterrupted([folder.path, folder.path, join(folder.path, 'absent')])
  assert.deepEqual(
    found.map(({ stage, record }) => [stage, record]),
    [[named(4), undefined]],
  )
})
