import { posix } from 'node:path'
import type { Config } from '../application/config/config.ts'
import type { ApplicationService } from '../application/host/application-service.ts'
import { type Account, findAccount } from '../engine/os/accounts.ts'

/** How the application runs on this machine, by its config alone; undefined when the config does not say. */
export function applicationHere(config: Config): ApplicationService | undefined {
  const { service, root, environment, stateDirectory, components } = config
  if (service === undefined) return undefined
  return {
    manager: service.manager,
    name: service.name,
    start: service.start,
    stop: service.stop,
    root,
    account: accountOf(config),
    ecosystem: components.find(({ kind }) => kind === 'pm2')?.paths[0],
    environment,
    outputFile: posix.join(stateDirectory, 'service.log'),
  }
}

/** Of the owner, where there is one on this machine by now. */
export function accountOf({ owner }: Pick<Config, 'owner'>): Account | undefined {
  return owner === undefined ? undefined : findAccount(owner.user)
}
