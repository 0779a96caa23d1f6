import assert from 'node:assert/strict'
import { cpSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { PackId } from '../../src/engine/format/id.ts'
import { applyPrune } from '../../src/engine/repository/apply-prune.ts'
import { checkRepository } from '../../src/engine/repository/check.ts'
import { loadIndex } from '../../src/engine/repository/load-index.ts'
import { planPrune } from '../../src/engine/repository/plan-prune.ts'
import { applyRepairIndex, planRepairIndex } from '../../src/engine/repository/repair-index.ts'
import { applyRepairPacks, planRepairPacks } from '../../src/engine/repository/repair-packs.ts'
import { applyRepairSnapshots, planRepairSnapshots } from '../../src/engine/repository/repair-snapshots.ts'
import { openRepository, type Repository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { runRestic, withoutRestic } from '../equipment/restic.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'

const damaged = join(import.meta.dirname, '../golden/damaged')
const PASSWORD = 'golden'

/** Without a key or a config nothing can be opened, let alone repaired; the key that is left is enough in the others. */
const BEYOND_REPAIR = /^(?:config|key)-/
const SAMPLE = /^(?:index-contradicts|pack-truncated|snapshot-altered)/

const expectations = JSON.parse(readFileSync(join(import.meta.dirname, '../golden/expectations.json'), 'utf8')) as {
  readonly damaged: Readonly<Record<string, unknown>>
}

/** Everything that an operator would do, in the order that the findings of a check suggest. */
async function repair(repository: Repository): Promise<void> {
  const before = await checkRepository(repository, { readData: true })
  // Packs first, while the index still knows what is in those that have lost their header.
  const readable = await loadIndex(repository).then(
    (indexed) => indexed,
    () => undefined,
  )
  const packsOf = (codes: readonly string[], findings: typeof before.findings) => [
    ...new Set(findings.filter(({ code }) => codes.includes(code)).map(({ facts }) => facts.pack as PackId)),
  ]
  if (readable) {
    const packs = packsOf(['pack-damaged', 'blob-damaged', 'pack-size', 'pack-missing'], before.findings)
    if (packs.length > 0) await applyRepairPacks(readable, await planRepairPacks(readable, packs))
  }
  await applyRepairIndex(repository, await planRepairIndex(repository, { readAllPacks: true }))
  const after = await checkRepository(repository, { readData: true })
  const indexed = await loadIndex(repository)
  const still = packsOf(['pack-damaged', 'blob-damaged', 'pack-size'], after.findings)
  if (still.length > 0) await applyRepairPacks(indexed, await planRepairPacks(indexed, still))
  const last = await loadIndex(repository)
  const unreadable = after.findings
    .filter(({ code }) => code === 'snapshot-damaged')
    .map(({ facts }) => String(facts.snapshot))
  await applyRepairSnapshots(last, await planRepairSnapshots(last, { forget: true }))
  if (unreadable.length > 0) {
    await applyRepairSnapshots(last, await planRepairSnapshots(last, { names: unreadable, forget: true }))
  }
  const pruned = await loadIndex(repository)
  await applyPrune(pruned, await planPrune(pruned))
}

describe('what restic and a fault have damaged', { skip: withoutRestic() }, () => {
  assert.deepEqual(readdirSync(damaged).sort(), Object.keys(expectations.damaged).sort())
  for (const name of readdirSync(damaged)) {
    if (BEYOND_REPAIR.test(name)) continue
    const skip =
      process.env.HOLDFAST_FULL === '1' || SAMPLE.test(name) ? false : 'HOLDFAST_FULL=1 repairs every golden repository'
    it(`${name} is sound after it was repaired, for restic too`, { skip }, async () => {
      using folder = temporaryFolder()
      const location = join(folder.path, name)
      cpSync(join(damaged, name), location, { recursive: true })
      const repository = await openRepository(localStorage(location), { password: Buffer.from(PASSWORD) })
      await repair(repository)
      const { findings } = await checkRepository(repository, { readData: true })
      assert.deepEqual(findings, [])
      const check = runRestic(['check', '--read-data'], { repository: location, password: PASSWORD })
      assert.deepEqual([check.status, check.stderr], [0, ''], check.stdout)
      assert.match(check.stdout, /\nno errors were found\n$/)
    })
  }
})
