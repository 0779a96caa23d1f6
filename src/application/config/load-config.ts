import { isUtf8 } from 'node:buffer'
import { readdir, readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { ApplicationError } from '../error.ts'
import { checkConfig } from './check-config.ts'
import type { Config } from './config.ts'
import { configError } from './config-problem.ts'
import { type ConfigHost, normaliseConfig } from './normalise-config.ts'
import { describeValue } from './problem.ts'
import { configSchema } from './schema.ts'
import { schemaProblems } from './schema-problems.ts'
import { readYaml } from './yaml-file.ts'

/** Far above any config file; what is larger was named by mistake. */
const MAX_CONFIG_BYTES = 1024 * 1024

const OTHERS_WRITE = 0o002
const OTHERS_ALL = 0o007

/**
 * Reads and checks a config file. Every mistake in it is in one `CONFIG` error, with line and column. Refuses a file that
 * everybody may change, since it says what runs as root, and a password file that everybody may read. That the password
 * file exists is not asked for here.
 */
export async function loadConfig(file: string): Promise<Config> {
  const path = resolve(file)
  const bytes = await readConfigFile(path)
  if (!isUtf8(bytes)) {
    const problem = {
      ...firstInvalidByte(bytes),
      text: 'bytes that are not UTF-8 stand here, expected a text file in YAML',
    }
    throw configError(path, [problem])
  }
  const config = parseConfig(bytes.toString('utf8'), path)
  const passwordFiles = [config.passwordFile, ...config.offSite.map((copy) => copy.passwordFile)]
  for (const passwordFile of new Set(passwordFiles)) if (passwordFile !== undefined) await assertPrivate(passwordFile)
  return config
}

/** The same for a text at hand. `file`, absolute, names it in messages, and relative paths count from its folder. */
export function parseConfig(text: string, file: string, host: ConfigHost = thisHost()): Config {
  const yaml = readYaml(text)
  if (yaml.value === undefined) throw configError(file, yaml.problems)
  if (yaml.value === null) {
    throw configError(file, [
      { line: 1, column: 1, text: 'the file is empty, expected at least app, root, repository and components' },
    ])
  }
  if (typeof yaml.value !== 'object' || Array.isArray(yaml.value)) {
    const text = `${describeValue(yaml.value)} stands here, expected keys and values, as in "app: my-app"`
    throw configError(file, [{ line: 1, column: 1, text }])
  }
  const parsed = configSchema.safeParse(yaml.value)
  const problems = parsed.success ? [] : schemaProblems(parsed.error)
  if (!parsed.success || yaml.problems.length > 0) throw located(problems)
  const config = normaliseConfig(parsed.data, file, text, host)
  const contradictions = checkConfig(parsed.data, config)
  if (contradictions.length > 0) throw located(contradictions)
  return config

  function located(found: ReturnType<typeof schemaProblems>): ApplicationError {
    const placed = found.map(({ path, part, text }) => ({ ...yaml.locate(path, part), text }))
    return configError(file, [...yaml.problems, ...placed])
  }
}

export function thisHost(): ConfigHost {
  return { isRoot: process.getuid?.() === 0, home: homedir(), stateHome: process.env.XDG_STATE_HOME }
}

async function readConfigFile(path: string): Promise<Buffer> {
  try {
    const { mode, size } = await stat(path).then((status) => {
      if (status.isFile()) return status
      const found = status.isDirectory() ? 'it is a folder' : 'it is not an ordinary file'
      throw new ApplicationError('CONFIG', `Cannot read the config file ${path}: ${found}`, { facts: { file: path } })
    })
    if ((mode & OTHERS_WRITE) !== 0) {
      throw new ApplicationError(
        'CONFIG',
        `Cannot trust the config file ${path}: everybody may change it (mode ${octal(mode)}), expected only its owner`,
        { facts: { file: path, mode: octal(mode) }, hint: `Run chmod o-w ${path} and look through what it says` },
      )
    }
    if (size > MAX_CONFIG_BYTES) {
      throw new ApplicationError(
        'CONFIG',
        `Cannot read the config file ${path}: it has ${size} bytes, expected at most ${MAX_CONFIG_BYTES}`,
        { facts: { file: path, bytes: size } },
      )
    }
    return await readFile(path)
  } catch (cause) {
    if (cause instanceof ApplicationError) throw cause
    const code = (cause as NodeJS.ErrnoException).code
    const found =
      code === 'ENOENT' ? 'it does not exist' : code === 'EACCES' ? 'permission is denied' : (cause as Error).message
    throw new ApplicationError('CONFIG', `Cannot read the config file ${path}: ${found}`, {
      cause,
      facts: { file: path },
      hint: code === 'ENOENT' ? 'Run holdfast init in the folder of the application to write one' : undefined,
    })
  }
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}

function firstInvalidByte(bytes: Buffer): { line: number; column: number } {
  let line = 1
  let start = 0
  for (let end = bytes.indexOf(10); end !== -1 && isUtf8(bytes.subarray(start, end)); end = bytes.indexOf(10, start)) {
    line += 1
    start = end + 1
  }
  let end = start
  while (end < bytes.length && bytes[end] !== 10) end += 1
  const decoded = bytes.subarray(start, end).toString('utf8')
  return { line, column: decoded.indexOf('\ufffd') + 1 }
}

/** Refuses a password file that others than its owner and group may read or change. One that is absent passes. */
export async function assertPrivate(path: string): Promise<void> {
  const status = await stat(path).catch((error: NodeJS.ErrnoException) => {
    // Absent, or in a folder closed to this user: reading it will say so with what it was needed for.
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'EACCES') return undefined
    throw error
  })
  if (status === undefined || (status.mode & OTHERS_ALL) === 0) return
  throw new ApplicationError(
    'CONFIG',
    `Cannot use the password file ${path}: everybody may read or change it (mode ${octal(status.mode)}), expected 0600`,
    {
      facts: { file: path, mode: octal(status.mode) },
      hint: `Run chmod 600 ${path}, and change the password if others had access`,
    },
  )
}

