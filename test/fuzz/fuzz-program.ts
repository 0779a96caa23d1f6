/**
 * `fuzz-program.ts`: feeds parsers with inputs as told by jobs, lines of JSON on its input, and reports on descriptor 3. It runs with
 * little memory and is watched: when it dies or falls silent, whoever started it knows at which input.
 */
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { getHeapStatistics } from 'node:v8'
import { CodedError } from '../../src/engine/error.ts'
import { InputMaker } from './fuzz-input.ts'
import { FuzzRandom, textHash } from './fuzz-random.ts'
import type { FuzzJob, FuzzReport } from './fuzz-run.ts'
import type { FuzzTarget } from './fuzz-target.ts'
import { fuzzTargets } from './fuzz-targets.ts'

/** Of the processor, for one input: far above what any takes, and far below what a user would wait for. */
const MILLISECONDS = 2000
/** Faults of the machine, which no input may look like. */
const NEVER = new Set(['SYSTEM', 'SELF_CHECK', 'INTERRUPTED'])

const gc = (globalThis as { gc?: () => void }).gc!
const memory = (): number => {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics()
  return heap + external
}

function report(value: FuzzReport): void {
  const bytes = Buffer.from(`${JSON.stringify(value)}\n`)
  for (let done = 0; done < bytes.length; ) done += writeSync(3, bytes, done)
}

interface Run {
  readonly outcome: unknown
  readonly milliseconds: number
  readonly bytes: number
}

async function runOnce(target: FuzzTarget, input: Buffer, random: FuzzRandom): Promise<Run> {
  const before = memory()
  const begun = process.threadCpuUsage().user
  let outcome: unknown
  try {
    const result = target.parse(input, random)
    outcome = result instanceof Promise ? await result : result
  } catch (error) {
    outcome = error ?? new Error('it threw nothing')
  }
  return { outcome, milliseconds: (process.threadCpuUsage().user - begun) / 1000, bytes: memory() - before }
}

/** What is wrong with a run, if anything; what the collector may have caused is tried again. */
async function findingOf(
  run: Run,
  target: FuzzTarget,
  input: Buffer,
  again: () => Promise<Run>,
): Promise<string | undefined> {
  const { outcome } = run
  if (outcome instanceof Error && !(outcome instanceof CodedError && !NEVER.has(outcome.code))) {
    return outcome.stack ?? String(outcome)
  }
  // Of a second time it may be less: what runs long is compiled.
  if (run.milliseconds > MILLISECONDS)
    return `it takes ${Math.round(run.milliseconds)} ms of the processor, expected at most ${MILLISECONDS}`
  const bound = target.memory.base + target.memory.perByte * input.length
  if (run.bytes > bound) {
    gc()
    const least = Math.min(run.bytes, (await again()).bytes)
    if (least > bound) return `it takes ${least} bytes of memory, expected at most ${bound} for ${input.length} bytes`
  }
  return undefined
}

async function runJob({ target: name, seed, from, to, stride, inputs }: FuzzJob): Promise<void> {
  const target = fuzzTargets.find((each) => each.name === name)!
  const maker = new InputMaker(target)
  const random = new FuzzRandom()
  const seedNumber = textHash(seed)
  const targetNumber = textHash(name)
  const counts = { taken: 0, refused: 0 }
  let most = 0
  let slowest = 0
  for (let number = from; number < to; number++) {
    if ((number - from) % stride === 0) report({ kind: 'at', number })
    random.restart(seedNumber, targetNumber, number)
    // The samples come first, as they are: a parser that refuses those is not tested by what is nearly like them.
    const sample = target.samples[number]
    const made = sample === undefined ? maker.make(random) : Buffer.from(sample)
    const input = inputs === undefined ? made : Buffer.from(inputs[number]!, 'base64')
    const choices = random.word()
    const again = () => {
      random.restart(choices, targetNumber, number)
      return runOnce(target, input, random)
    }
    const run = await again()
    const { outcome } = run
    maker.notice(input, outcome)
    if (outcome instanceof Error || outcome === false) counts.refused += 1
    else counts.taken += 1
    most = Math.max(most, (run.bytes - target.memory.base) / Math.max(1, input.length))
    slowest = Math.max(slowest, run.milliseconds)
    const finding = await findingOf(run, target, input, again)
    if (finding !== undefined) report({ kind: 'finding', number, reason: finding, input: input.toString('base64') })
  }
  report({ kind: 'done', ...counts, reasons: maker.reasons, perByte: Math.ceil(most), slowest: Math.ceil(slowest) })
}

report({ kind: 'ready' })
for await (const line of createInterface(process.stdin)) await runJob(JSON.parse(line) as FuzzJob)
