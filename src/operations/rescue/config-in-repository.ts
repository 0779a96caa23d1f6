import type { Config } from '../../application/config/config.ts'
import { CodedError } from '../../engine/error.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { begunRecovery } from '../recovery/begun-recovery.ts'
import { chooseApp, readSnapshotConfig, relocateConfig } from '../recovery/snapshot-config.ts'
import { chooseSnapshot } from '../restore/snapshot-choice.ts'

/**
 * The config of an application as its newest snapshot has it, for when the one on the machine is gone; where a recovery to another
 * place was begun here, as it is there.
 */
export async function configInRepository(
  access: RepositoryAccess,
  app: string | undefined,
  signal: AbortSignal,
): Promise<Config> {
  return withRepository(access, { lock: 'shared', signal }, async (repository, lockSignal) => {
    const inner = lockSignal ?? signal
    const name = await chooseApp(repository, app, inner)
    const config = await readSnapshotConfig(
      await chooseSnapshot(repository, { name: 'latest', app: name }, inner),
      inner,
    )
    const begun = await begunRecovery(config).catch((error: unknown) => {
      if (error instanceof CodedError) return undefined // one that is at work, or no record: the look says so
      throw error
    })
    return begun === undefined ? config : relocateConfig(config, begun.relocation, 'snapshot').config
  })
}
