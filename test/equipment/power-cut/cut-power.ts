import { dirname } from 'node:path'
import type { FolderContent } from './folder-content.ts'
import type { RecordedCall, Recording } from './record-changes.ts'

// What a disk may hold after the power went, at worst, as POSIX has it and ext4, xfs and btrfs between them do it:
//
//   - Content that was written since the last fsync of a file is there, or not, or some blocks of it are; the others read as
//     zeros, or the file ends before them.
//   - A name that came, went or moved since the last fsync of its folder is there or not, each for itself: of a rename the new
//     name may be there and the old one too, or neither. (Journals are kinder: they keep the order.)
//   - What had been asked for and was not answered yet has happened or not.
//   - A folder whose own name is lost is lost with all that is in it.
//
// An fsync covers what had ended before it began. Modes and times are left out.

const BLOCK = 4096

/** Decides what is left to chance. */
export interface Chance {
  /** Of the things that a name may stand for, oldest first, the one that it does; `undefined` among them stands for nothing. */
  name(candidates: readonly (string | undefined)[]): number
  /** What became of content that was not synchronized. */
  content(): 'lost' | 'kept' | 'torn'
  /** Whether a block of torn content is there. */
  block(): boolean
  /** Whether a call happened that was not answered. */
  unanswered(): boolean
}

const presence = (wanted: boolean) => (candidates: readonly (string | undefined)[]) => {
  const found = candidates.findLastIndex((candidate) => (candidate !== undefined) === wanted)
  return found === -1 ? 0 : found
}

/** The corners of what can happen. */
export const EXTREMES: Readonly<Record<string, Chance>> = {
  'nothing but what was synchronized': {
    name: () => 0,
    content: () => 'lost',
    block: () => false,
    unanswered: () => false,
  },
  'everything, also what was not answered': {
    name: (candidates) => candidates.length - 1,
    content: () => 'kept',
    block: () => true,
    unanswered: () => true,
  },
  'all names, and no content': {
    name: (candidates) => candidates.length - 1,
    content: () => 'lost',
    block: () => false,
    unanswered: () => true,
  },
  'names go, none comes': { name: presence(false), content: () => 'kept', block: () => true, unanswered: () => true },
  'names come, none goes': { name: presence(true), content: () => 'torn', block: () => false, unanswered: () => true },
}

/** `random` yields numbers in [0, 1). */
export function randomChance(random: () => number): Chance {
  return {
    name: (candidates) => Math.floor(random() * candidates.length),
    content: () => (['lost', 'kept', 'torn'] as const)[Math.floor(random() * 3)]!,
    block: () => random() < 0.5,
    unanswered: () => random() < 0.5,
  }
}

interface Done {
  readonly call: RecordedCall
  readonly began: number
  /** Infinity for what was not answered. */
  readonly ended: number
}

/** What the folder holds when the power goes after so many moments of a recording. */
export function cutPower({ base, calls, moments }: Recording, cut: number, chance: Chance): FolderContent {
  const done = happened(calls, moments, cut, chance)
  const syncs = done.filter(({ call, ended }) => call.call === 'sync' && ended < Number.POSITIVE_INFINITY)
  const isSafe = (change: Done, of: (sync: RecordedCall) => boolean) =>
    syncs.some((sync) => sync.began > change.ended && of(sync.call))

  const contents = contentsOf(done, isSafe, chance)
  const names = namesOf(base, done, isSafe, chance)

  const left = new Map<string, Buffer | null>()
  const isReachable = (path: string): boolean => {
    const folder = dirname(path)
    return folder === '.' || (names.get(folder) === FOLDER && isReachable(folder))
  }
  for (const [path, held] of names) {
    if (held === undefined || !isReachable(path)) continue
    if (held === FOLDER) left.set(path, null)
    else left.set(path, held.startsWith('base ') ? base.get(held.slice(5))! : contents.get(Number(held))!)
  }
  return left
}

