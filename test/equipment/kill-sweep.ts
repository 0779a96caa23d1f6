import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import type { KillableDetails, KillableOperation } from './killable-operations.ts'
import { type SeededRandom, seededRandom } from './seeded-random.ts'
import { temporaryFolder } from './temporary-folder.ts'

/** What `killable-program.ts` is told. */
export interface KillOrder {
  readonly operation: KillableOperation
  readonly details: KillableDetails
  /** The number of the call that changes a file before which it dies, or after which it does, if that is not at once; 0: never. */
  readonly due: number
  readonly milliseconds: number
  /** The signal that comes then. */
  readonly ending: NodeJS.Signals
}

export interface KillSweep {
  readonly operation: KillableOperation
  /** Everything that the operation changes lies here. It is put back to how it was before every run. */
  readonly folder: string
  readonly details: KillableDetails
  /** Holds what must hold after each kill, and that what was cut short can be done again. */
  readonly judge: (moment: string) => Promise<void>
  /** `SIGKILL` unless it is said. With `SIGINT` or `SIGTERM` the operation must end by itself: in exit code 130, or 0 where it came too late. */
  readonly ending?: NodeJS.Signals
  /** Where every other pair of moments lies, as shares of all calls; for what is over in a few of them and must not be missed. */
  readonly stretch?: readonly [from: number, to: number]
  /** How many: in a full run, and otherwise. `HOLDFAST_KILLS` sets another number. */
  readonly kills: { readonly full: number; readonly reduced: number }
}

export const KILL_SEED = process.env.HOLDFAST_SEED ?? String(randomInt(2 ** 32))

/**
 * Runs the operation again and again in a process of its own and kills it: every other time right before a call that changes a
 * file, else some time after one, when its threads are at work. The moments are spread over all calls of a run to the end.
 */
export async function killSweep(t: TestContext, sweep: KillSweep): Promise<void> {
  const { full, reduced } = sweep.kills
  const kills = Number(process.env.HOLDFAST_KILLS ?? (process.env.HOLDFAST_FULL === '1' ? full : reduced))
  const random = seededRandom(`${KILL_SEED} ${sweep.operation}`)
  using own = temporaryFolder({ inMemory: true })
  const pristine = join(own.path, 'pristine')
  copyFolder(sweep.folder, pristine)
  using programs = new Programs()

  const { ending = 'SIGKILL' } = sweep
  const { said } = await programs.run({ ...sweep, ending, due: 0, milliseconds: 0 })
  const [, calls, milliseconds] = (/^(\d+) calls in (\d+) ms$/m.exec(said) ?? []).map(Number) as [
    number,
    number,
    number,
  ]
  assert.ok(calls > 5, `${sweep.operation} makes ${calls} calls that change files: ${said}`)

  let died = 0
  const moments = momentsOf({ ...sweep, kills, calls, gap: milliseconds / calls }, random)
  for (const { due, milliseconds } of moments) {
    rmSync(sweep.folder, { recursive: true })
    copyFolder(pristine, sweep.folder)
    const { signal, code, said: text } = await programs.run({ ...sweep, ending, due, milliseconds })
    const hasEnded = ending === 'SIGKILL' ? signal === ending : code === 130
    assert.ok(hasEnded || code === 0, `${sweep.operation} failed by itself (${code ?? signal}): ${text}`)
    if (hasEnded) died += 1
    const moment = `${ending} ${milliseconds === 0 ? 'before' : `${milliseconds} ms after`} call ${due} of about ${calls}`
    try {
      await sweep.judge(moment)
    } catch (cause) {
      throw new Error(`${sweep.operation}, ${moment} (HOLDFAST_SEED=${KILL_SEED}): ${(cause as Error).message}`, {
        cause,
      })
    }
  }
  t.diagnostic(`${sweep.operation}: ${kills} times ${ending} over ${calls} calls, ${died} of them before it had ended`)
  assert.ok(
    died >= kills / 2 || ending !== 'SIGKILL',
    `only ${died} of ${kills} kills came before ${sweep.operation} had ended`,
  )
}

/** In milliseconds: in longer pauses, such as those for a lock, nothing happens. */
const LONGEST_DELAY = 30

/** One in each of so many equal stretches of the calls, so that few kills are spread as well as many. */
function momentsOf(
  run: Pick<KillSweep, 'stretch'> & { readonly kills: number; readonly calls: number; readonly gap: number },
  random: SeededRandom,
) {
  const { kills, calls, gap, stretch } = run
  return Array.from({ length: kills }, (_, number) => {
    const anywhere = (number + random.next()) / kills
    const [from, to] = stretch !== undefined && number % 4 < 2 ? stretch : [0, 1]
    const share = from + anywhere * (to - from)
    if (number % 2 === 0) return { due: 1 + Math.floor(share * calls), milliseconds: 0 }
    // Not after the last ones: it would have ended by then.
    const milliseconds = Math.ceil(random.next() * Math.min(3 * gap, LONGEST_DELAY))
    const early = from === 0 ? 0.9 : 1
    return { due: 1 + Math.floor(share * early * calls), milliseconds }
  })
}

/** With everything that belongs to the files, also holes and modes. */
function copyFolder(from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', ['-a', '--', from, to], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
}

interface Ended {
  readonly signal: NodeJS.Signals | null
  readonly code: number | null
  readonly said: string
}

/** Starts the next process while the last one is judged: most of its life is loading. */
class Programs implements Disposable {
  #next: { readonly child: ChildProcess; readonly ready: Promise<unknown>; said: string } | undefined

  async run({ operation, details, due, milliseconds, ending }: KillOrder): Promise<Ended> {
    const program = this.#next ?? this.#start()
    this.#next = undefined
    await program.ready
    const ended = once(program.child, 'close')
    const order: KillOrder = { operation, details, due, milliseconds, ending }
    program.child.stdin!.end(`${JSON.stringify(order)}\n`)
    const [code, signal] = (await ended) as [number | null, NodeJS.Signals | null]
    this.#next = this.#start()
    return { code, signal, said: program.said }
  }

  #start() {
    const hook = new URL('./kill-hook.ts', import.meta.url).href
    const program = join(import.meta.dirname, 'killable-program.ts')
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--import', hook, program], {
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const line = once(createInterface(child.stdout!), 'line')
    const started = { child, ready: Promise.race([line, once(child, 'close')]), said: '' }
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        started.said += text
      })
    }
    child.stdin!.on('error', () => {}) // it died before it was told what to do; its end says why
    started.ready.catch(() => {})
    return started
  }

  [Symbol.dispose](): void {
    this.#next?.child.kill('SIGKILL')
  }
}
