/**
 * `maintain-program.ts REPOSITORY OTHER SEED`: maintains the repository without end, to be killed at it: backs up, forgets, prunes,
 * copies, tags and repairs in an order that the seed says. Prints a line for each command that came to its end.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { acquireLock } from '../../src/engine/repository/locks.ts'
import { openRepository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { copy } from '../../src/operations/repository/copy.ts'
import { repairIndex } from '../../src/operations/repository/repair-index.ts'
import { repairSnapshots } from '../../src/operations/repository/repair-snapshots.ts'
import { tag } from '../../src/operations/repository/tag.ts'
import { forget } from '../../src/operations/retention/forget.ts'
import { prune } from '../../src/operations/retention/prune.ts'
import { backUp } from './path-operations.ts'
import { randomBytes } from './random-bytes.ts'
import { PASSWORD } from './test-repository.ts'

const [location, other, seed] = process.argv.slice(2) as [string, string, string]
const access = { location, password: async () => PASSWORD }
const QUIET = { observe: () => {}, signal: new AbortController().signal }
const source = join(dirname(location), 'changing')

const order = randomBytes(4096, seed)
const commands: Readonly<Record<string, (step: number) => Promise<unknown>>> = {
  backup: async (step) => {
    mkdirSync(source, { recursive: true })
    for (let file = 0; file < 5; file++) {
      const path = join(source, `${(step + file) % 7}`)
      rmSync(path, { force: true })
      writeFileSync(path, randomBytes(30_000 + step, `${seed} ${step} ${file}`))
    }
    await backUp(location, [source], { host: 'changing' })
  },
  // The snapshots of the other host are what must not be lost: no policy speaks of them.
  forget: () =>
    forget(access, {
      filter: { hosts: ['changing'] },
      policy: { last: 1 },
      prune: { maxUnused: { percent: 0 } },
      ...QUIET,
    }),
  prune: () => prune(access, { maxUnused: { percent: 0 }, ...QUIET }),
  copy: () => copy(access, { ...access, location: other }, QUIET),
  tag: (step) => tag(access, { filter: { hosts: ['changing'] }, change: { set: [`step-${step}`] }, ...QUIET }),
  index: () => repairIndex(access, { readAllPacks: true, ...QUIET }),
  snapshots: () => repairSnapshots(access, { forget: true, ...QUIET }),
}
const names = ['backup', 'forget', 'backup', 'prune', 'copy', 'backup', 'tag', 'index', 'forget', 'snapshots'] as const

// A look at the repository before anything is changed in it: that it can be locked is part of what is tested.
const lock = await acquireLock(await openRepository(localStorage(location), { password: PASSWORD }))
await lock.release()
console.log('ready')
for (let step = 0; ; step++) {
  const name = names[order[step % order.length]! % names.length]!
  await commands[name]!(step)
  console.log(name)
}
