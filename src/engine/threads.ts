import { availableParallelism } from 'node:os'
import { parentPort, type Transferable, Worker, workerData } from 'node:worker_threads'
import { CodedError, EngineError, type EngineErrorCode } from './error.ts'
import { isPublicOnly, PUBLIC_ONLY } from './process-library.ts'

export interface ThreadsOptions<From> {
  /** What each thread runs. */
  readonly program: URL
  /** Of a thread, by its number: cloned into it, where `threadSetUp` has it. */
  readonly setUp: (thread: number) => unknown
  /** By default one for each processor. */
  readonly count?: number | undefined
  /** Of each thread's young generation; 4 by default. Buffers that die young take memory until it is full. */
  readonly youngMegabytes?: number | undefined
  readonly onMessage: (thread: number, message: From) => void
  /** Told of the first failure only: an error that a thread reported or died of, or that it ended by itself. */
  readonly onFailure: (error: EngineError) => void
}

/** An error on its way between threads, where classes and causes do not survive. */
interface ReportedFailure {
  readonly failure: Pick<CodedError, 'message' | 'hint' | 'facts'> & {
    /** Undefined for a defect. */
    readonly code: string | undefined
    /** For the developer. */
    readonly trace: string
  }
}

/** What a thread is told to end with, behind whatever it was told before. */
const END = 'end'

interface ThreadData {
  readonly setUp: unknown
  /** Not 0 once all threads of one owner are to end. */
  readonly ending: Int32Array<SharedArrayBuffer>
}

/**
 * Threads that run one program, by number from 0 on. They run until they are disposed of; after a failure nothing of them is heard.
 *
 * No thread is ever terminated from outside: one that is inside a function of a native module then, such as koffi, takes the whole
 * process down with it (Node-API has no way to throw where nothing may run any more). They are told to end, and do between two
 * pieces of work.
 */
export class Threads<To, From extends object> implements AsyncDisposable {
  readonly #workers: Worker[] = []
  readonly #ended: Promise<void>[] = []
  readonly #ending = new Int32Array(new SharedArrayBuffer(4))
  readonly #options: ThreadsOptions<From>
  #over = false

