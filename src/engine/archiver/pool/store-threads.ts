import { availableParallelism } from 'node:os'
import { Threads } from '../../threads.ts'
import type { FromWorker, ToWorker } from './protocol.ts'

export interface StoreThreadsOptions {
  /** See `store-worker.ts`. */
  readonly program: URL
  /** Threads at most; by default one for each processor. */
  readonly workers?: number | undefined
  /** One less to begin with: the caller is busy itself, and keeps a processor from them. */
  readonly oneLess?: boolean | undefined
}

/** Whom they answer. */
export interface StoreThreadsOwner {
  onMessage(thread: number, message: FromWorker): void
  /** Told of the first failure only. */
  onFailure(error: unknown): void
}

/**
 * The threads of one `StorePool`. They load their program as soon as they are there, which takes 0.1 s and may be done before the
 * repository is open: what they store into is said to them later.
 */
export class StoreThreads implements AsyncDisposable {
  readonly #threads: Threads<ToWorker, FromWorker>
  #owner: StoreThreadsOwner | undefined
  #failure: { readonly error: unknown } | undefined

  /** How many there may be. */
  readonly most: number

  /** `SYSTEM` when the system does not let a single thread start. */
  constructor({ program, workers = availableParallelism(), oneLess = false }: StoreThreadsOptions) {
    this.most = workers
    this.#threads = new Threads<ToWorker, FromWorker>({
      program,
      setUp: () => undefined,
      count: oneLess ? Math.max(1, workers - 1) : workers,
      // None says anything before it is set up, which is for the owner to do.
      onMessage: (thread, message) => this.#owner?.onMessage(thread, message),
      onFailure: (error) => {
        this.#failure = { error }
        this.#owner?.onFailure(error)
      },
    })
  }

  get count(): number {
    return this.#threads.count
  }

  /** One more. False where the system gives none. */
  start(): boolean {
    return this.#threads.start()
  }

  /** For one owner only, who may be told of a failure at once. */
  answerTo(owner: StoreThreadsOwner): void {
    this.#owner = owner
    if (this.#failure) owner.onFailure(this.#failure.error)
  }

  post(thread: number, message: ToWorker): void {
    this.#threads.post(thread, message)
  }

  /** When it resolves, no thread runs. May be asked for more than once. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#threads[Symbol.asyncDispose]()
  }
}
