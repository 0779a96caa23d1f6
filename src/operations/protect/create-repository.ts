import { createRepository } from '../../engine/repository/repository.ts'
import { type RepositoryAccess, storageAt, withRepository } from '../access.ts'

export interface CreateRepositoryReport {
  readonly id: string
  readonly location: string
  readonly version: 1 | 2
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
  const { config } = await createRepository(storageAt(access), {
    password: await access.password(),
    signal,
    ...(other ? { polynomial: other.polynomial } : {}),
    ...(options.version ? { version: options.version } : {}),
  })
  return { id: config.id, location: access.location, version: config.version }
}