export interface FindConfigOptions {
  /** Of `--config`. */
  readonly config?: string | undefined
  readonly systemFolder?: string
}

const CONFIG_NAME = 'holdfast.yaml'

/**
 * The config file that is meant: the one named by `--config`, else by `HOLDFAST_CONFIG`, else `holdfast.yaml` in `cwd` or
 * the nearest folder above, else the only one in `/etc/holdfast`. Undefined when there is none; an error when one is
 * named that does not exist, or several lie in `/etc/holdfast`.
 */
export async function findConfig(
  cwd: string,
  env: Readonly<Record<string, string | undefined>>,
  { config, systemFolder = '/etc/holdfast' }: FindConfigOptions = {},
): Promise<string | undefined> {
  const named = config ?? (env.HOLDFAST_CONFIG === '' ? undefined : env.HOLDFAST_CONFIG)
  if (named !== undefined) {
    const path = resolve(cwd, named)
    if (await exists(path)) return path
    const by = config === undefined ? 'HOLDFAST_CONFIG' : '--config'
    throw new ApplicationError('CONFIG', `Cannot read the config file ${path}, named by ${by}: it does not exist`, {
      facts: { file: path },
    })
  }
  for (let folder = resolve(cwd); ; folder = dirname(folder)) {
    const path = join(folder, CONFIG_NAME)
    if (await exists(path)) return path
    if (folder === dirname(folder)) break
  }
  const installed = await configsIn(systemFolder)
  if (installed.length <= 1) return installed[0]
  throw new ApplicationError(
    'CONFIG',
    `Cannot tell which application is meant: ${systemFolder} holds ${installed.length} config files, expected one or a choice`,
    { facts: { files: installed }, hint: `Add --config with one of ${installed.join(', ')}` },
  )
}

async function configsIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'EACCES') return []
    throw error
  })
  return names
    .filter((name) => /^[^.].*\.ya?ml$/.test(name))
    .sort()
    .map((name) => join(folder, name))
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false
      // It is there but closed to us: better to say so when it is read than to go on with another one.
      if (error.code === 'EACCES') return true
      throw error
    },
  )
}
