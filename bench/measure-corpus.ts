import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Comparison, compareTrees } from './compare-trees.ts'
import type { WorkingCopy } from './corpus.ts'
import { type Command, CommandFailed, type Measurement, measure, peerEnvironment } from './measure.ts'
import { PASSWORD, type Peer, type PeerName, type Site, type Step } from './peers/peer.ts'
import { resticProgram } from './peers/restic.ts'
import { repeatBackup } from './peers/script.ts'

/** In the order in which they run. */
export const OPERATIONS = [
  { name: 'first', title: 'first backup', step: 'backup' },
  { name: 'unchanged', title: 'unchanged', step: 'backup' },
  { name: 'changed', title: '1 % changed', step: 'backup' },
  { name: 'scattered', title: '1 % of rows changed all over the database', step: 'backup' },
  { name: 'one-file', title: 'one small file changed', step: 'backup' },
  { name: 'snapshots', title: 'start-up of `snapshots`', step: 'list' },
  { name: 'check', title: '`check --read-data`', step: 'check' },
  { name: 'restore', title: 'restore whole', step: 'restore' },
  { name: 'restore-file', title: 'restore one file', step: 'restore-file' },
  { name: 'forget', title: 'forget + prune of half of the snapshots', step: 'thin' },
] as const satisfies readonly { name: string; title: string; step: Step }[]

export type OperationName = (typeof OPERATIONS)[number]['name']

export interface Run extends Measurement {
  /** Bytes of the repository afterwards; undefined where the operation writes nothing to it. */
  readonly stored: number | undefined
}

export interface Result {
  readonly peer: PeerName
  readonly operation: OperationName
  readonly runs: Run[]
  /** Why there are none: a command that is not there, or what failed. */
  missing: { readonly kind: 'not available' | 'failed' | 'wrong'; readonly why: string } | undefined
}

export interface Plan {
  readonly peers: readonly Peer[]
  readonly operations: readonly OperationName[]
  readonly rounds: number
  /** How many there are when half of them go. */
  readonly snapshots: number
  /** Folder for repositories and restored trees; emptied again. */
  readonly work: string
  /**
   * False on file systems on disk: files created soon after others were deleted are slow there (ext4 avoids the inodes),
   * so what was restored stays until the end.
   */
  readonly deletesAtOnce: boolean
  readonly confine?: ((command: Command) => Command) | undefined
  readonly report: (line: string) => void
  readonly signal: AbortSignal
}

/** Of an operation of a fraction of a second, one run says little. */
const REPEATS: Partial<Readonly<Record<OperationName, number>>> = { snapshots: 3, 'restore-file': 2 }

/**
 * Measures the operations on one corpus, the peers taking turns in every round and a different one beginning each time.
 * What the first round made is also checked: restored trees against the source, repositories of Holdfast by restic.
 */
export async function measureCorpus(copy: WorkingCopy, plan: Plan): Promise<Result[]> {
  const results = plan.peers.flatMap(({ name }) =>
    plan.operations.map((operation): Result => ({ peer: name, operation, runs: [], missing: undefined })),
  )
  mkdirSync(plan.work, { recursive: true })
  warmUp(copy.root)
  const trash: string[] = []
  const discard = (path: string) => {
    if (plan.deletesAtOnce) rmSync(path, { recursive: true, force: true })
    else trash.push(path)
  }
  try {
    if (plan.operations.some((name) => name !== 'forget')) {
      for (let round = 0; round < plan.rounds; round++) await oneRound(copy, plan, round, results, discard)
    }
    if (plan.operations.includes('forget')) await thinRounds(copy, plan, results)
  } finally {
    for (const path of trash) rmSync(path, { recursive: true, force: true })
  }
  return results
}