  /** `SYSTEM` when the system does not let a single thread start; fewer than asked for must do. */
  constructor(options: ThreadsOptions<From>) {
    this.#options = options
    const count = options.count ?? availableParallelism()
    while (this.#workers.length < count && this.start());
  }

  get count(): number {
    return this.#workers.length
  }

  post(thread: number, message: To, transfer: readonly Transferable[] = []): void {
    this.#workers[thread]!.postMessage(message, transfer)
  }

  /** When it resolves, no thread runs. A thread that waits for something else than messages has to be woken for that. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    Atomics.store(this.#ending, 0, 1)
    for (const worker of this.#workers) worker.postMessage(END)
    await Promise.all(this.#ended)
  }

  /** One more. False where the system gives none. */
  start(): boolean {
    let worker: Worker
    try {
      worker = new Worker(this.#options.program, {
        workerData: {
          setUp: this.#options.setUp(this.#workers.length),
          ending: this.#ending,
        } satisfies ThreadData,
        env: environment(),
        // Its young generation holds next to nothing that lives: small, it is swept in the cache.
        resourceLimits: { maxYoungGenerationSizeMb: this.#options.youngMegabytes ?? 2 },
      })
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ERR_WORKER_INIT_FAILED') throw cause
      if (this.#workers.length > 0) return false
      throw new EngineError('SYSTEM', 'Cannot start a thread', { cause })
    }
    const thread = this.#workers.push(worker) - 1
    this.#ended.push(new Promise((resolve) => worker.once('exit', () => resolve())))
    worker.on('message', (message: From | ReportedFailure) => {
      if (this.#over) return
      if ('failure' in message) this.#fail(errorOf(message))
      else this.#options.onMessage(thread, message)
    })
    const died = (cause: unknown) => this.#fail(threadFailure(cause))
    worker.on('error', died)
    worker.on('messageerror', died)
    worker.on('exit', () => this.#fail(new EngineError('SYSTEM', 'Cannot go on: a thread ended by itself')))
    return true
  }

  #fail(error: EngineError): void {
    if (this.#over) return
    this.#over = true
    this.#options.onFailure(error)
  }
}

/** What `start` makes of threads; undefined where the system gives none (`SYSTEM`), for who can do without. */
export function unlessRefused<Started>(start: () => Started): Started | undefined {
  try {
    return start()
  } catch (error) {
    if (!(error instanceof EngineError && error.code === 'SYSTEM')) throw error
    return undefined
  }
}

/**
 * Where Node.js keeps what it compiled is read as a thread starts: with it a start takes half as long. The password may be in the
 * environment: none of a thread's business.
 */
const COMPILE_CACHE = 'NODE_COMPILE_CACHE'

function environment(): Record<string, string> {
  const cache = process.env[COMPILE_CACHE]
  return {
    ...(isPublicOnly() ? { [PUBLIC_ONLY]: '1' } : {}),
    ...(cache === undefined ? {} : { [COMPILE_CACHE]: cache }),
  }
}

function errorOf({ failure: { code, message, hint, facts, trace } }: ReportedFailure): EngineError {
  return code === undefined
    ? threadFailure(new Error(message, { cause: trace }))
    : new EngineError(code as EngineErrorCode, message, { hint, facts, cause: trace })
}

function threadFailure(cause: unknown): EngineError {
  const { message } = cause instanceof Error ? cause : new Error(String(cause))
  return new EngineError('SYSTEM', `Cannot go on: a thread failed: ${message}`, { cause })
}

/** In a thread: tells the threads' owner of an error, which ends all of them. */
export function reportFailure(error: unknown): void {
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  const { code, hint, facts } =
    error instanceof CodedError ? error : { code: undefined, hint: undefined, facts: {} as CodedError['facts'] }
  parentPort!.postMessage({
    failure: { code, message, hint, facts, trace: stack ?? message },
  } satisfies ReportedFailure)
}

/** In a thread: what its owner set it up with. */
export function threadSetUp<SetUp>(): SetUp {
  return (workerData as ThreadData).setUp as SetUp
}

/** In a thread: whether it is to end. Long work asks between its pieces. */
export function isEnding(): boolean {
  return Atomics.load((workerData as ThreadData).ending, 0) !== 0
}

/** In a thread: handles messages in the order in which they come, until it is told to end. What is thrown ends all threads. */
export function serve<To>(handle: (message: To) => void | Promise<void>): void {
  delete process.env[COMPILE_CACHE] // has been read
  let last: Promise<void> = Promise.resolve()
  parentPort!.on('message', (message: To | typeof END) => {
    if (message === END) return parentPort!.close()
    last = last.then(() => (isEnding() ? undefined : handle(message as To))).catch(reportFailure)
  })
}

interface Numbered<Content> {
  readonly number: number
  readonly content: Content
}

/**
 * Threads that answer jobs, each with a result. A job is sent at once to whoever has least to do: callers keep no more under way
 * than `capacity`. The first failure of any thread ends all: every job rejects with it.
 */
export class JobThreads<Job, Result> implements AsyncDisposable {
  readonly #threads: Threads<Numbered<Job>, Numbered<Result>>
  readonly #jobs: Map<number, PromiseWithResolvers<Result>>[] = []
  #next = 0
  #failure: { readonly error: unknown } | undefined
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = () => this.#fail(this.#signal!.reason)

  constructor(options: {
    readonly program: URL
    readonly setUp: unknown
    readonly count?: number | undefined
    readonly youngMegabytes?: number | undefined
    readonly signal?: AbortSignal | undefined
  }) {
    this.#threads = new Threads({
      ...options,
      setUp: () => options.setUp,
      onMessage: (thread, { number, content }) => {
        const job = this.#jobs[thread]!.get(number)
        this.#jobs[thread]!.delete(number)
        job?.resolve(content)
      },
      onFailure: (error) => this.#fail(error),
    })
    for (let thread = 0; thread < this.#threads.count; thread++) this.#jobs.push(new Map())
    this.#signal = options.signal
    this.#signal?.addEventListener('abort', this.#onAbort)
    if (this.#signal?.aborted) this.#onAbort()
  }

  /** Jobs that keep all threads busy: one to do for each, and one so that it never waits. */
  get capacity(): number {
    return 2 * this.#threads.count
  }

  run(job: Job, transfer: readonly Transferable[] = []): Promise<Result> {
    if (this.#failure) return Promise.reject(this.#failure.error)
    const least = this.#jobs.reduce((best, { size }, thread) => (size < this.#jobs[best]!.size ? thread : best), 0)
    const number = this.#next++
    const pending = Promise.withResolvers<Result>()
    this.#threads.post(least, { number, content: job }, transfer)
    this.#jobs[least]!.set(number, pending)
    return pending.promise
  }

  /** Rejects what is under way. When it resolves, no thread runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#fail(new EngineError('INTERRUPTED', 'Cannot do more: the threads were ended'))
    await this.#threads[Symbol.asyncDispose]()
  }

  #fail(error: unknown): void {
    if (this.#failure) return
    this.#failure = { error }
    for (const jobs of this.#jobs) {
      for (const { reject } of jobs.values()) reject(error)
      jobs.clear()
    }
  }
}

/** What is to be transferred with bytes that are not needed here any more: nothing when they share their memory with others. */
export function ownMemory({ buffer, length }: Uint8Array): readonly Transferable[] {
  return buffer instanceof ArrayBuffer && buffer.byteLength === length ? [buffer] : []
}

/**
 * In a thread of `JobThreads`: does jobs in the order in which they come. What `prepare` or a job throws ends all threads; what
 * belongs to one job alone is for its result to say.
 */
export function serveJobs<SetUp, Job, Result>(prepare: (setUp: SetUp) => (job: Job) => Result): void {
  let perform: (job: Job) => Result
  try {
    perform = prepare(threadSetUp<SetUp>())
  } catch (error) {
    reportFailure(error)
    return
  }
  serve<Numbered<Job>>(({ number, content }) => {
    parentPort!.postMessage({ number, content: perform(content) } satisfies Numbered<Result>)
  })
}
