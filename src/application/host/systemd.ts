import { glob, readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Finding } from '../finding.ts'
import type { Capture } from '../sources/capture.ts'
import { plainCapture } from '../sources/plain-capture.ts'
import { isSecretVariable } from '../sources/secret-variable.ts'
import { followLinks, isWithin, onHost } from './host-path.ts'
import { foldersOfUnit, parseUnitFile, splitWords, type UnitSetting, valuesOf } from './unit-file.ts'

/** systemd.unit(5), without `/run`: what lies there does not survive a boot. First one wins. */
const UNIT_DIRECTORIES = [
  '/etc/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
]
const EXEC_KEYS = ['ExecStart', 'ExecStartPre', 'ExecStartPost', 'ExecReload', 'ExecStop', 'ExecStopPost']
/** The largest unit file that is read; real ones have a few kilobytes. */
const FILE_LIMIT = 1024 * 1024

/** A service unit that belongs to an application. */
export interface FoundUnit {
  readonly name: string
  readonly path: string
  /** Why it belongs to the application: "starts /opt/app/server.js". */
  readonly reason: string
  readonly user: string | undefined
  /** `PORT` of its `Environment=` lines. */
  readonly port: number | undefined
  /** Paths as the unit names them, without the `-` that makes one optional. */
  readonly environmentFiles: readonly string[]
}

/** Units whose working directory, program, or environment file lies in `dir`. Unreadable units are passed over. */
export async function findUnits(dir: string, hostRoot = '/'): Promise<readonly FoundUnit[]> {
  const found = new Map<string, FoundUnit>()
  for (const directory of UNIT_DIRECTORIES) {
    for (const name of await namesIn(join(hostRoot, directory))) {
      if (!name.endsWith('.service') || found.has(name)) continue
      const path = join(hostRoot, directory, name)
      const settings = await readUnit(path, hostRoot)
      const reason = settings === undefined ? undefined : reasonFor(settings, dir, hostRoot)
      if (settings === undefined || reason === undefined) continue
      found.set(name, {
        name,
        path,
        reason,
        user: valuesOf(settings, 'Service', 'User').at(-1),
        port: portOf(settings),
        environmentFiles: environmentFiles(settings).map(({ path }) => path),
      })
    }
  }
  return [...found.values()]
}

/**
 * The files of service units: the unit (and what it links to), its drop-ins, and the links that enable it or give it
 * another name. A path is a unit file, or a unit's name. A unit file with secrets in `Environment=` goes to
 * `secrets`. Environment files and credentials that `covers` does not know are findings.
 */
