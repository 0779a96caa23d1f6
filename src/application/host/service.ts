import { stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Account } from '../../engine/os/accounts.ts'
import { ApplicationError } from '../error.ts'
import { minimalEnvironment, type ProgramResult, programFailure, runProgram } from '../program.ts'
import { asAccount, homeOf, isForeign } from './run-as.ts'

/** `pm2:NAME` or `systemd:UNIT`. */
export type ServiceSpec = `pm2:${string}` | `systemd:${string}`

/** `changing`: on its way up or down. `absent`: the manager knows no such service. */
export type ServiceState = 'running' | 'stopped' | 'failed' | 'changing' | 'absent'

export interface ServiceOptions {
  readonly signal?: AbortSignal | undefined
  /** Whose pm2 it is. pm2 keeps one daemon a user, so root does not see that of another. */
  readonly account?: Account | undefined
  /** `pm2:` only: the ecosystem file that starts the service where pm2 does not know it yet. */
  readonly ecosystem?: string | undefined
  /** `pm2:` only: with `production`, what the file says in `env_production` is in force. */
  readonly environment?: string | undefined
}

/** A service that takes longer than this to start or stop hangs; systemd's own limit is 90 s. */
const LIMIT_MS = 120_000

/** Resolves when the service has stopped; one that is not running is no error. Throws `SERVICE`, `TOOL_MISSING`. */
export async function stopService(spec: ServiceSpec, options: ServiceOptions = {}): Promise<void> {
  const { manager, name } = parseSpec(spec)
  const state = await serviceState(spec, options)
  if (state === 'absent') throw unknownService(spec)
  if (manager === 'systemd') await change('stop', spec, options, 'systemctl', ['stop', '--', name])
  else if (state !== 'stopped') await change('stop', spec, options, 'pm2', ['stop', name, '--silent'])
}

/** Resolves when the manager says that the service has started; its health is for the caller to see. */
export async function startService(spec: ServiceSpec, options: ServiceOptions = {}): Promise<void> {
  const { manager, name } = parseSpec(spec)
  const state = await serviceState(spec, options)
  if (state === 'running') return
  if (state === 'absent' && (manager === 'systemd' || options.ecosystem === undefined)) throw unknownService(spec)
  // One that has failed too often is refused any further start for a while, unless that is forgotten.
  if (manager === 'systemd' && state === 'failed') {
    await change('start', spec, options, 'systemctl', ['reset-failed', '--', name])
  }
  const [program, args] =
    manager === 'systemd'
      ? ['systemctl', ['start', '--', name]]
      : state === 'absent'
        ? ['pm2', ['start', options.ecosystem as string, '--only', name, ...environmentOf(options)]]
        : ['pm2', ['start', name]]
  await change('start', spec, options, program as string, args as string[])
  const after = await serviceState(spec, options)
  if (after === 'failed' || after === 'stopped' || after === 'absent') {
    throw new ApplicationError('SERVICE', `Cannot start ${spec}: its state is ${after}, expected running`, {
      facts: { service: spec, state: after },
      hint: logHint(spec),
    })
  }
}

/** pm2 takes a relative `script` from where it is run, not from where the file lies. */
function folderFor({ account, ecosystem }: ServiceOptions): { readonly cwd?: string } {
  if (ecosystem !== undefined) return { cwd: dirname(ecosystem) }
  return isForeign(account) ? { cwd: account.home } : {}
}

function environmentOf({ environment }: ServiceOptions): string[] {
  return environment === undefined ? [] : ['--env', environment]
}

/** Asks the manager; starts nothing, not even the pm2 daemon. */
export async function serviceState(spec: ServiceSpec, options: ServiceOptions = {}): Promise<ServiceState> {
  const { manager, name } = parseSpec(spec)
  return manager === 'systemd' ? systemdState(spec, name, options) : pm2State(spec, name, options)
}

