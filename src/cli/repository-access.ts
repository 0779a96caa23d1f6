import { join, resolve } from 'node:path'
import type { Config } from '../application/config/config.ts'
import type { EngineError } from '../engine/error.ts'
import type { RepositoryAccess } from '../operations/access.ts'
import type { Invocation } from './command.ts'
import { CliError } from './error.ts'
import { formatDuration } from './format.ts'
import { resolvePassword } from './password.ts'
import { resolveRepositoryLocation, withoutCredentials } from './repository-location.ts'
import type { SourceOptions } from './source-options.ts'

type Surroundings = Pick<Invocation<unknown>, 'io' | 'globals' | 'signal' | 'warn' | 'complain'>

/** The config file in force, for commands that work on an application. Throws `CONFIG`, and `NO_CONFIG` where there is none. */
export async function requireConfig({ io, globals }: Surroundings): Promise<Config> {
  // zod and yaml: commands without a config file do not wait for them.
  const { findConfig, loadConfig } = await import('../application/config/load-config.ts')
  const file = await findConfig(io.cwd, io.env, { config: globals.config })
  if (file !== undefined) return loadConfig(file)
  throw new CliError('NO_CONFIG', `Cannot tell which application is meant: no holdfast.yaml in ${io.cwd} or above`, {
    hint: 'Give --config, or run holdfast protect in the folder of the application',
  })
}

/**
 * The config file for commands that work on a repository, where it says which: a repository named on the command line or
 * in the environment needs none, and then one that happens to lie here, perhaps broken, is not even read.
 */
export async function findRepositoryConfig(surroundings: Surroundings): Promise<Config | undefined> {
  const { io, globals } = surroundings
  if (globals.config === undefined && (await resolveRepositoryLocation(io, globals)) !== undefined) return undefined
  const { findConfig, loadConfig } = await import('../application/config/load-config.ts')
  const file = await findConfig(io.cwd, io.env, { config: globals.config })
  return file === undefined ? undefined : loadConfig(file)
}

/**
 * How to get at the repository: where it is, its password when it is asked for, how to deal with locks. What the command line
 * and the environment say comes before the config. Throws `NO_LOCATION` where nobody says which repository.
 *
 * @param isNew the repository is to be made: a password that is typed is asked for twice
 */
export async function repositoryAccess(
  surroundings: Surroundings,
  config: Config | undefined,
  { isNew = false }: { readonly isNew?: boolean } = {},
): Promise<RepositoryAccess> {
  const { io, globals, signal, warn } = surroundings
  const location = (await resolveRepositoryLocation(io, globals)) ?? config?.repository
  if (location === undefined) {
    throw new CliError('NO_LOCATION', 'Cannot open a repository: nobody said which', {
      hint: 'Give --repo, set HOLDFAST_REPOSITORY, or work in a folder with a holdfast.yaml',
    })
  }
  let asked: Promise<Buffer> | undefined
  const password = () => {
    asked ??=
      unsealedPassword({ io, globals, signal }, location) ??
      resolvePassword({
        io,
        options: globals,
        configuredFile: configuredPasswordFile(config, location),
        what: `password for repository ${withoutCredentials(location)}`,
        isNew,
        warn,
        signal,
      })
    return asked
  }
  return { location, password, ...wayOfAccess(surroundings) }
}

/** The password that is sealed beside the repository, where `--unseal-password` asks for it. Throws `USAGE` for two ways at once. */
function unsealedPassword(
  { io, globals, signal }: Pick<Surroundings, 'io' | 'globals' | 'signal'>,
  location: string,
): Promise<Buffer> | undefined {
  const { unsealPassword: key, passwordFile, passwordCommand, insecureNoPassword } = globals
  if (key === undefined) return undefined
  if (passwordFile !== undefined || passwordCommand !== undefined || insecureNoPassword) {
    throw new CliError('USAGE', 'Cannot use --unseal-password: another option says where the password comes from')
  }
  const from = key === 'gpg' ? ({ kind: 'gpg' } as const) : ({ kind: 'age', identity: resolve(io.cwd, key) } as const)
  return import('../operations/interop/escrow.ts').then(({ escrowedPassword }) =>
    escrowedPassword({ location }, from, signal),
  )
}

/** The repository that something is taken from: where `--from-repo` or RESTIC_FROM_REPOSITORY says. Throws `NO_LOCATION`. */
export async function sourceAccess(
  surroundings: Surroundings & { readonly options: SourceOptions },
  config: Config | undefined,
): Promise<RepositoryAccess> {
  const { io, options, signal, warn } = surroundings
  const given = { repo: options.fromRepo, repositoryFile: options.fromRepositoryFile }
  const location = await resolveRepositoryLocation(io, given, 'from')
  if (location === undefined) {
    throw new CliError('NO_LOCATION', 'Cannot open the repository to take from: nobody said which', {
      hint: 'Give --from-repo, or set HOLDFAST_FROM_REPOSITORY',
    })
  }
  let asked: Promise<Buffer> | undefined
  const password = () => {
    asked ??= resolvePassword({
      io,
      options: {
        passwordFile: options.fromPasswordFile,
        passwordCommand: options.fromPasswordCommand,
        insecureNoPassword: options.fromInsecureNoPassword,
      },
      role: 'from',
      configuredFile: configuredPasswordFile(config, location),
      what: `password for repository ${withoutCredentials(location)}`,
      warn,
      signal,
    })
    return asked
  }
  return { location, password, ...wayOfAccess(surroundings) }
}

/** How to deal with locks, and what to keep on this machine. */
function wayOfAccess({
  io,
  globals,
  complain,
}: Surroundings): Pick<RepositoryAccess, 'retryLock' | 'onWaiting' | 'noLock' | 'cache'> {
  const { cacheDir, cache, cleanupCache } = globals
  const folder = cacheDir === undefined ? defaultCacheFolder(io.env) : resolve(io.cwd, cacheDir)
  const onProblem = ({ message, hint }: EngineError) =>
    complain({ severity: 'warning', code: 'cache', message, ...(hint === undefined ? {} : { hint }) })
  return {
    retryLock: globals.retryLock,
    onWaiting: ({ message }) =>
      complain({
        severity: 'note',
        code: 'waiting-for-lock',
        message: `${message}; waiting for up to ${formatDuration(globals.retryLock)}`,
      }),
    noLock: !globals.lock,
    cache:
      cache && folder !== undefined
        ? { folder, always: cacheDir !== undefined, cleanUp: cleanupCache, onProblem }
        : undefined,
  }
}

/** As the XDG base directory specification has it; of root where a system keeps such things. */
function defaultCacheFolder(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const { XDG_CACHE_HOME: caches, HOME: home } = env
  if (caches?.startsWith('/')) return join(caches, 'holdfast')
  if (process.geteuid?.() === 0) return '/var/cache/holdfast'
  return home?.startsWith('/') ? join(home, '.cache', 'holdfast') : undefined
}

/** The password in a config is that of its own repositories, and is not tried on another one. */
function configuredPasswordFile(config: Config | undefined, location: string): string | undefined {
  if (config === undefined) return undefined
  const copy = config.offSite.find(({ to }) => to === location)
  if (copy !== undefined) return copy.passwordFile ?? config.passwordFile
  return config.repository === location ? config.passwordFile : undefined
}
