import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { nextPartNumber, PART_TOKEN, partName, removeLeftParts } from './part-name.ts'

const { pid: dead } = spawnSync('true')
const RUN = '0123456789ab'
const leftBy = (pid: number) => `.holdfast-${pid}-${RUN}-1.part`

it('removes what dead processes left half-written, also one that had the ID of this process', () => {
  using folder = temporaryFolder()
  for (const name of [leftBy(dead), leftBy(process.pid)]) writeFileSync(join(folder.path, name), '')
  removeLeftParts(Buffer.from(folder.path), new Set())
  assert.deepEqual(readdirSync(folder.path), [])
})

it('leaves what living processes write, what the snapshot names, and everything else', () => {
  using folder = temporaryFolder()
  const kept = [
    partName(PART_TOKEN, nextPartNumber()),
    leftBy(process.ppid),
    `${leftBy(dead)}x`,
    '.holdfast-1.part',
    'file',
  ]
  const named = `.holdfast-${dead}-${RUN}-2.part`
  for (const name of [...kept, named]) writeFileSync(join(folder.path, name), '')
  const directory = leftBy(dead)
  mkdirSync(join(folder.path, directory))
  removeLeftParts(Buffer.from(folder.path), new Set([named]))
  assert.deepEqual(readdirSync(folder.path).sort(), [...kept, named, directory].sort())
})

it('never gives a name twice', () => {
  assert.notEqual(partName(PART_TOKEN, nextPartNumber()), partName(PART_TOKEN, nextPartNumber()))
})
