import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  appendRows,
  type Ingredients,
  makeApplication,
  openDatabase,
  rewriteRows,
  rowBodies,
  type Scale,
} from './corpus.ts'
import { DAY, dateOf, daysLeftByScript, promisedDays } from './kept-days.ts'
import { CommandFailed, measure } from './measure.ts'
import { bytesBelow, createSite, type Plan, removeSite, siteIn } from './measure-corpus.ts'
import type { Peer, PeerName, Site } from './peers/peer.ts'
import { seededRandom } from './seeded-random.ts'

const MB = 1e6

/** What the application has on the first day, and what changes from one night to the next. */
const SIZES = {
  full: { smallFiles: 3000, databaseBytes: 100 * MB, mediaBytes: 60 * MB, tinyFiles: 0, days: Math.round(8 * 365.25) },
  quick: { smallFiles: 60, databaseBytes: 1 * MB, mediaBytes: 1 * MB, tinyFiles: 0, days: 2 },
} as const
/** Rows added a night, as a part of the first day's: the database doubles in eight years. */
const ROWS_ADDED = 1 / 2900
/** Of the newest rows rewritten every night, as a part of all. */
const ROWS_REWRITTEN = 1 / 200
/** Files edited every night; nine of ten edits meet the tenth of the files that is worked on. */
const FILES_EDITED = 1 / 500
/** A picture a night, as a part of the first day's media: they too double. */
const MEDIA_ADDED = 1 / 2900

export interface Storage {
  readonly peer: PeerName
  /** `promised`: what the schedule says. `left`: what the script's commands leave. `off-site`: what its copies pile up to. */
  readonly kind: 'promised' | 'left' | 'off-site'
  readonly backups: number
  readonly bytes: number
}

interface Missing {
  readonly peer: PeerName
  readonly kind: 'not available' | 'failed'
  readonly why: string
}

export interface EightYears {
  readonly days: number
  /** Bytes of the application on the first and on the last day. */
  readonly source: readonly [first: number, last: number]
  readonly storage: readonly Storage[]
  readonly missing: readonly Missing[]
}

/**
 * Lives through the days of an application, changing it every night, and takes the backups that are still there at the
 * end: a backup that retention removed, and whose data was freed, takes no room. Archives of the script are made once
 * a year; their sizes, which grow smoothly, are interpolated for the nights between.
 */
export async function eightYears(peers: readonly Peer[], scale: Scale, plan: Plan): Promise<EightYears> {
  const { days, ...ingredients } = SIZES[scale]
  const last = days - 1
  const promised = promisedDays(last)
  const left = daysLeftByScript(last)
  const folder = join(plan.work, 'years')
  const root = join(folder, 'application')
  mkdirSync(folder, { recursive: true })
  const random = seededRandom('eight years')
  makeApplication(root, ingredients, random)
  const live = liveOneNight(root, ingredients, seededRandom('nights'))
  const missing: Missing[] = []
  const sites = new Map<Peer, Site>()
  const archives = new Map<number, number>()
  const sizeAtFirst = bytesBelow(root)
  try {
    const unlessItFails = async (peer: Peer, run: () => Promise<unknown>) => {
      try {
        await run()
      } catch (error) {
        if (!(error instanceof CommandFailed)) throw error
        missing.push({ peer: peer.name, kind: 'failed', why: error.message })
        removeSite(peer, sites.get(peer)!)
        sites.delete(peer)
      }
    }
    for (const peer of peers) {
      const why = peer.lacks('create') ?? peer.lacks('backup')
      if (why !== undefined) {
        missing.push({ peer: peer.name, kind: 'not available', why })
        continue
      }
      const site = siteIn(join(folder, peer.name))
      sites.set(peer, site)
      await unlessItFails(peer, () => createSite(peer, site, plan))
    }
    const sampled = new Set([...Array.from({ length: Math.ceil(last / 365) }, (_, year) => year * 365), last])
    const kept = new Set(promised)
    for (let day = 0; day <= last; day++) {
      if (day > 0) live(day)
      for (const [peer, site] of sites) {
        if (!(peer.name === 'script' ? sampled : kept).has(day)) continue
        await unlessItFails(peer, async () => {
          await measure(peer.backup(site, root, day, dateOf(day)), plan.work, plan.signal)
          if (peer.name !== 'script') return
          archives.set(day, bytesBelow(site.repository))
          for (const night of readdirSync(site.repository)) rmSync(join(site.repository, night), { recursive: true })
        })
      }
      if (sampled.has(day)) plan.report(`night ${day} of ${last}`)
    }
    const sizeAtLast = bytesBelow(root)
    const storage: Storage[] = []
    for (const [peer, site] of sites) {
      if (peer.name !== 'script') {
        storage.push({
          peer: peer.name,
          kind: 'promised',
          backups: promised.length,
          bytes: bytesBelow(site.repository),
        })
        continue
      }
      const sum = (nights: readonly number[]) => nights.reduce((total, night) => total + sizeAt(archives, night), 0)
      storage.push({ peer: 'script', kind: 'promised', backups: promised.length, bytes: sum(promised) })
      storage.push({ peer: 'script', kind: 'left', backups: left.length, bytes: sum(left) })
      storage.push({
        peer: 'script',
        kind: 'off-site',
        backups: days,
        bytes: sum(Array.from({ length: days }, (_, night) => night)),
      })
    }
    return { days, source: [sizeAtFirst, sizeAtLast], storage, missing }
  } finally {
    for (const [peer, site] of sites) removeSite(peer, site)
    rmSync(folder, { recursive: true, force: true })
  }
}

function liveOneNight(
  root: string,
  { smallFiles, databaseBytes, mediaBytes }: Ingredients,
  random: ReturnType<typeof seededRandom>,
): (day: number) => void {
  const body = rowBodies(random)
  const files = readdirSync(join(root, 'data/files'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
  const rows = databaseBytes / 1030
  return (day) => {
    const edits = Math.max(1, Math.round(smallFiles * FILES_EDITED))
    for (let edited = 0; edited < edits; edited++) {
      const reach = random.next() < 0.9 ? files.length / 10 : files.length
      const file = files[random.below(reach)]!
      const content = readFileSync(file)
      // Some lines go, others come: source does not grow with every edit.
      const at = random.below(Math.max(1, content.length - 40))
      const line = Buffer.from(`// ${day}.${edited} ${random.next()}\n`.padEnd(40, '-'))
      writeFileSync(file, Buffer.concat([content.subarray(0, at), line, content.subarray(at + 40)]))
    }
    using database = openDatabase(join(root, 'data/auth.db'))
    appendRows(database, Math.ceil(rows * ROWS_ADDED), body)
    rewriteRows(database, `id > (SELECT max(id) * ${1 - ROWS_REWRITTEN} FROM event)`, body)
    writeFileSync(join(root, `data/media/night-${day}.jpg`), random.bytes(Math.ceil(mediaBytes * MEDIA_ADDED)))
    if (dateOf(day).getUTCDate() === 1)
      writeFileSync(
        join(root, 'config/features.json'),
        `{"since":"${new Date(dateOf(day).getTime() - DAY).toISOString()}"}\n`,
      )
  }
}

/** Between two nights whose sizes are known, the first and the last among them. */
function sizeAt(known: ReadonlyMap<number, number>, night: number): number {
  const nights = [...known.keys()].sort((a, b) => a - b)
  const to = nights.find((one) => one >= night)!
  const from = nights.findLast((one) => one <= night)!
  const [low, high] = [known.get(from)!, known.get(to)!]
  return from === to ? low : low + ((high - low) * (night - from)) / (to - from)
}
