import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Account } from '../../engine/os/accounts.ts'
import { ApplicationError } from '../error.ts'
import { asAccount, environmentOf } from './run-as.ts'
import { runShell } from './run-shell.ts'
import { type ServiceSpec, type ServiceState, serviceState, startService, stopService } from './service.ts'

/** How an application runs on this machine, and as whom. */
export interface ApplicationService {
  readonly manager: 'pm2' | 'systemd' | 'command'
  /** Of the process or unit; absent only for `command`. */
  readonly name: string | undefined
  /** Shell commands of `command`. */
  readonly start: string | undefined
  readonly stop: string | undefined
  /** The application's folder. */
  readonly root: string
  /** Whose pm2 it is, and as whom commands run. Undefined: as whoever we are. */
  readonly account: Account | undefined
  /** `pm2` only: the ecosystem file, and which of its environments. */
  readonly ecosystem?: string | undefined
  readonly environment?: string | undefined
  /** `command` only: where what it prints goes. Made with mode 0600, begun anew with each start. */
  readonly outputFile: string
}

/** A `start` command that runs longer is the application itself. */
const START_MILLISECONDS = 5_000

/** How the service is called where one is named: `pm2:NAME`, `systemd:UNIT`; undefined for a command. */
export function serviceSpec({ manager, name }: Pick<ApplicationService, 'manager' | 'name'>): ServiceSpec | undefined {
  return manager === 'command' || name === undefined ? undefined : `${manager}:${name}`
}

/** Undefined for a command: nobody keeps an eye on it. */
export async function applicationState(
  application: ApplicationService,
  signal?: AbortSignal,
): Promise<ServiceState | undefined> {
  const spec = serviceSpec(application)
  return spec === undefined ? undefined : serviceState(spec, { ...optionsOf(application), signal })
}

/**
 * Resolves when the manager says that the application runs, or its `start` command has ended well or runs on. Rejects with
 * `SERVICE`, `COMMAND`, `TOOL_MISSING`. Whether it is healthy is for `checkApplication` to see.
 */
export async function startApplication(application: ApplicationService, signal?: AbortSignal): Promise<void> {
  const spec = serviceSpec(application)
  if (spec !== undefined) return startService(spec, { ...optionsOf(application), signal })
  if (application.start !== undefined) await runStart(application.start, application, signal)
}

/** One that is not running, or that the manager does not know, is no error. */
export async function stopApplication(application: ApplicationService, signal?: AbortSignal): Promise<void> {
  const { stop, root, account } = application
  const spec = serviceSpec(application)
  if (spec !== undefined) {
    const options = { ...optionsOf(application), signal }
    const state = await serviceState(spec, options)
    if (state !== 'absent' && state !== 'stopped') await stopService(spec, options)
  } else if (stop !== undefined) await runShell(stop, { what: 'stop', cwd: root, account, signal })
}

function optionsOf({ manager, account, ecosystem, environment }: ApplicationService) {
  return manager === 'pm2' ? { account, ecosystem, environment } : {}
}

/** Its output goes into a file rather than a pipe: what it starts lives on without us. */
async function runStart(command: string, application: ApplicationService, signal?: AbortSignal): Promise<void> {
  const { root, account, outputFile } = application
  await mkdir(dirname(outputFile), { recursive: true, mode: 0o700 })
  await using output = await open(outputFile, 'w', 0o600)
  signal?.throwIfAborted()
  const [program, ...args] = asAccount(account, 'sh', ['-c', command])
  const child = spawn(program, args, {
    cwd: root,
    env: environmentOf(account),
    stdio: ['ignore', output.fd, output.fd],
    detached: true,
  })
  const ended = once(child, 'exit')
  const pause = new AbortController()
  try {
    const end = await Promise.race([
      ended.then(([code]) => ({ code: code as number | null })),
      sleep(START_MILLISECONDS, undefined, { signal: pause.signal }),
    ])
    child.unref()
    if (end === undefined || end.code === 0) return
    const said = (await readFile(outputFile, 'utf8')).trim().split('\n').slice(-10).join('\n')
    throw new ApplicationError('COMMAND', `The start command failed: it ended with exit code ${end.code}`, {
      facts: { command, said },
      hint: `The command is \`${command}\`; the last that it said:\n${said}`,
    })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).syscall === undefined) throw cause
    throw new ApplicationError('COMMAND', `Cannot run the start command: ${(cause as Error).message}`, { cause })
  } finally {
    pause.abort()
    ended.catch(() => {}) // that it could not be started was reported above
  }
}
