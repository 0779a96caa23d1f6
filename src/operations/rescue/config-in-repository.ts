import type { Config } from '../../application/config/config.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { chooseApp, readSnapshotConfig } from '../recovery/snapshot-config.ts'
import { chooseSnapshot } from '../restore/snapshot-choice.ts'

/** The config of an application as its newest snapshot has it, for when the one on the machine is gone. */
export async function configInRepository(
  access: RepositoryAccess,
  app: string | undefined,
  signal: AbortSignal,
): Promise<Config> {
  return withRepository(access, { lock: 'shared', signal }, async (repository, lockSignal) => {
    const inner = lockSignal ?? signal
    const name = await chooseApp(repository, app, inner)
    return readSnapshotConfig(await chooseSnapshot(repository, { name: 'latest', app: name }, inner), inner)
  })
}