async function systemdState(spec: ServiceSpec, name: string, options: ServiceOptions): Promise<ServiceState> {
  const properties = '--property=LoadState,ActiveState'
  const result = await run(spec, options, 'systemctl', ['show', properties, '--', name])
  if (result.exitCode !== 0) {
    if (/not been booted with systemd/.test(result.stderr)) return 'absent'
    throw refused(`Cannot ask for the state of ${spec}`, spec, result)
  }
  const property = (key: string): string | undefined =>
    new RegExp(`^${key}=(.*)$`, 'm').exec(result.stdout.toString('utf8'))?.[1]
  const active = property('ActiveState')
  if (active === undefined) throw refused(`Cannot ask for the state of ${spec}`, spec, result)
  if (active === 'active' || active === 'reloading') return 'running'
  if (active === 'activating' || active === 'deactivating') return 'changing'
  if (active === 'failed') return 'failed'
  return property('LoadState') === 'loaded' ? 'stopped' : 'absent'
}

async function pm2State(spec: ServiceSpec, name: string, options: ServiceOptions): Promise<ServiceState> {
  const states = await pm2Processes(spec, name, options)
  if (states.length === 0) return 'absent'
  const has = (...wanted: string[]): boolean => states.some(({ status }) => wanted.includes(status))
  if (has('errored')) return 'failed'
  if (has('launching', 'stopping', 'waiting restart')) return 'changing'
  return has('online') ? 'running' : 'stopped'
}

/** Takes the processes of a service out of pm2's list, so that it is started from its file anew. None there: nothing to do. */
export async function forgetInPm2(name: string, options: ServiceOptions = {}): Promise<void> {
  const spec: ServiceSpec = `pm2:${name}`
  if ((await pm2Processes(spec, name, options)).length === 0) return
  const result = await run(spec, options, 'pm2', ['delete', name, '--silent'])
  if (result.exitCode !== 0) throw refused(`Cannot take ${spec} out of the list`, spec, result)
}

/** Where pm2 writes what the processes of a service say; none when pm2 does not know it. */
export async function pm2LogFiles(name: string, options: ServiceOptions = {}): Promise<readonly string[]> {
  const processes = await pm2Processes(`pm2:${name}`, name, options)
  return [...new Set(processes.flatMap(({ logs }) => logs))]
}

async function pm2Processes(spec: ServiceSpec, name: string, options: ServiceOptions): Promise<Pm2Process[]> {
  if (!(await pm2DaemonMayRun(options))) return []
  const result = await run(spec, options, 'pm2', ['jlist', '--silent'])
  if (result.exitCode !== 0) throw refused(`Cannot ask for the state of ${spec}`, spec, result)
  return parseProcessList(result, spec).filter((process) => process.name === name)
}

/** Every pm2 command starts a daemon where none runs, so that asking would leave one behind. Its socket tells. */
async function pm2DaemonMayRun(options: ServiceOptions): Promise<boolean> {
  try {
    await stat(join(pm2Home(options), 'rpc.sock'))
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return false
    throw new ApplicationError('SERVICE', `Cannot look for the pm2 daemon in ${pm2Home(options)}`, { cause: error })
  }
}

/** What pm2 runs under is what it starts the service under, so the language is the user's, not ours. */
function pm2Environment(options: ServiceOptions): NodeJS.ProcessEnv {
  const own = { PM2_HOME: pm2Home(options), LANG: process.env.LANG, LC_ALL: process.env.LC_ALL }
  if (options.account === undefined) return minimalEnvironment(own)
  return minimalEnvironment({ ...own, ...homeOf(options.account) })
}

export function pm2Home(options: Pick<ServiceOptions, 'account'>): string {
  if (isForeign(options.account)) return join(options.account.home, '.pm2')
  return process.env.PM2_HOME ?? join(homedir(), '.pm2')
}

interface Pm2Process {
  readonly name: string
  readonly status: string
  readonly logs: readonly string[]
}

