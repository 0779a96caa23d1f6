import type { Repository } from '../engine/repository/repository.ts'
import { type LockKind, type RepositoryAccess, withRepository } from './access.ts'
import { OperationError } from './error.ts'
import type { Observer, Progress } from './event.ts'
import { runOperation } from './run-operation.ts'

export interface Surroundings {
  readonly observe: Observer
  readonly signal: AbortSignal
}

/**
 * Runs an operation on one repository, from `started` to `finished`, under its lock. Rejects with `USAGE` when something is to
 * change without a lock: others would not know, and what they do meanwhile could be lost.
 */
export async function runInRepository<R extends { readonly outcome: string }>(
  access: RepositoryAccess,
  options: Surroundings & {
    readonly operation: string
    readonly lock: LockKind
    readonly changes: boolean
    readonly uncached?: boolean
  },
  task: (repository: Repository, signal: AbortSignal) => Promise<R>,
  summary: (report: R) => Readonly<Record<string, unknown>>,
): Promise<R> {
  const { operation, lock, changes, uncached = false, observe, signal } = options
  return runOperation(
    { operation, subject: access.location, observe, signal },
    async () => {
      if (changes) requireLock(access, operation)
      return withRepository(access, { lock, uncached, signal }, (repository, lockSignal) =>
        task(repository, lockSignal ?? signal),
      )
    },
    summary,
  )
}

export function requireLock(access: RepositoryAccess, operation: string): void {
  if (!access.noLock) return
  throw new OperationError('USAGE', `Cannot ${operation} without a lock: it changes the repository`, {
    hint: 'Leave --no-lock out, or add --dry-run',
  })
}

/** Announces a phase, and hands on how far it got. */
export function phaseOf(observe: Observer, phase: string): (done: Progress, total?: Progress) => void {
  observe({ type: 'phase', phase })
  return (done, total) => observe({ type: 'progress', phase, done, ...(total ? { total } : {}) })
}