/** The calls that took effect, in the order in which they ended; what was not answered last. */
function happened(calls: readonly RecordedCall[], moments: Recording['moments'], cut: number, chance: Chance): Done[] {
  const began = new Map<number, number>()
  const done: Done[] = []
  for (const [time, moment] of moments.slice(0, cut).entries()) {
    if (moment.at === 'mark') continue
    const call = calls[moment.call]!
    if (moment.at === 'begin') began.set(moment.call, time)
    if (moment.at === 'end') done.push({ call, began: began.get(moment.call)!, ended: time })
    if (moment.at !== 'begin') began.delete(moment.call)
  }
  for (const [number, time] of began) {
    if (chance.unanswered()) done.push({ call: calls[number]!, began: time, ended: Number.POSITIVE_INFINITY })
  }
  return done
}

type IsSafe = (change: Done, of: (sync: RecordedCall) => boolean) => boolean

function contentsOf(done: readonly Done[], isSafe: IsSafe, chance: Chance): Map<number, Buffer> {
  const writes = new Map<number, Done[]>()
  for (const change of done) {
    const { call, file } = change.call
    if (call === 'create') writes.set(file!, [])
    if (call === 'write') writes.get(file!)!.push(change)
  }
  const contents = new Map<number, Buffer>()
  for (const [file, changes] of writes) {
    const size = Math.max(0, ...changes.map(({ call }) => call.offset! + call.bytes!.length))
    const content = Buffer.alloc(size)
    let end = 0
    const fate = chance.content()
    for (const change of changes) {
      const { offset = 0, bytes } = change.call
      const safe = isSafe(change, (sync) => sync.file === file)
      for (let at = 0; at < bytes!.length; at += BLOCK - ((offset + at) % BLOCK)) {
        const piece = bytes!.subarray(at, at + BLOCK - ((offset + at) % BLOCK))
        if (!safe && (fate === 'lost' || (fate === 'torn' && !chance.block()))) continue
        piece.copy(content, offset + at)
        end = Math.max(end, offset + at + piece.length)
      }
    }
    // Torn content may have its full size, with zeros at its end.
    contents.set(file, content.subarray(0, fate === 'torn' && chance.block() ? size : end))
  }
  return contents
}

const FOLDER = 'folder'

/** What each name stands for: a file by its number, one of the base by `base` and its first name, or a folder. */
function namesOf(
  base: FolderContent,
  done: readonly Done[],
  isSafe: IsSafe,
  chance: Chance,
): Map<string, string | undefined> {
  /** What the name stood for since, and whether that was safe. */
  const history = new Map<string, { held: string | undefined; safe: boolean }[]>()
  for (const [path, content] of base) {
    history.set(path, [{ held: content === null ? FOLDER : `base ${path}`, safe: true }])
  }
  const now = (path: string) => history.get(path)?.at(-1)?.held
  const set = (path: string, held: string | undefined, change: Done) => {
    const safe = isSafe(change, (sync) => sync.file === undefined && sync.path === folderOf(path))
    if (!history.has(path)) history.set(path, [{ held: undefined, safe: true }])
    history.get(path)!.push({ held, safe })
  }
  for (const change of done) {
    const { call, path, to, file } = change.call
    if (call === 'create') set(path, String(file), change)
    if (call === 'mkdir') set(path, FOLDER, change)
    if (call === 'link' || call === 'rename') set(to!, now(path), change)
    if (call === 'unlink' || call === 'rename') set(path, undefined, change)
  }
  const names = new Map<string, string | undefined>()
  for (const [path, held] of history) {
    const candidates = held.slice(held.findLastIndex(({ safe }) => safe)).map((state) => state.held)
    names.set(path, candidates.length === 1 ? candidates[0] : candidates[chance.name(candidates)])
  }
  return names
}

function folderOf(path: string): string {
  const folder = dirname(path)
  return folder === '.' ? '' : folder
}