/** The list holds the environment of every process; only what is named here is taken out of it. */
function parseProcessList(result: ProgramResult, spec: ServiceSpec): Pm2Process[] {
  const text = result.stdout.toString('utf8')
  const start = text.search(/^\[(\{|\])/m) // notices such as "In-memory PM2 is out-of-date" come before the list
  try {
    const list = JSON.parse(text.slice(start)) as { name: string; pm2_env: Record<string, unknown> }[]
    return list.map(({ name, pm2_env }) => ({
      name: String(name),
      status: String(pm2_env.status),
      logs: [pm2_env.pm_out_log_path, pm2_env.pm_err_log_path].filter((path) => typeof path === 'string'),
    }))
  } catch {
    // The parser's message quotes the text, which holds secrets.
    throw new ApplicationError('SERVICE', `Cannot ask for the state of ${spec}: pm2 answers no list of processes`, {
      facts: { service: spec },
      hint: 'Run `pm2 jlist`',
    })
  }
}

async function change(
  verb: 'start' | 'stop',
  spec: ServiceSpec,
  options: ServiceOptions,
  program: string,
  args: readonly string[],
): Promise<void> {
  const result = await run(spec, options, program, args)
  if (result.exitCode !== 0) throw refused(`Cannot ${verb} ${spec}`, spec, result)
}

async function run(
  spec: ServiceSpec,
  options: ServiceOptions,
  program: string,
  args: readonly string[],
): Promise<ProgramResult> {
  const { account, signal } = options
  const limit = AbortSignal.timeout(LIMIT_MS)
  const isPm2 = program === 'pm2'
  const [command, ...rest] = isPm2 ? asAccount(account, program, args) : [program, ...args]
  try {
    return await runProgram(command, rest, {
      env: isPm2 ? pm2Environment(options) : minimalEnvironment(),
      signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
      maxOutput: 32 * 1024 * 1024,
      ...(isPm2 ? folderFor(options) : {}),
    })
  } catch (error) {
    if (!limit.aborted || signal?.aborted) throw error
    throw new ApplicationError('SERVICE', `${program} ${args[0]} did not answer for ${spec} within ${LIMIT_MS} ms`, {
      facts: { service: spec },
      hint: logHint(spec),
      cause: error,
    })
  }
}

function parseSpec(spec: string): { manager: 'pm2' | 'systemd'; name: string } {
  const match = /^(pm2|systemd):([^\s-][^\s]*|[^\s-][^\n]*\S)$/.exec(spec)
  if (match === null) {
    throw new ApplicationError('CONFIG', `Cannot use "${spec}" as a service: expected pm2:NAME or systemd:UNIT`, {
      facts: { service: spec },
    })
  }
  return { manager: match[1] as 'pm2' | 'systemd', name: match[2] as string }
}

function unknownService(spec: ServiceSpec): ApplicationError {
  const manager = spec.slice(0, spec.indexOf(':'))
  const hint = manager === 'pm2' ? 'Run `pm2 list` as the user who runs the service' : 'Run `systemctl daemon-reload`'
  return new ApplicationError('SERVICE', `Cannot find ${spec}: ${manager} knows no such service`, {
    facts: { service: spec, state: 'absent' },
    hint,
  })
}

function refused(what: string, spec: ServiceSpec, result: ProgramResult): ApplicationError {
  const cause = programFailure(result)
  return new ApplicationError('SERVICE', `${what}: ${cause.message}`, {
    facts: { service: spec, exitCode: result.exitCode ?? undefined },
    hint: logHint(spec),
    cause,
  })
}

function logHint(spec: ServiceSpec): string {
  const name = spec.slice(spec.indexOf(':') + 1)
  return spec.startsWith('pm2:') ? `See \`pm2 logs ${name} --lines 50\`` : `See \`journalctl -u ${name} -n 50\``
}