async function oneRound(
  copy: WorkingCopy,
  plan: Plan,
  round: number,
  results: readonly Result[],
  discard: (path: string) => void,
): Promise<void> {
  const sites = new Map<Peer, Site>()
  for (const peer of plan.peers) {
    const site = siteIn(join(plan.work, `${peer.name}-${round}`))
    if (await prepare(peer, site, plan, results)) sites.set(peer, site)
  }
  const turns = plan.peers
    .map((_, at) => plan.peers[(at + round) % plan.peers.length]!)
    .filter((peer) => sites.has(peer))
  const changes: Partial<Readonly<Record<OperationName, () => void>>> = {
    changed: copy.changeOnePercent,
    scattered: copy.scatterOnePercent,
    'one-file': copy.editOneFile,
  }
  let night = 0
  try {
    for (const { name, step } of OPERATIONS) {
      // Everything that follows needs the first backup, measured or not.
      const wanted = plan.operations.includes(name) || (name === 'first' && plan.operations.length > 0)
      if (!wanted || name === 'forget' || (name === 'scattered' && !copy.hasDatabase)) continue
      changes[name]?.()
      night++
      for (const peer of turns) {
        const site = sites.get(peer)!
        const repeats = plan.rounds === 1 ? 1 : (REPEATS[name] ?? 1)
        for (let repeat = 0; repeat < repeats; repeat++) {
          await attempt(peer, name, step, results, plan, async () => {
            const target = join(plan.work, `restored-${peer.name}-${round}-${name}-${repeat}`)
            if (step === 'restore' || step === 'restore-file') mkdirSync(target)
            if (step === 'backup' && peer.name === 'script') forgetEarlierNights(site)
            const command = {
              backup: () => peer.backup(site, copy.root, night),
              list: () => peer.list(site),
              check: () => peer.check(site),
              restore: () => peer.restore(site, copy.root, target),
              'restore-file': () => peer.restoreFile(site, copy.root, copy.smallFile, target),
            }[step]()
            const run = await measure(plan.confine?.(command) ?? command, plan.work, plan.signal)
            if (round === 0) verify(peer, step, site, copy, target)
            if (step === 'restore' || step === 'restore-file') discard(target)
            return { ...run, stored: step === 'backup' ? bytesBelow(site.repository) : undefined }
          })
        }
      }
    }
    if (round === 0) await judge(turns, sites, results, plan)
  } finally {
    copy.putBack()
    for (const [peer, site] of sites) removeSite(peer, site)
  }
}

/** Snapshots with 1 % changed between each, made once; every round thins a copy of that repository. */
async function thinRounds(copy: WorkingCopy, plan: Plan, results: readonly Result[]): Promise<void> {
  const thinning = results.filter(({ operation }) => operation === 'forget')
  for (const result of thinning) {
    const lacking = plan.peers.find(({ name }) => name === result.peer)!.lacks('thin')
    if (lacking !== undefined) result.missing = { kind: 'not available', why: lacking }
  }
  const folderOf = (peer: Peer) => join(plan.work, `${peer.name}-snapshots`)
  const sites = new Map<Peer, Site>()
  try {
    for (const peer of plan.peers) {
      const site = siteIn(folderOf(peer))
      if (await prepare(peer, site, plan, thinning)) sites.set(peer, site)
    }
    for (let night = 1; night <= plan.snapshots; night++) {
      plan.report(`making snapshot ${night} of ${plan.snapshots}`)
      if (night > 1) copy.changeOnePercent()
      for (const [peer, site] of sites) {
        if (peer.name === 'script' && night > 1) continue
        try {
          await measure(peer.backup(site, copy.root, night), plan.work, plan.signal)
        } catch (error) {
          fail(peer, thinning, plan, error)
          removeSite(peer, site)
          sites.delete(peer)
        }
      }
    }
    for (const [peer, site] of sites) if (peer.name === 'script') repeatBackup(site, plan.snapshots)
    const able = [...sites.keys()]
    for (let round = 0; round < plan.rounds; round++) {
      for (let at = 0; at < able.length; at++) {
        const peer = able[(at + round) % able.length]!
        const site = siteIn(join(plan.work, `${peer.name}-thin`))
        await attempt(peer, 'forget', 'thin', results, plan, async () => {
          execFileSync('cp', ['-a', folderOf(peer), join(site.repository, '..')])
          try {
            peer.age?.(site, plan.snapshots / 2)
            const run = await measure(peer.thin(site, plan.snapshots / 2), plan.work, plan.signal)
            if (round === 0) await judge([peer], new Map([[peer, site]]), results, plan)
            return { ...run, stored: bytesBelow(site.repository) }
          } finally {
            removeSite(peer, site)
          }
        })
      }
    }
  } finally {
    copy.putBack()
    for (const [peer, site] of sites) removeSite(peer, site)
  }
}

