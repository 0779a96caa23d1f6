import { readFile, stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { parse as parseYaml, YAMLParseError } from 'yaml'
import { ApplicationError } from '../error.ts'
import type { Finding } from '../finding.ts'
import { minimalEnvironment, programFailure, runProgram } from '../program.ts'
import type { Capture } from '../sources/capture.ts'
import { plainCapture } from '../sources/plain-capture.ts'
import { isSecretVariable } from '../sources/secret-variable.ts'
import { followLinks, onHost } from './host-path.ts'

/** Loading an ecosystem file is a matter of milliseconds; one that takes longer waits for something. */
const LOAD_LIMIT_MS = 5_000
const FILE_LIMIT = 1024 * 1024
/** The parser keeps each mistake of a YAML file, at 2 kB each: a file that is nothing else would cost gigabytes. */
const YAML_LIMIT = 64 * 1024
const OUTPUT_LIMIT = 1024 * 1024
/** Values that the file is searched for. Those of more variables count as found: sealing the file is the safe side. */
const MOST_SEARCHED = 1000
/** As pm2 spells them, old and new. */
const LOG_KEYS = ['out_file', 'output', 'error_file', 'error', 'log_file', 'log'] as const

export interface Pm2App {
  /** As pm2 calls it: `name`, or the script's file name without its extension. */
  readonly name: string
  readonly script: string | undefined
  /** Absolute. */
  readonly cwd: string
  readonly port: number | undefined
  /** Files that the app names for its output; absolute. */
  readonly logFiles: readonly string[]
}

export interface Ecosystem {
  readonly apps: readonly Pm2App[]
  /** Names of variables whose secret values stand in the file itself. */
  readonly secretVariables: readonly string[]
}

/**
 * The apps of an ecosystem file (`.js`, `.cjs`, `.mjs`, `.json`, `.yaml`, `.yml`). JavaScript is run, as pm2 runs it, but
 * in a process of its own: with an empty environment, as the file's owner where we are root, without the right to
 * write files or to start programs, for a few seconds at most. Of its variables only `PORT` is kept. Throws `SOURCE`.
 */
export async function pm2Apps(
  file: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<readonly Pm2App[]> {
  return (await loadEcosystem(file, options.signal)).apps
}

/** The ecosystem file itself. One that holds secrets goes to `secrets`. */
export async function capturePm2(
  component: { readonly name: string; readonly paths: readonly string[] },
  options: { readonly hostRoot?: string; readonly signal?: AbortSignal | undefined } = {},
): Promise<Capture> {
  const hostRoot = options.hostRoot ?? '/'
  const targets: Buffer[] = []
  const secrets: Buffer[] = []
  const needs: string[] = []
  let areNeedsKnown = true
  const findings: Finding[] = []
  const find = (severity: Finding['severity'], code: string, message: string, path: string, hint: string): void => {
    findings.push({ severity, code, message, component: component.name, path, hint })
  }
  for (const given of component.paths) {
    const chain = await followLinks(onHost(hostRoot, given), hostRoot)
    const file = chain.at(-1) as string
    const info = await stat(file).catch((error: NodeJS.ErrnoException) => error)
    if (info instanceof Error) {
      const missing = info.code === 'ENOENT' || info.code === 'ENOTDIR'
      const message = `Cannot ${missing ? 'find' : 'read'} the pm2 file ${given}: ${info.message}`
      find('error', missing ? 'missing' : 'unreadable', message, given, 'Correct its path in the config file')
      continue
    }
    for (const link of chain.slice(0, -1)) targets.push(Buffer.from(link))
    try {
      const { apps, secretVariables } = await loadEcosystem(file, options.signal)
      needs.push(...foldersOfApps(apps))
      ;(secretVariables.length > 0 ? secrets : targets).push(Buffer.from(file))
      if (secretVariables.length > 0) {
        const message = `${file} holds ${secretVariables.join(', ')}: it is sealed with the secrets`
        find(
          'note',
          'secret-in-pm2-file',
          message,
          file,
          'Move the values to an environment file in the secrets folder',
        )
      }
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!(error instanceof ApplicationError)) throw error
      targets.push(Buffer.from(file))
      areNeedsKnown = false
      const hint = 'The file is stored as it is; see that it holds no secrets, and that pm2 can start it'
      find('warning', 'pm2-file-not-loaded', error.message, file, hint)
    }
  }
  return plainCapture({ targets, secrets, ...(areNeedsKnown ? { needs } : {}), findings })
}

/** Absolute paths of the folders that must be there before the apps start: they work in them, or log into them. */
export function foldersOfApps(apps: readonly Pm2App[]): readonly string[] {
  return apps.flatMap(({ cwd, logFiles }) => [cwd, ...logFiles.map((file) => dirname(file))])
}

async function loadEcosystem(file: string, signal: AbortSignal | undefined): Promise<Ecosystem> {
  const text = await readText(file)
  return summarise(await loadDefinitions(file, text, signal), file, text)
}

async function loadDefinitions(file: string, text: string, signal: AbortSignal | undefined): Promise<unknown> {
  const definitions = parseDefinitions(file, text)
  return definitions === undefined ? runLoader(file, signal) : definitions
}

/** What a YAML or JSON file says; undefined where only a JavaScript engine can tell. Throws `SOURCE`. */
export function parseDefinitions(file: string, text: string): unknown {
  if (/\.ya?ml$/.test(file)) {
    if (text.length > YAML_LIMIT) {
      throw unloadable(file, new Error(`it has ${text.length} characters, expected at most ${YAML_LIMIT}`))
    }
    try {
      // Comparing each key with every other, and showing the line of every mistake, would take minutes for a long file.
      return parseYaml(text, { uniqueKeys: false, prettyErrors: false }) ?? null // an empty file defines nothing
    } catch (error) {
      if (!(error instanceof YAMLParseError)) throw unloadable(file, error)
      const line = text.slice(0, error.pos[0]).split('\n').length
      throw unloadable(file, new Error(`${error.message} at line ${line}`, { cause: error }))
    }
  }
  if (file.endsWith('.json')) {
    try {
      return JSON.parse(text)
    } catch {
      // pm2 evaluates JSON as JavaScript, so that comments and trailing commas are allowed: the loader does that.
    }
  }
  return undefined
}

/** The apps that the definitions in a file, whose text is given too, describe. Throws `SOURCE`. */
export function summarise(definitions: unknown, file: string, text: string): Ecosystem {
  const secretVariables = new Set<string>()
  let searched = 0
  const apps = appsOf(definitions).map((app): Pm2App => {
    const script = typeof app.script === 'string' ? app.script : undefined
    const name = typeof app.name === 'string' ? app.name : script === undefined ? undefined : scriptName(script)
    if (name === undefined) throw unloadable(file, new Error('an app has neither a name nor a script'))
    const variables = variablesOf(app)
    for (const [variable, value] of variables) {
      // A value that does not stand in the file was read from elsewhere (dotenv), and is no secret of this file.
      if (!isSecretVariable(variable, value)) continue
      searched += 1
      if (searched > MOST_SEARCHED || text.includes(value)) secretVariables.add(variable)
    }
    const cwd = resolve(dirname(file), typeof app.cwd === 'string' ? app.cwd : '.')
    const logFiles = LOG_KEYS.flatMap((key) => (typeof app[key] === 'string' ? [resolve(cwd, app[key])] : []))
    return { name, script, cwd, port: portOf(variables), logFiles }
  })
  return { apps, secretVariables: [...secretVariables] }
}

/** Variables of `env`, then of `env_production` and the like. */
function variablesOf(app: Record<string, unknown>): (readonly [name: string, value: string])[] {
  return Object.entries(app)
    .filter(([key]) => /^env(_|$)/.test(key))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, environment]) => (isRecord(environment) ? Object.entries(environment) : []))
    .map(([name, value]) => [name, isScalar(value) ? String(value) : ''] as const)
}