export async function captureSystemd(
  component: { readonly name: string; readonly paths: readonly string[] },
  options: {
    readonly hostRoot?: string
    readonly signal?: AbortSignal | undefined
    /** Whether a component (this or another) holds the path. */
    readonly covers?: (path: string) => boolean
  } = {},
): Promise<Capture> {
  const hostRoot = options.hostRoot ?? '/'
  const covers = options.covers ?? (() => false)
  const targets: Buffer[] = []
  const secrets: Buffer[] = []
  const needs: string[] = []
  const findings: Finding[] = []
  const find = (severity: Finding['severity'], code: string, message: string, path: string, hint?: string): void => {
    findings.push({ severity, code, message, component: component.name, path, ...(hint === undefined ? {} : { hint }) })
  }

  for (const given of component.paths) {
    options.signal?.throwIfAborted()
    const unit = await findUnitFile(given, hostRoot)
    if (unit === undefined) {
      const where = given.includes('/') ? 'no such file' : `no such unit in ${UNIT_DIRECTORIES.join(', ')}`
      find('error', 'missing', `Cannot find the systemd unit ${given}: ${where}`, given)
      continue
    }
    const chain = await followLinks(unit.path, hostRoot)
    const file = chain.at(-1) as string
    for (const link of chain.slice(0, -1)) targets.push(Buffer.from(link))
    if (file === onHost(hostRoot, '/dev/null')) {
      find('warning', 'systemd-unit-masked', `The systemd unit ${given} is masked: it cannot be started`, unit.path)
      continue
    }
    const settings: UnitSetting[] = []
    for (const path of [file, ...(await dropIns(unit, hostRoot))]) {
      try {
        const own = parseUnitFile(await readBounded(path))
        settings.push(...own)
        const variables = secretVariables(own)
        ;(variables.length > 0 ? secrets : targets).push(Buffer.from(path))
        if (variables.length > 0) {
          const names = variables.join(', ')
          const hint = 'Move the values to a file, name it with EnvironmentFile=, and add that to the secrets'
          find('note', 'secret-in-unit', `${path} sets ${names}: it is sealed with the secrets`, path, hint)
        }
      } catch (error) {
        const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
        const code = missing ? 'missing' : 'unreadable'
        find('error', code, `Cannot read unit file ${path}: ${(error as Error).message}`, path)
      }
    }
    for (const link of await linksTo(unit, chain, hostRoot)) targets.push(Buffer.from(link))
    needs.push(...foldersOfUnit(settings))

    for (const named of [...environmentFiles(settings), ...credentials(settings)]) {
      const expanded = expand(named.path, unit.name)
      if (expanded === undefined || !expanded.startsWith('/')) {
        const message = `Cannot tell which file ${named.key}=${named.path} of ${unit.name} means`
        find('warning', 'environment-file-unknown', message, unit.path, 'Add the file to the secrets component')
        continue
      }
      const path = onHost(hostRoot, expanded)
      const matches = /[*?[]/.test(path) ? await Array.fromAsync(glob(path)) : (await exists(path)) ? [path] : []
      if (matches.length === 0 && !named.optional) {
        find('warning', 'environment-file-missing', `${unit.name} names ${expanded}: no such file`, path)
      }
      for (const match of matches.sort()) {
        if (covers(match)) continue
        const message = `${unit.name} needs ${match}, which no component covers`
        find('warning', 'environment-file-not-covered', message, match, 'Add the file to the secrets component')
      }
    }
  }
  return plainCapture({ targets, secrets, needs, findings })
}

interface UnitFile {
  /** As asked for, an instance name included: `worker@1.service`. */
  readonly name: string
  readonly path: string
}

async function findUnitFile(given: string, hostRoot: string): Promise<UnitFile | undefined> {
  if (given.includes('/')) {
    const path = onHost(hostRoot, given)
    return (await exists(path)) ? { name: basename(path), path } : undefined
  }
  const name = /\.(service|socket|timer|path|mount|target|slice)$/.test(given) ? given : `${given}.service`
  for (const fileName of [name, templateOf(name)]) {
    if (fileName === undefined) continue
    for (const directory of UNIT_DIRECTORIES) {
      const path = join(hostRoot, directory, fileName)
      // A link may lead out of the host's root, so what it points to is looked at where the link is followed.
      if ((await followLinks(path, hostRoot)).length > 1 || (await exists(path))) return { name, path }
    }
  }
  return undefined
}

/** `worker@.service` for `worker@1.service`. */
function templateOf(name: string): string | undefined {
  const match = /^([^@]+@)[^@]+(\.[a-z]+)$/.exec(name)
  return match === null ? undefined : `${match[1]}${match[2]}`
}

/** Drop-ins of all directories, by file name as systemd reads them; one in an earlier directory hides its namesakes. */
async function dropIns(unit: UnitFile, hostRoot: string): Promise<string[]> {
  const byName = new Map<string, string>()
  const names = new Set([unit.name, basename(unit.path), templateOf(unit.name)])
  for (const directory of directoriesFor(unit, hostRoot)) {
    for (const name of names) {
      if (name === undefined) continue
      const folder = join(directory, `${name}.d`)
      for (const file of await namesIn(folder)) {
        if (file.endsWith('.conf') && !byName.has(file)) byName.set(file, join(folder, file))
      }
    }
  }
  return [...byName.keys()].sort().map((name) => byName.get(name) as string)
}

/** Links that enable the unit (`*.wants`, `*.requires`) or give it another name. */
async function linksTo(unit: UnitFile, chain: readonly string[], hostRoot: string): Promise<string[]> {
  const links: string[] = []
  for (const directory of directoriesFor(unit, hostRoot)) {
    const names = await namesIn(directory)
    for (const folder of ['.', ...names.filter((name) => /\.(wants|requires|upholds)$/.test(name))]) {
      for (const name of folder === '.' ? names : await namesIn(join(directory, folder))) {
        const path = join(directory, folder, name)
        if (chain.includes(path)) continue
        const target = await followLinks(path, hostRoot)
        if (target.length > 1 && target.slice(1).some((step) => chain.includes(step))) {
          // An instance of a template is another unit, unless it is the one asked for.
          if (folder === '.' || name === unit.name || templateOf(name) === undefined) links.push(path)
        }
      }
    }
  }
  return links
}

function directoriesFor(unit: UnitFile, hostRoot: string): string[] {
  return [...new Set([...UNIT_DIRECTORIES.map((directory) => join(hostRoot, directory)), dirname(unit.path)])]
}

function reasonFor(settings: readonly UnitSetting[], dir: string, hostRoot: string): string | undefined {
  const inFolder = (path: string): boolean =>
    path.startsWith('/') && (isWithin(dir, path) || isWithin(dir, onHost(hostRoot, path)))
  const working = valuesOf(settings, 'Service', 'WorkingDirectory').at(-1)?.replace(/^-/, '')
  if (working !== undefined && inFolder(working)) return `works in ${working}`
  for (const key of EXEC_KEYS) {
    for (const command of valuesOf(settings, 'Service', key)) {
      const path = splitWords(command.replace(/^[-@:+!|]*/, '')).find(inFolder)
      if (path !== undefined) return `starts ${path}`
    }
  }
  const file = environmentFiles(settings).find(({ path }) => inFolder(path))
  return file === undefined ? undefined : `reads ${file.path}`
}

interface NamedFile {
  readonly key: string
  readonly path: string
  readonly optional: boolean
}

function environmentFiles(settings: readonly UnitSetting[]): NamedFile[] {
  return valuesOf(settings, 'Service', 'EnvironmentFile').map((value) => ({
    key: 'EnvironmentFile',
    path: value.replace(/^-/, '').replace(/^"(.*)"$/, '$1'),
    optional: value.startsWith('-'),
  }))
}

function credentials(settings: readonly UnitSetting[]): NamedFile[] {
  return ['LoadCredential', 'LoadCredentialEncrypted'].flatMap((key) =>
    valuesOf(settings, 'Service', key).flatMap((value) => {
      const path = value.slice(value.indexOf(':') + 1)
      // Without a path the credential comes from the service manager itself, not from a file of this machine.
      return value.includes(':') && path.startsWith('/') ? [{ key, path, optional: false }] : []
    }),
  )
}

function environment(settings: readonly UnitSetting[]): (readonly [name: string, value: string])[] {
  return valuesOf(settings, 'Service', 'Environment')
    .flatMap(splitWords)
    .flatMap((word) => {
      const at = word.indexOf('=')
      return at > 0 ? [[word.slice(0, at), word.slice(at + 1)] as const] : []
    })
}

/** An empty assignment after it does not take a secret out of the file, so all lines count. */
function secretVariables(settings: readonly UnitSetting[]): string[] {
  const all = settings.filter(({ key, value }) => key === 'Environment' && value !== '')
  return [...new Set(all.flatMap((setting) => environment([setting]).filter((pair) => isSecretVariable(...pair))))].map(
    ([name]) => name,
  )
}

function portOf(settings: readonly UnitSetting[]): number | undefined {
  const text = environment(settings).findLast(([name]) => name === 'PORT')?.[1]
  const port = Number(text)
  return text !== undefined && Number.isInteger(port) && port > 0 && port < 65536 ? port : undefined
}

/** The specifiers that depend on nothing but the unit's name; `undefined` when others occur. */
function expand(path: string, unitName: string): string | undefined {
  const prefix = unitName.replace(/\.[a-z]+$/, '')
  const [stem, instance = ''] = prefix.split('@') as [string, string?]
  const values: Record<string, string> = { n: unitName, N: prefix, p: stem, i: instance, '%': '%' }
  let known = true
  const expanded = path.replace(/%(.)/g, (_, letter: string) => {
    if (values[letter] === undefined) known = false
    return values[letter] ?? ''
  })
  return known ? expanded : undefined
}

async function readUnit(path: string, hostRoot: string): Promise<readonly UnitSetting[] | undefined> {
  const file = (await followLinks(path, hostRoot)).at(-1) as string
  try {
    const unit = { name: basename(path), path }
    const texts: string[] = []
    for (const part of [file, ...(await dropIns(unit, hostRoot))]) texts.push(await readBounded(part))
    return texts.flatMap(parseUnitFile)
  } catch (error) {
    return passOver(error)
  }
}

async function readBounded(path: string): Promise<string> {
  const info = await stat(path)
  if (!info.isFile() || info.size > FILE_LIMIT) {
    throw Object.assign(new Error(`expected a file of at most ${FILE_LIMIT} bytes`), { code: 'EFBIG' })
  }
  return readFile(path, 'utf8')
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    passOver(error)
    return false
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    passOver(error)
    return []
  }
}

/** What is absent, forbidden or no unit file is none of ours; anything else is a defect of the machine. */
function passOver(error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException
  if (['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'EISDIR', 'ELOOP', 'EFBIG'].includes(code ?? '')) return undefined
  throw error
}
