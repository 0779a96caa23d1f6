import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

const checkout = resolve(import.meta.dirname, '../..')

/** Newest restic, and the one that Debian's stable release has. */
export type Restic = 'restic' | 'restic-stable'

const newest = resolve(checkout, process.env.HOLDFAST_RESTIC ?? '.tools/bin/restic')

export function resticPath(program: Restic): string {
  return program === 'restic' ? newest : join(dirname(newest), program)
}

/** For the `skip` option of tests that need the programs: false when they are there. */
export function withoutRestic(...programs: readonly Restic[]): false | string {
  const missing = (programs.length === 0 ? ['restic' as const] : programs)
    .map(resticPath)
    .find((path) => !existsSync(path))
  return missing === undefined
    ? false
    : `no restic at ${missing}; \`npm run pretest\` brings it, HOLDFAST_RESTIC names another`
}

export interface ResticRun {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface ResticOptions {
  readonly program?: Restic
  readonly repository: string
  readonly password: string | Buffer
  readonly input?: string
  readonly cwd?: string
  readonly timeZone?: string
  /** Also for a command that only looks: for tests of locks. */
  readonly lock?: true
}

/** Commands that change nothing. A lock keeps each of them waiting for 0.2 s. */
const LOOKING: readonly string[] = ['cat', 'diff', 'dump', 'find', 'list', 'ls', 'restore', 'snapshots', 'stats']

/** The environment of a restic that neither caches nor draws. */
export function resticEnvironment({ repository, password, timeZone = 'UTC' }: ResticOptions): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    TZ: timeZone,
    RESTIC_REPOSITORY: repository,
    RESTIC_PASSWORD: password.toString(),
    RESTIC_PROGRESS_FPS: '0.001',
  }
}

/** Runs restic to its end; its exit code is for the test to judge. What only looks does so without a lock unless told otherwise. */
export function runRestic(args: readonly string[], options: ResticOptions): ResticRun {
  const noLock = options.lock !== true && LOOKING.includes(args[0]!) ? ['--no-lock'] : []
  const { status, stdout, stderr, error } = spawnSync(
    resticPath(options.program ?? 'restic'),
    ['--no-cache', ...noLock, ...args],
    {
      env: resticEnvironment(options),
      input: options.input ?? '',
      cwd: options.cwd,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    },
  )
  if (error) throw error
  return { status, stdout, stderr }
}
