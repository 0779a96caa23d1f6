import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import type { FuzzTarget } from './fuzz-target.ts'

/** What `fuzz-program.ts` is told: the inputs `from` up to `to` of a target, made from the seed, or these. */
export interface FuzzJob {
  readonly target: string
  readonly seed: string
  readonly from: number
  readonly to: number
  /** After so many inputs it says how far it is. */
  readonly stride: number
  /** In base64. */
  readonly inputs?: readonly string[]
}

export interface FuzzCounts {
  readonly taken: number
  readonly refused: number
  /** Different reasons for which inputs were refused or taken. */
  readonly reasons: number
  /** The most memory that an input took, beyond what any may, for each of its bytes. */
  readonly perByte: number
  /** Of one input, in milliseconds; of a busy machine. */
  readonly slowest: number
}

export type FuzzReport =
  | { readonly kind: 'ready' }
  | { readonly kind: 'at'; readonly number: number }
  | { readonly kind: 'finding'; readonly number: number; readonly reason: string; readonly input: string }
  | ({ readonly kind: 'done' } & FuzzCounts)

export interface FuzzFinding {
  readonly target: string
  readonly number: number
  readonly reason: string
  /** Undefined when the process died before it could say. */
  readonly input: Buffer | undefined
}

export interface FuzzResult {
  readonly target: string
  readonly inputs: number
  readonly counts: FuzzCounts
}

const PROGRAM = join(import.meta.dirname, 'fuzz-program.ts')

/** A process that says nothing for so long hangs. */
const SILENCE = 60_000
/** Inputs of one process for one target; what was found interesting in them is forgotten after it. */
const CHUNK = 100_000
const STRIDE = 256
const ENOUGH_FINDINGS = 5

/** Memory of a process: of JavaScript's heap, and of everything, the threads' stacks and the code of Node.js included. */
const HEAP_MIB = 320
const DATA_MIB = 900
/** Where a frame may claim as much as a text can be long. */
const LARGE_DATA_MIB = 2400

/** Splits the inputs among the targets by their shares; each gets a few at least. */
export function shareInputs(targets: readonly FuzzTarget[], inputs: number): ReadonlyMap<FuzzTarget, number> {
  const all = targets.reduce((sum, { share }) => sum + share, 0)
  return new Map(targets.map((target) => [target, Math.max(50, Math.ceil((inputs * target.share) / all))]))
}

/** Feeds one target, in as many processes, one after the other, as it takes. */
export async function fuzzTarget(
  target: FuzzTarget,
  options: {
    readonly seed: string
    readonly inputs: number | readonly Buffer[]
    readonly processes: FuzzProcesses
    readonly onFinding: (finding: FuzzFinding) => void
  },
): Promise<FuzzResult> {
  const { seed, processes, onFinding } = options
  const given = typeof options.inputs === 'number' ? undefined : options.inputs.map((input) => input.toString('base64'))
  const total = typeof options.inputs === 'number' ? options.inputs : options.inputs.length
  const counts = { taken: 0, refused: 0, reasons: 0, perByte: 0, slowest: 0 }
  let findings = 0
  const find = (finding: FuzzFinding) => {
    findings += 1
    onFinding(finding)
  }
  const isLarge = target.memory.base > 2 ** 28
  for (let from = 0; from < total && findings < ENOUGH_FINDINGS; ) {
    const to = Math.min(total, from + CHUNK)
    const job: FuzzJob = { target: target.name, seed, from, to, stride: STRIDE, ...(given ? { inputs: given } : {}) }
    const end = await processes.run(job, isLarge, find)
    if (end.done) {
      counts.taken += end.done.taken
      counts.refused += end.done.refused
      counts.reasons = Math.max(counts.reasons, end.done.reasons)
      counts.perByte = Math.max(counts.perByte, end.done.perByte)
      counts.slowest = Math.max(counts.slowest, end.done.slowest)
      from = to
      continue
    }
    // The same inputs in the same order up to the one that it died of, which it now names.
    const exact = await processes.run({ ...job, to: Math.min(to, end.at + STRIDE), stride: 1 }, isLarge, () => {})
    const number = exact.done ? end.at : exact.at
    find({ target: target.name, number, reason: `the process ended: ${end.reason}`, input: undefined })
    counts.refused += number - from
    from = number + 1
  }
  return { target: target.name, inputs: total, counts }
}

interface JobEnd {
  readonly done: FuzzCounts | undefined
  /** Where it was when it died. */
  readonly at: number
  readonly reason: string
}

/** Keeps a process at hand, since most of the life of one that does little is loading. */
export class FuzzProcesses implements Disposable {
  #idle: FuzzProcess | undefined

  async run(job: FuzzJob, isLarge: boolean, onFinding: (finding: FuzzFinding) => void): Promise<JobEnd> {
    if (this.#idle && this.#idle.isLarge !== isLarge) this[Symbol.dispose]()
    const process = this.#idle ?? new FuzzProcess(isLarge)
    this.#idle = undefined
    const end = await process.follow(job, onFinding)
    if (end.done) this.#idle = process
    return end
  }

  [Symbol.dispose](): void {
    this.#idle?.end()
    this.#idle = undefined
  }
}

class FuzzProcess {
  readonly isLarge: boolean
  readonly #child: ChildProcess
  readonly #reports: AsyncIterator<string>
  #said = ''

  constructor(isLarge: boolean) {
    this.isLarge = isLarge
    const limit = (isLarge ? LARGE_DATA_MIB : DATA_MIB) * 1024
    const node = [`--max-old-space-size=${HEAP_MIB}`, '--expose-gc', '--disable-warning=ExperimentalWarning']
    const command = ['-c', `ulimit -d ${limit}; exec "$0" "$@"`, process.execPath, ...node, PROGRAM]
    this.#child = spawn('/bin/sh', command, { stdio: ['pipe', 'ignore', 'pipe', 'pipe'] })
    this.#child.stdin!.on('error', () => {}) // it died; its end says why
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#said = (this.#said + text).slice(-3000)
    })
    this.#reports = createInterface(this.#child.stdio[3] as Readable)[Symbol.asyncIterator]()
  }

  /** Lets it end by itself, so that it removes its files. */
  end(): void {
    this.#child.stdin!.end()
  }

  async follow(job: FuzzJob, onFinding: (finding: FuzzFinding) => void): Promise<JobEnd> {
    const { target } = job
    let at = job.from
    let isSilent = false
    const watchdog = setTimeout(() => {
      isSilent = true
      this.#child.kill('SIGKILL')
    }, SILENCE)
    this.#child.stdin!.write(`${JSON.stringify(job)}\n`)
    try {
      for (let line = await this.#reports.next(); !line.done; line = await this.#reports.next()) {
        watchdog.refresh()
        const report = JSON.parse(line.value) as FuzzReport
        if (report.kind === 'at') at = report.number
        else if (report.kind === 'finding') {
          const { number, reason, input } = report
          onFinding({ target, number, reason, input: Buffer.from(input, 'base64') })
        } else if (report.kind === 'done') return { done: report, at, reason: '' }
      }
    } finally {
      clearTimeout(watchdog)
    }
    return { done: undefined, at, reason: isSilent ? `it said nothing for ${SILENCE / 1000} s` : this.#said.trim() }
  }
}