async function attempt(
  peer: Peer,
  operation: OperationName,
  step: Step,
  results: readonly Result[],
  plan: Plan,
  run: () => Promise<Run>,
): Promise<void> {
  // A first backup that nobody asked to measure is not among the results.
  const result = results.find((one) => one.peer === peer.name && one.operation === operation)
  if (result?.missing !== undefined) return
  const lacking = peer.lacks(step)
  if (lacking !== undefined) {
    if (result !== undefined) result.missing = { kind: 'not available', why: lacking }
    return
  }
  try {
    const measured = await run()
    result?.runs.push(measured)
    plan.report(
      `${operation.padEnd(12)} ${peer.name.padEnd(8)} ${measured.wall.toFixed(2)} s, CPU ${measured.cpu.toFixed(2)} s, ${Math.round(measured.peakProcess / 1e6)} MB`,
    )
  } catch (error) {
    fail(peer, result === undefined ? [] : [result], plan, error)
  }
}

/** Makes the peer's repository; false when it cannot be had, and then its results say why. */
async function prepare(peer: Peer, site: Site, plan: Plan, results: readonly Result[]): Promise<boolean> {
  const own = results.filter((result) => result.peer === peer.name && result.missing === undefined)
  const lacking = peer.lacks('create') ?? peer.lacks('backup')
  if (own.length === 0) return false
  if (lacking !== undefined) {
    for (const result of own) result.missing = { kind: 'not available', why: lacking }
    return false
  }
  try {
    await createSite(peer, site, plan)
    return true
  } catch (error) {
    fail(peer, own, plan, error)
    return false
  }
}

/** What a peer did wrong is a result; what the benchmark did wrong is thrown. */
function fail(peer: Peer, results: readonly Result[], plan: Plan, error: unknown): void {
  if (!(error instanceof CommandFailed || error instanceof WrongResult)) throw error
  plan.report(`${peer.name}: ${error.message}`)
  const kind = error instanceof WrongResult ? 'wrong' : 'failed'
  for (const result of results) if (result.peer === peer.name) result.missing = { kind, why: error.message }
}

class WrongResult extends Error {}

function verify(peer: Peer, step: Step, site: Site, copy: WorkingCopy, target: string): void {
  const how: Comparison =
    peer.name === 'script' ? { times: 'ignored', databases: 'rows' } : { times: 'exact', databases: 'bytes' }
  const restored = join(target, copy.root)
  const differences =
    step === 'restore'
      ? compareTrees(copy.root, restored, how)
      : step === 'restore-file'
        ? compareTrees(join(copy.root, copy.smallFile), join(restored, copy.smallFile), how)
        : []
  if (differences.length > 0) throw new WrongResult(`restored something else: ${differences.join('; ')}`)
  if (step === 'backup' && bytesBelow(site.repository) === 0) throw new WrongResult('nothing was stored')
}

/** What Holdfast wrote, restic reads without a word of complaint. */
async function judge(
  peers: readonly Peer[],
  sites: ReadonlyMap<Peer, Site>,
  results: readonly Result[],
  plan: Plan,
): Promise<void> {
  const holdfast = peers.find(({ name }) => name === 'holdfast')
  if (holdfast === undefined) return
  const { repository, home } = sites.get(holdfast)!
  const command = {
    argv: [resticProgram, '-r', repository, '--no-cache', 'check', '--read-data'],
    env: { ...peerEnvironment(home), RESTIC_PASSWORD: PASSWORD },
  }
  try {
    await measure(command, plan.work, plan.signal)
    plan.report('restic check --read-data of the repository of holdfast: clean')
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error
    for (const result of results) {
      if (result.peer === 'holdfast') result.missing = { kind: 'wrong', why: `restic complains: ${error.message}` }
    }
  }
}

export function siteIn(folder: string): Site {
  return { repository: join(folder, 'repository'), home: join(folder, 'home') }
}

export async function createSite(peer: Peer, site: Site, plan: Pick<Plan, 'work' | 'signal'>): Promise<void> {
  mkdirSync(site.home, { recursive: true })
  const command = peer.create(site)
  if (command !== undefined) await measure(command, plan.work, plan.signal)
}

export function removeSite(peer: Peer, site: Site): void {
  peer.dispose?.(site)
  rmSync(join(site.repository, '..'), { recursive: true, force: true })
}

/** Twenty full archives rarely fit; what the script keeps is a question of `storage over eight years`. */
function forgetEarlierNights(site: Site): void {
  for (const night of readdirSync(site.repository)) rmSync(join(site.repository, night), { recursive: true })
}

/** Sum of the sizes of all files. */
export function bytesBelow(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + lstatSync(join(entry.parentPath, entry.name)).size, 0)
}

/** Every file in the page cache, for the first peer as for the last. */
function warmUp(root: string): void {
  compareTrees(root, root, { times: 'exact', databases: 'bytes' })
}
