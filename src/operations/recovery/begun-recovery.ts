import { readdir } from 'node:fs/promises'
import { posix } from 'node:path'
import { z } from 'zod'
import type { Config } from '../../application/config/config.ts'
import { thisHost } from '../../application/config/load-config.ts'
import { defaultStates } from '../../application/config/normalise-config.ts'
import { CodedError } from '../../engine/error.ts'
import { OperationError } from '../error.ts'
import type { Relocation } from '../restore/relocation.ts'
import { readStepRecord, type StepRecord } from '../steps/step-record.ts'

/** What the record of a recovery of a whole application is called, however it was typed. */
export const FULL_RECOVERY = 'restore --full'

/** Where it is noted how far a recovery came, of the whole application or a part. */
export function recoveryRecordOf({ stateDirectory }: Pick<Config, 'stateDirectory'>): string {
  return posix.join(stateDirectory, 'recovery.json')
}

/** A recovery of a whole application that is not at its end, as whoever goes on with it must ask for it. */
export interface BegunRecovery {
  readonly app: string
  readonly relocation: Relocation
  /** The same as it is asked for. */
  readonly relocate: {
    readonly root: string | undefined
    readonly user: string | undefined
    readonly group: string | undefined
    readonly ports: Relocation['ports']
  }
  readonly alsoRewrite: readonly string[]
  readonly withoutSecrets: boolean
  readonly start: boolean
  /** Making the account is one of its steps. */
  readonly createUser: boolean
  /** The operator's own config that was in force; undefined: the one in the snapshot. */
  readonly configFile: string | undefined
  /** age identity files that were given. */
  readonly identities: readonly string[]
  /** Where the repository lay, of a local one. */
  readonly repository: string | undefined
}

/** The recovery that goes on when it is run again; undefined when there is none. Rejects with `IN_USE`, `RESUME`. */
export async function begunRecovery(config: Pick<Config, 'stateDirectory'>): Promise<BegunRecovery | undefined> {
  const file = recoveryRecordOf(config)
  const record = await readStepRecord(file)
  if (record?.operation !== FULL_RECOVERY || (record.state !== 'running' && record.state !== 'undoing'))
    return undefined
  return readBegun(record, file)
}

/**
 * Recoveries on this machine that are not at their end, for whoever does not know of which application: those whose state lies
 * where it lies by default. What cannot be read is passed over: this is for a hint.
 */
export async function begunRecoveriesHere(states = defaultStates(thisHost())): Promise<readonly BegunRecovery[]> {
  const apps = await readdir(states).catch((error: NodeJS.ErrnoException) => {
    if (error.syscall === undefined) throw error
    return []
  })
  const begun: BegunRecovery[] = []
  for (const app of apps.sort()) {
    const recovery = await begunRecovery({ stateDirectory: posix.join(states, app) }).catch((error: unknown) => {
      if (!(error instanceof CodedError) && (error as NodeJS.ErrnoException).syscall === undefined) throw error
      return undefined
    })
    if (recovery !== undefined) begun.push(recovery)
  }
  return begun
}

const change = z.object({ from: z.string(), to: z.string() }).exactOptional()

const requestSchema = z.object({
  relocation: z.object({
    root: change,
    user: change,
    group: change,
    ports: z.array(z.object({ from: z.number(), to: z.number() })),
  }),
  without_secrets: z.boolean(),
  also_rewrite: z.array(z.string()),
  start: z.boolean(),
})

const surroundingsSchema = z.object({
  repository: z.string().optional(),
  config: z.string().optional(),
  identities: z.array(z.string()).default([]),
})

function readBegun({ subject, request, surroundings, steps }: StepRecord, file: string): BegunRecovery {
  const asked = requestSchema.safeParse(request)
  const around = surroundingsSchema.safeParse(surroundings)
  if (!asked.success || !around.success) {
    throw new OperationError('RESUME', `Cannot tell from ${file} how the recovery was begun`, {
      facts: { file },
      hint: 'Run it again with the options that it was begun with, or with --anew: what is in place by then is kept beside the new',
      cause: asked.error ?? around.error,
    })
  }
  const { relocation, without_secrets, also_rewrite, start } = asked.data
  const { config, identities, repository } = around.data
  return {
    app: subject,
    relocation,
    relocate: {
      root: relocation.root?.to,
      user: relocation.user?.to,
      group: relocation.group?.to,
      ports: relocation.ports,
    },
    alsoRewrite: also_rewrite,
    withoutSecrets: without_secrets,
    start,
    createUser: steps.some(({ id }) => id === 'account'),
    configFile: config,
    identities,
    repository,
  }
}

/** What an operator types after `holdfast` to go on with an unfinished run, but for how to get at the repository. */
export function wordsOfRun(record: StepRecord): readonly string[] {
  if (record.operation !== FULL_RECOVERY) return record.operation.split(' ')
  const begun = readBegun(record, 'its record')
  const { root, user, group, ports } = begun.relocate
  const maps = [
    ...(root === undefined ? [] : [`root=${root}`]),
    ...(user === undefined ? [] : [`user=${user}${group === undefined ? '' : `:${group}`}`]),
    ...ports.map(({ from, to }) => `port=${from}:${to}`),
  ]
  return [
    ...FULL_RECOVERY.split(' '),
    ...maps.flatMap((map) => ['--map', map]),
    ...begun.alsoRewrite.flatMap((path) => ['--rewrite', path]),
    ...begun.identities.flatMap((file) => ['--identity', file]),
    ...(begun.configFile === undefined ? [] : ['--config', begun.configFile]),
    ...(begun.createUser ? ['--create-user'] : []),
    ...(begun.withoutSecrets ? ['--without-secrets'] : []),
    ...(begun.start ? [] : ['--no-start']),
  ]
}
