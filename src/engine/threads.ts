import { availableParallelism } from 'node:os'
import { parentPort, type Transferable, Worker, workerData } from 'node:worker_threads'
import { CodedError, EngineError, type EngineErrorCode } from './error.ts'
import { isPublicOnly, PUBLIC_ONLY } from './process-library.ts'

export interface ThreadsOptions<From> {
  /** What each thread runs. */
  readonly program: URL
  /** Cloned into each thread, as its `workerData`. */
  readonly setUp: unknown
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

/** Threads that run one program, by number from 0 on. They run until they are disposed of; after a failure nothing of them is heard. */
export class Threads<To, From extends object> implements AsyncDisposable {
  readonly #workers: Worker[] = []
  readonly #options: ThreadsOptions<From>
  #over = false

  /** `SYSTEM` when the system does not let a single thread start; fewer than asked for must do. */
  constructor(options: ThreadsOptions<From>) {
    this.#options = options
    const count = options.count ?? availableParallelism()
    while (this.#workers.length < count && this.#start());
  }

  get count(): number {
    return this.#workers.length
  }

  post(thread: number, message: To, transfer: readonly Transferable[] = []): void {
    this.#workers[thread]!.postMessage(message, transfer)
  }

  /** When it resolves, no thread runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true
    await Promise.all(this.#workers.map((worker) => worker.terminate()))
  }

  #start(): boolean {
    let worker: Worker
    try {
      worker = new Worker(this.#options.program, {
        workerData: this.#options.setUp,
        // The password may be in the environment: none of a thread's business.
        env: isPublicOnly() ? { [PUBLIC_ONLY]: '1' } : {},
        // Its young generation holds next to nothing that lives: small, it is swept in the cache.
        resourceLimits: { maxYoungGenerationSizeMb: this.#options.youngMegabytes ?? 4 },
      })
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ERR_WORKER_INIT_FAILED') throw cause
      if (this.#workers.length > 0) return false
      throw new EngineError('SYSTEM', 'Cannot start a thread', { cause })
    }
    const thread = this.#workers.push(worker) - 1
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
    perform = prepare(workerData as SetUp)
  } catch (error) {
    reportFailure(error)
    return
  }
  parentPort!.on('message', ({ number, content }: Numbered<Job>) => {
    try {
      parentPort!.postMessage({ number, content: perform(content) } satisfies Numbered<Result>)
    } catch (error) {
      reportFailure(error)
    }
  })
}
