import type { Finding } from '../../application/finding.ts'
import { createRepository } from '../../engine/repository/repository.ts'
import { type RepositoryAccess, storageAt, withRepository } from '../access.ts'
import { placeRecoveryProgram } from '../interop/place-recovery-program.ts'

export interface CreateRepositoryReport {
  readonly id: string
  readonly location: string
  readonly version: 1 | 2
  /** What keeps the recovery program from lying beside it. */
  readonly findings: readonly Finding[]
}

/** Makes a repository, as restic's `init` does. Rejects with `REPOSITORY_EXISTS` where one is. */
export async function makeRepository(
  access: RepositoryAccess,
  options: {
    readonly version?: 1 | 2
    /** Cut files in the same way as this repository does, so that what is copied from it and what is backed up deduplicate. */
    readonly chunkerOf?: RepositoryAccess | undefined
    readonly signal: AbortSignal
  },
): Promise<CreateRepositoryReport> {
  const { chunkerOf, signal } = options
  const other =
    chunkerOf && (await withRepository(chunkerOf, { lock: 'none', signal }, async (repository) => repository.config))
  const storage = storageAt(access)
  const { config } = await createRepository(storage, {
    password: await access.password(),
    signal,
    ...(other ? { polynomial: other.polynomial } : {}),
    ...(options.version ? { version: options.version } : {}),
  })
  const findings = await placeRecoveryProgram(storage, signal)
  return { id: config.id, location: access.location, version: config.version, findings }
}
