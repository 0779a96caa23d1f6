import type { Config } from '../../src/application/config/config.ts'
import { loadConfig } from '../../src/application/config/load-config.ts'
import { archive } from '../../src/engine/archiver/archive.ts'
import { StorePool } from '../../src/engine/archiver/pool/store-pool.ts'
import { now } from '../../src/engine/format/timestamp.ts'
import { encodeTree } from '../../src/engine/format/tree.ts'
import { createChunker } from '../../src/engine/kernels/chunker.ts'
import { BlobWriter } from '../../src/engine/repository/blob-writer.ts'
import { loadIndex } from '../../src/engine/repository/load-index.ts'
import { writeSnapshot } from '../../src/engine/repository/snapshots.ts'
import { type RepositoryAccess, withRepository } from '../../src/operations/access.ts'
import { backupApplication } from '../../src/operations/backup/backup-application.ts'
import { OperationError } from '../../src/operations/error.ts'
import { type RecoverOptions, recover } from '../../src/operations/recovery/recover.ts'
import { copy } from '../../src/operations/repository/copy.ts'
import { repairIndex } from '../../src/operations/repository/repair-index.ts'
import { repairPacks } from '../../src/operations/repository/repair-packs.ts'
import { repairSnapshots } from '../../src/operations/repository/repair-snapshots.ts'
import { tag } from '../../src/operations/repository/tag.ts'
import { rescueDatabase } from '../../src/operations/rescue/rescue-database.ts'
import { restoreInPlace } from '../../src/operations/restore/restore-in-place.ts'
import { restoreToTarget } from '../../src/operations/restore/restore-to-target.ts'
import { forget } from '../../src/operations/retention/forget.ts'
import { prune } from '../../src/operations/retention/prune.ts'
import { PASSWORD, snapshotOf } from './test-repository.ts'

/** What an operation needs to know; which of it, the operation says. */
export interface KillableDetails {
  readonly repository: string
  readonly other?: string
  readonly source?: string
  readonly target?: string
  readonly config?: string
  readonly packs?: readonly string[]
  readonly rollback?: boolean
}

const NEVER = new AbortController().signal
const observe = () => {}
const PROGRAM = new URL('../../src/engine/archiver/pool/store-worker-main.ts', import.meta.url)
/** Of the host whose snapshots may go; see `forget`. */
export const FORGETTABLE = 'changing'

function accessTo(location: string): RepositoryAccess {
  return { location, password: async () => PASSWORD }
}

/**
 * A backup by the parts of the engine, so that threads and several packs and index files are there although little is stored.
 */
async function backup({ repository, source }: KillableDetails, until = NEVER): Promise<void> {
  await withRepository(accessTo(repository), { lock: 'shared', signal: until }, async (plain, signal) => {
    const indexed = await loadIndex(plain, signal)
    await using writer = new BlobWriter(indexed, { packSize: 400_000, indexSize: 40, signal })
    await using files = new StorePool({
      repository: indexed,
      writer,
      threads: { program: PROGRAM, workers: 2 },
      packSize: 400_000,
      signal,
    })
    const chunker = createChunker(indexed.config.polynomial)
    const { nodes } = await archive([Buffer.from(source!)], { sink: writer, chunker, files, signal })
    await files.finish()
    const { id } = await writer.save('tree', encodeTree(nodes))
    await writer.finish()
    await writeSnapshot(plain, snapshotOf(id, { time: now(), hostname: FORGETTABLE, paths: [source!] }), signal)
  })
}

async function applicationOf({ repository, config: file }: KillableDetails) {
  return { config: await loadConfig(file!), access: accessTo(repository) }
}

/** Three components are brought back, on the machine of the application. */
export function rescueOf(config: Config): Omit<RecoverOptions, 'observe' | 'signal'> {
  return {
    choice: { name: 'latest', app: config.app },
    config,
    part: { kind: 'components', names: ['config', 'data', 'secrets'], install: false },
    relocate: { ports: [] },
    alsoRewrite: [],
    identities: config.unsealIdentities,
    withoutSecrets: false,
    createUser: false,
    start: true,
    anew: false,
    verify: false,
    withinMs: 1000,
    rollback: false,
    confirm: async () => true,
  }
}

/** Operations that may be killed at any moment, to the end. */
export const killableOperations = {
  backup,
  async 'application backup'(details: KillableDetails, signal = NEVER) {
    const { config, access } = await applicationOf(details)
    await backupApplication(config, access, { observe, signal })
  },
  async prune({ repository }: KillableDetails, signal = NEVER) {
    await prune(accessTo(repository), { maxUnused: { percent: 0 }, observe, signal })
  },
  async forget({ repository }: KillableDetails, signal = NEVER) {
    const filter = { hosts: [FORGETTABLE] }
    await forget(accessTo(repository), {
      filter,
      policy: { last: 1 },
      prune: { maxUnused: { percent: 0 } },
      observe,
      signal,
    })
  },
  async copy({ repository, other }: KillableDetails, signal = NEVER) {
    await copy(accessTo(repository), accessTo(other!), { observe, signal })
  },
  async tag({ repository }: KillableDetails, signal = NEVER) {
    await tag(accessTo(repository), { filter: { hosts: [FORGETTABLE] }, change: { set: ['tagged'] }, observe, signal })
  },
  async 'repair index'({ repository }: KillableDetails, signal = NEVER) {
    await repairIndex(accessTo(repository), { readAllPacks: true, observe, signal })
  },
  async 'repair packs'({ repository, packs }: KillableDetails, signal = NEVER) {
    await repairPacks(accessTo(repository), { packs: packs!, observe, signal })
  },
  async 'repair snapshots'({ repository }: KillableDetails, signal = NEVER) {
    await repairSnapshots(accessTo(repository), { forget: true, observe, signal })
  },
  async 'restore to a folder'({ repository, target }: KillableDetails, signal = NEVER) {
    await restoreToTarget(accessTo(repository), { choice: { name: 'latest' }, target: target!, observe, signal })
  },
  async 'restore in place'(details: KillableDetails, signal = NEVER) {
    const { config, access } = await applicationOf(details)
    await restoreInPlace(access, {
      choice: { name: 'latest', app: config.app },
      config,
      identities: config.unsealIdentities,
      confirm: async () => true,
      observe,
      signal,
    })
  },
  async 'rescue of components'(details: KillableDetails, signal = NEVER) {
    const { config, access } = await applicationOf(details)
    await recover(access, { ...rescueOf(config), observe, signal })
  },
  async 'rescue database'(details: KillableDetails, signal = NEVER) {
    const { config, access } = await applicationOf(details)
    const rollback = details.rollback ?? false
    await rescueDatabase(access, {
      config,
      withinMs: rollback ? 50 : 10_000,
      rollback,
      anew: false,
      confirm: async () => true,
      observe,
      signal,
    }).catch((error: unknown) => {
      // What it ends with when it has put back what was there: just now, or for an earlier run.
      if (!rollback || !(error instanceof OperationError) || !['UNHEALTHY', 'RESUME'].includes(error.code)) throw error
    })
  },
} satisfies Record<string, (details: KillableDetails, signal?: AbortSignal) => Promise<void>>

export type KillableOperation = keyof typeof killableOperations