/** pm2 hands groups and lists over as JSON, which stands nowhere in the file as it is. */
function isScalar(value: unknown): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
}

/**
 * What runs in the process that loads a JavaScript file: hands over what we need of it as JSON on descriptor 3, where
 * nothing that the file prints can get in between.
 */
const LOADER = `
import { readFileSync, writeSync } from 'node:fs'
import { runInThisContext } from 'node:vm'
import { pathToFileURL } from 'node:url'
const file = process.argv[1]
let loaded
if (file.endsWith('.json')) loaded = runInThisContext('(' + readFileSync(file, 'utf8') + ')')
else {
  const module = await import(pathToFileURL(file).href)
  loaded = module.default ?? module
}
const list = Array.isArray(loaded) ? loaded : (loaded?.apps ?? loaded?.pm2 ?? loaded)
const apps = (Array.isArray(list) ? list : [list])
  .filter((app) => app !== null && typeof app === 'object')
  .map((app) => Object.fromEntries(Object.entries(app).filter(([key]) => /^(name|script|cwd|env(_.*)?|(out|error|log)_file|output|error|log)$/.test(key))))
writeSync(3, JSON.stringify({ apps }))
process.exit(0)
`

async function runLoader(file: string, signal: AbortSignal | undefined): Promise<unknown> {
  const owner = process.getuid?.() === 0 ? await stat(file) : undefined
  const limit = AbortSignal.timeout(LOAD_LIMIT_MS)
  try {
    const end = await runProgram(
      process.execPath,
      ['--permission', '--allow-fs-read=*', '--no-warnings', '--input-type=module', '--eval', LOADER, '--', file],
      {
        env: { PATH: minimalEnvironment().PATH, LANG: 'C' },
        cwd: dirname(file),
        signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
        maxOutput: OUTPUT_LIMIT,
        withoutTerminal: true,
        // A file that the application's user can write must not run with our rights.
        ...(owner === undefined || owner.uid === 0 ? {} : { uid: owner.uid, gid: owner.gid }),
      },
    )
    if (end.exitCode !== 0) throw programFailure(end)
    return JSON.parse(end.status)
  } catch (error) {
    signal?.throwIfAborted()
    throw unloadable(file, limit.aborted ? new Error(`it did not finish within ${LOAD_LIMIT_MS} ms`) : error)
  }
}

function scriptName(script: string): string {
  return basename(script).replace(/(?<=.)\.[^.]*$/, '')
}

/** pm2 takes `{apps: […]}`, `{pm2: […]}`, a list, or a single app. */
function appsOf(definitions: unknown): Record<string, unknown>[] {
  const named = isRecord(definitions) ? (definitions.apps ?? definitions.pm2 ?? definitions) : definitions
  return (Array.isArray(named) ? named : [named]).filter(isRecord)
}

function portOf(variables: readonly (readonly [name: string, value: string])[]): number | undefined {
  const port = Number(variables.find(([name]) => name === 'PORT')?.[1])
  return Number.isInteger(port) && port > 0 && port < 65536 ? port : undefined
}

async function readText(file: string): Promise<string> {
  try {
    const { size } = await stat(file)
    if (size > FILE_LIMIT) throw new Error(`it has ${size} bytes, expected at most ${FILE_LIMIT}`)
    return await readFile(file, 'utf8')
  } catch (error) {
    throw unloadable(file, error)
  }
}

function unloadable(file: string, cause: unknown): ApplicationError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new ApplicationError('SOURCE', `Cannot load the pm2 file ${file}: ${reason}`, { facts: { file }, cause })
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
