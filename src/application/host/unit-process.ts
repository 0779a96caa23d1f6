import { readdir, readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, join } from 'node:path'
import { ApplicationError } from '../error.ts'
import { parseUnitFile, splitWords, type UnitSetting, valuesOf } from './unit-file.ts'

/** A command line of a unit, its variables filled in. */
export interface UnitCommand {
  readonly program: string
  readonly args: readonly string[]
  /** Begins with `-`: that it fails is no failure. */
  readonly mayFail: boolean
}

/** What systemd would run for a service unit, for where there is no systemd. */
export interface UnitProcess {
  readonly before: readonly UnitCommand[]
  readonly start: UnitCommand
  readonly cwd: string | undefined
  readonly user: string | undefined
  readonly group: string | undefined
  /** Of `Environment=` and `EnvironmentFile=`: may hold secrets. */
  readonly environment: Readonly<Record<string, string>>
  /** Below `/run`: made before the start, and the user's. */
  readonly runtimeFolders: readonly string[]
  /** Settings that have an effect with systemd alone, by name. */
  readonly without: readonly string[]
}

/** What confines or watches a service; without them it runs all the same. */
const OF_SYSTEMD_ALONE =
  /^(Protect|Private|Restrict|ReadOnly|ReadWrite|Inaccessible|NoNewPrivileges|CapabilityBoundingSet|AmbientCapabilities|SystemCall|MemoryMax|MemoryHigh|CPUQuota|TasksMax|WatchdogSec|LoadCredential|SetCredential|DynamicUser|Sockets|BusName|LockPersonality|Dynamic)/

/**
 * Reads a service unit with its drop-ins and environment files, systemd.service(5) and systemd.exec(5). Specifiers and variables
 * are filled in. Throws `SERVICE` where it names nothing to run.
 */
export async function readUnitProcess(file: string): Promise<UnitProcess> {
  const settings = [...parseUnitFile(await readFile(file, 'utf8')), ...(await dropIns(`${file}.d`))]
  const name = basename(file)
  const fill = (text: string) => fillSpecifiers(text, name)
  const last = (key: string) => {
    const value = valuesOf(settings, 'Service', key).at(-1)
    return value === undefined ? undefined : fill(value)
  }
  const environment: Record<string, string> = {}
  for (const line of valuesOf(settings, 'Service', 'Environment')) {
    for (const word of splitWords(fill(line))) assign(environment, word)
  }
  for (const given of valuesOf(settings, 'Service', 'EnvironmentFile')) {
    const optional = given.startsWith('-')
    Object.assign(environment, await readEnvironmentFile(fill(optional ? given.slice(1) : given), optional))
  }
  const commands = (key: string) =>
    valuesOf(settings, 'Service', key).map((line) => parseCommand(fill(line), environment))
  const start = commands('ExecStart').at(-1)
  if (start === undefined) {
    throw new ApplicationError('SERVICE', `Cannot start ${name}: ${file} has no ExecStart`, {
      facts: { service: name },
    })
  }
  return {
    before: commands('ExecStartPre'),
    start,
    cwd: last('WorkingDirectory')?.replace(/^-/, ''),
    user: last('User'),
    group: last('Group'),
    environment,
    runtimeFolders: valuesOf(settings, 'Service', 'RuntimeDirectory').flatMap((line) => splitWords(fill(line))),
    without: [...new Set(settings.map(({ key }) => key).filter((key) => OF_SYSTEMD_ALONE.test(key)))].sort(),
  }
}

async function dropIns(folder: string): Promise<UnitSetting[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return []
    throw error
  })
  const settings: UnitSetting[] = []
  for (const name of names.filter((each) => each.endsWith('.conf')).sort()) {
    settings.push(...parseUnitFile(await readFile(join(folder, name), 'utf8')))
  }
  return settings
}

async function readEnvironmentFile(file: string, optional: boolean): Promise<Record<string, string>> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (optional && error.code === 'ENOENT') return ''
    throw new ApplicationError('SERVICE', `Cannot start the service: its environment file ${file} cannot be read`, {
      facts: { path: file },
      cause: error,
    })
  })
  const found: Record<string, string> = {}
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue
    const at = line.indexOf('=')
    if (at > 0) assign(found, `${line.slice(0, at).trim()}=${unquoted(line.slice(at + 1).trim())}`)
  }
  return found
}

function unquoted(value: string): string {
  const quote = value[0]
  if ((quote === '"' || quote === "'") && value.length > 1 && value.endsWith(quote)) return value.slice(1, -1)
  return value
}

function assign(environment: Record<string, string>, word: string): void {
  const at = word.indexOf('=')
  if (at > 0) environment[word.slice(0, at)] = word.slice(at + 1)
}

/** systemd.unit(5), "Specifiers": those that do not depend on a running systemd. */
function fillSpecifiers(text: string, name: string): string {
  const prefix = name.replace(/\.[^.]*$/, '')
  const [template = prefix, instance = ''] = prefix.split('@')
  const values: Readonly<Record<string, string>> = {
    n: name,
    N: prefix,
    p: template,
    i: instance,
    I: instance,
    H: hostname(),
    t: '/run',
    S: '/var/lib',
    C: '/var/cache',
    L: '/var/log',
    E: '/etc',
    T: '/tmp',
    V: '/var/tmp',
    '%': '%',
  }
  return text.replace(/%(.)/g, (whole, letter: string) => values[letter] ?? whole)
}

/** systemd.service(5), "Command lines": prefixes, `$NAME` as words of its own, `${NAME}` anywhere in a word. */
function parseCommand(line: string, environment: Readonly<Record<string, string>>): UnitCommand {
  const prefixes = /^[@\-:+!|]*/.exec(line)![0]
  const words = splitWords(line.slice(prefixes.length)).flatMap((word) => {
    const whole = /^\$([A-Za-z_][A-Za-z0-9_]*)$/.exec(word)
    if (whole !== null) return splitWords(environment[whole[1]!] ?? '')
    return [
      word
        .replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (_, name: string) => environment[name] ?? '')
        .replaceAll('$$', '$'),
    ]
  })
  const [program = '', ...args] = prefixes.includes('@') ? [words[0] ?? '', ...words.slice(2)] : words
  return { program, args, mayFail: prefixes.includes('-') }
}
