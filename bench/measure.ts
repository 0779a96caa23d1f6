import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

export interface Command {
  readonly argv: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

export interface Measurement {
  /** Seconds. */
  readonly wall: number
  /** Seconds of user and system time, of the program and all that it started. */
  readonly cpu: number
  /** Bytes: the largest resident set that one process of it had. */
  readonly peakProcess: number
  /** Bytes: the largest sum over all of its processes seen at one moment; memory that they share counts for each. */
  readonly peakTogether: number
}

export class CommandFailed extends Error {
  override readonly name = 'CommandFailed'
}

const TIME = '/usr/bin/time'
/** Often enough to meet the peak of a run that matters, seldom enough to cost under 1 % of a core. */
const SAMPLE_EVERY = 40
const PAGE = 4096
const STDERR_KEPT = 2000

/** Variables that reach no peer from outside: what is measured must not depend on the shell that asks for it. */
export function peerEnvironment(home: string): Record<string, string> {
  return { PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: home, LANG: 'C.UTF-8', TZ: 'UTC' }
}

/**
 * Runs a command to its end and says what it took. What it prints is thrown away, except the end of its complaints when
 * it fails (`CommandFailed`).
 *
 * @param scratch folder for a small file of measurements
 */
export async function measure(command: Command, scratch: string, signal?: AbortSignal): Promise<Measurement> {
  const report = join(scratch, `time-${process.pid}`)
  const began = process.hrtime.bigint()
  const child = spawn(TIME, ['-q', '-o', report, '-f', '%U %S %M', '--', ...command.argv], {
    cwd: command.cwd,
    env: command.env ?? {},
    stdio: ['ignore', 'ignore', 'pipe'],
    // A process group of its own, so that all of it can be ended.
    detached: true,
  })
  let complaints = ''
  child.stderr.on('data', (bytes: Buffer) => {
    complaints = (complaints + bytes).slice(-STDERR_KEPT)
  })
  const stop = () => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // it ended by itself
    }
  }
  signal?.addEventListener('abort', stop)
  let sampled = 0
  const timer = setInterval(() => {
    if (child.pid !== undefined) sampled = Math.max(sampled, residentBelow(child.pid))
  }, SAMPLE_EVERY)
  try {
    let ended = began
    const [code, killedBy] = await new Promise<[number | null, string | null]>((resolve, reject) => {
      child.on('error', reject)
      child.on('exit', () => {
        ended = process.hrtime.bigint()
      })
      child.on('close', (...end) => resolve(end))
    })
    signal?.throwIfAborted()
    if (code !== 0) {
      const said = complaints.trim().split('\n').slice(-4).join(' | ')
      throw new CommandFailed(`${command.argv.join(' ')}: ${killedBy ?? `exit ${code}`}: ${said}`)
    }
    const [user, system, kilobytes] = readFileSync(report, 'utf8').trim().split(' ').map(Number)
    const peakProcess = kilobytes! * 1024
    return {
      wall: Number(ended - began) / 1e9,
      cpu: user! + system!,
      peakProcess,
      peakTogether: Math.max(peakProcess, sampled),
    }
  } finally {
    clearInterval(timer)
    signal?.removeEventListener('abort', stop)
    rmSync(report, { force: true })
  }
}

/** Bytes resident in all descendants of a process at this moment. */
function residentBelow(pid: number): number {
  let sum = 0
  for (const child of childrenOf(pid)) sum += residentOf(child) + residentBelow(child)
  return sum
}

function childrenOf(pid: number): number[] {
  return readdirIfAlive(`/proc/${pid}/task`).flatMap((task) =>
    readIfAlive(`/proc/${pid}/task/${task}/children`).split(' ').filter(Boolean).map(Number),
  )
}

function residentOf(pid: number): number {
  return Number(readIfAlive(`/proc/${pid}/statm`).split(' ')[1] ?? 0) * PAGE
}

function readIfAlive(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    return whenGone(error, '')
  }
}

function readdirIfAlive(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    return whenGone(error, [])
  }
}

/** Processes end while they are looked at. */
function whenGone<T>(error: unknown, nothing: T): T {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOENT' || code === 'ESRCH') return nothing
  throw error
}
