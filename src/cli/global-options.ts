import { type Command, InvalidArgumentError, Option } from 'commander'
import type { PasswordOptions } from './password.ts'
import type { LocationOptions } from './repository-location.ts'

/** What every command understands, before or after its name. */
export interface GlobalOptions extends LocationOptions, PasswordOptions {
  /** Path of the config file, as given. */
  readonly config: string | undefined
  readonly insecureNoPassword: boolean
  /** `gpg`, or the path of an age identity file. */
  readonly unsealPassword: string | undefined
  readonly json: boolean
  readonly quiet: boolean
  /** 0 unless given; `-vv` is 2. */
  readonly verbose: number
  /** False with `--no-lock`. */
  readonly lock: boolean
  /** Milliseconds to wait for somebody else's lock; 0 fails at once. */
  readonly retryLock: number
  readonly cacheDir: string | undefined
  /** False with `--no-cache`. */
  readonly cache: boolean
  readonly cleanupCache: boolean
}

export function addGlobalOptions(program: Command): void {
  const options = [
    new Option(
      '--config <file>',
      'the config file (default: $HOLDFAST_CONFIG, holdfast.yaml here or above, /etc/holdfast)',
    ),
    new Option('-r, --repo <location>', 'the repository; no config file is needed then'),
    new Option('--repository-file <file>', 'read the location of the repository from a file'),
    new Option('-p, --password-file <file>', 'read the password of the repository from a file'),
    new Option('--password-command <command>', 'run a command that prints the password'),
    new Option(
      '--unseal-password <key>',
      'take the password that is sealed beside the repository (key escrow): gpg, or the file of an age identity',
    ),
    new Option('--insecure-no-password', 'the repository has an empty password').default(false),
    new Option('--no-lock', 'read without locking the repository'),
    new Option('--retry-lock <duration>', 'wait for locks of others, as in 30s, 5m or 1h').argParser(parseWait),
    new Option('--json', 'write one JSON object per line to standard output').default(false),
    new Option('-q, --quiet', 'write results, warnings and errors only').default(false),
    new Option('-v, --verbose', 'say more; -vv says most').default(0).argParser(countOne),
    new Option('--no-colour', 'no colours (as NO_COLOR=1)'),
    new Option('--no-color').hideHelp(),
    new Option('--cache-dir <dir>', 'keep index and trees in this folder, also of a mounted repository'),
    new Option('--no-cache', 'keep nothing of the repository on this machine'),
    new Option('--cleanup-cache', 'remove caches that were not used for 30 days').default(false),
  ]
  for (const option of options) program.addOption(option)
  program.options.find(({ long }) => long === '--quiet')!.conflicts('verbose')
}

function countOne(_: string, previous: unknown): number {
  return Number(previous) + 1
}

const WAIT_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** As restic takes it, in the notation of Go: `1h30m`. */
function parseWait(text: string): number {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/.test(text)) {
    throw new InvalidArgumentError('Expected a number with a unit, as in 30s, 5m or 1h30m.')
  }
  let sum = 0
  for (const [, value, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) sum += Number(value) * WAIT_UNITS[unit!]!
  return sum
}

/** What commander collected, as a value of our own. */
export function readGlobalOptions(values: Readonly<Record<string, unknown>>): GlobalOptions {
  const text = (name: string) => (typeof values[name] === 'string' ? values[name] : undefined)
  return {
    config: text('config'),
    repo: text('repo'),
    repositoryFile: text('repositoryFile'),
    passwordFile: text('passwordFile'),
    passwordCommand: text('passwordCommand'),
    unsealPassword: text('unsealPassword'),
    insecureNoPassword: values.insecureNoPassword === true,
    json: values.json === true,
    quiet: values.quiet === true,
    verbose: typeof values.verbose === 'number' ? values.verbose : 0,
    lock: values.lock !== false,
    retryLock: typeof values.retryLock === 'number' ? values.retryLock : 0,
    cacheDir: text('cacheDir'),
    cache: values.cache !== false,
    cleanupCache: values.cleanupCache === true,
  }
}

/** What must be known before the command line is understood, for it may be wrong. */
export interface EarlyOptions {
  readonly json: boolean
  readonly colour: boolean
  readonly verbose: number
}

export function readEarlyOptions(argv: readonly string[]): EarlyOptions {
  const end = argv.indexOf('--')
  const options = end < 0 ? argv : argv.slice(0, end)
  return {
    json: options.includes('--json'),
    colour: !options.includes('--no-colour') && !options.includes('--no-color'),
    verbose: options.reduce(
      (sum, option) => sum + (option === '--verbose' ? 1 : /^-v+$/.test(option) ? option.length - 1 : 0),
      0,
    ),
  }
}

/** restic also takes `--verbose=2`; here it is `-v -v`, for an optional value would swallow the path after `-v`. */
export function normaliseArguments(argv: readonly string[]): string[] {
  const end = argv.indexOf('--')
  return argv.flatMap((argument, at) => {
    const level = end < 0 || at < end ? /^--verbose=([0-9])$/.exec(argument) : null
    return level === null ? [argument] : Array.from({ length: Number(level[1]) }, () => '--verbose')
  })
}
