import { lstat, readdir, realpath, stat } from 'node:fs/promises'
import { posix } from 'node:path'
import { keyFilesOf } from '../backup/left-out.ts'
import { command, type DoctorCheck, type DoctorContext, type Found, word } from './doctor-check.ts'

/** What others may do, in bits of the mode. */
const OTHERS = 0o077

/** Everything that Holdfast made, and the keys that it uses, are for their owner alone: 0700 and 0600. */
export const privateFiles: DoctorCheck<'permissions'> = {
  name: 'permissions',
  title: 'Files and folders of Holdfast are for their owner alone',
  async run(context) {
    const found: Found<'permissions'>[] = []
    for (const place of await placesOf(context)) {
      const open = new Many()
      const foreign = new Many()
      for await (const entry of entriesOf(place, context.signal)) {
        if ((entry.mode & OTHERS) !== 0) open.add(entry)
        if (isForeign(entry)) foreign.add(entry)
      }
      if (open.first !== undefined) found.push(openFinding(place.path, open.first, open.count))
      if (foreign.first !== undefined) found.push(foreignFinding(place.path, foreign.first, foreign.count))
    }
    return found
  },
}

interface Place {
  readonly path: string
  /** With everything below it, but for these. */
  readonly deep: boolean
  readonly except?: string
}

interface Entry {
  readonly path: string
  readonly mode: number
  readonly uid: number
  readonly isDirectory: boolean
}

class Many {
  first: Entry | undefined
  count = 0

  add(entry: Entry): void {
    this.first ??= entry
    this.count += 1
  }
}

/** What a drill restores into the work folder has modes of its own; nobody else gets as far as that. */
async function placesOf({ config, access }: DoctorContext): Promise<Place[]> {
  const { stateDirectory, workDirectory, log, repository } = config
  const wanted: Place[] = [
    { path: stateDirectory, deep: true, except: workDirectory },
    { path: workDirectory, deep: false },
    { path: log, deep: false },
    ...(await keyFilesOf(config)).map((path) => ({ path, deep: false })),
    ...(posix.isAbsolute(repository) ? [{ path: repository, deep: true }] : []),
    ...(access.cache === undefined ? [] : [{ path: access.cache.folder, deep: true }]),
  ]
  const places = new Map<string, Place>()
  for (const place of wanted) {
    const path = await realpath(place.path).catch(() => undefined) // not there, or closed to us: other checks say it
    if (path !== undefined && !places.has(path)) places.set(path, { ...place, path })
  }
  const deep = [...places.values()].filter((place) => place.deep)
  const isIn = (path: string, { path: folder, except }: Place) => path.startsWith(`${folder}/`) && path !== except
  return [...places.values()].filter(({ path }) => !deep.some((place) => isIn(path, place)))
}

async function* entriesOf({ path, deep, except }: Place, signal: AbortSignal): AsyncGenerator<Entry> {
  const top = await stat(path).catch(() => undefined)
  if (top === undefined) return
  const { mode, uid } = top
  yield { path, mode, uid, isDirectory: top.isDirectory() }
  if (!deep || !top.isDirectory()) return
  const folders = [path]
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    signal.throwIfAborted()
    const names = await readdir(folder).catch(() => []) // removed meanwhile, or closed to us
    const entries = await Promise.all(names.map((name) => lookAt(posix.join(folder as string, name))))
    for (const entry of entries) {
      if (entry === undefined || entry.path === except) continue
      yield entry
      if (entry.isDirectory) folders.push(entry.path)
    }
  }
}

/** Undefined for a link, whose own mode says nothing, and for what is gone. */
async function lookAt(path: string): Promise<Entry | undefined> {
  const status = await lstat(path).catch(() => undefined)
  if (status === undefined || status.isSymbolicLink()) return undefined
  return { path, mode: status.mode, uid: status.uid, isDirectory: status.isDirectory() }
}

function openFinding(place: string, { path, mode, isDirectory }: Entry, count: number): Found<'permissions'> {
  const expected = isDirectory ? 0o700 : 0o600
  const found = `${path} is open to others than its owner (mode ${octal(mode)}), expected ${octal(expected)}`
  const common = { severity: 'warning', code: 'not-private' } as const
  if (count === 1) {
    const remedy = command(`chmod ${expected.toString(8)} ${word(path)}`)
    return { ...common, path, message: found, remedy, fix: { kind: 'chmod', path, mode: expected } }
  }
  return {
    ...common,
    path: place,
    message: `${found}; so are ${count - 1} more in ${place}`,
    remedy: command(`chmod -R go= ${word(place)}`),
    fix: { kind: 'close', path: place },
  }
}

function isForeign({ uid }: Entry): boolean {
  const own = process.geteuid?.()
  return own !== undefined && uid !== own && uid !== 0
}

function foreignFinding(place: string, { path, uid }: Entry, count: number): Found<'permissions'> {
  const own = process.geteuid?.() ?? 0
  const more = count === 1 ? '' : `; so do ${count - 1} more in ${place}`
  const chown = count === 1 ? `chown ${own} ${word(path)}` : `chown -R ${own} ${word(place)}`
  return {
    severity: 'error',
    code: 'foreign-owner',
    path: count === 1 ? path : place,
    message: `${path} belongs to the user ${uid}, who could change what is kept there, expected ${own}${more}`,
    remedy: command(own === 0 ? chown : `sudo ${chown}`),
  }
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}
