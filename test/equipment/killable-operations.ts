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
import { copy } from '../../src/operations/repository/copy.ts'
import { repairIndex } from '../../src/operations/repository/repair-index.ts'
import { repairPacks } from '../../src/operations/repository/repair-packs.ts'
import { repairSnapshots } from '../../src/operations/repository/repair-snapshots.ts'
import { tag } from '../../src/operations/repository/tag.ts'
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
}

const QUIET = { observe: () => {}, signal: new AbortController().signal }
const PROGRAM = new URL('../../src/engine/archiver/pool/store-worker-main.ts', import.meta.url)
/** Of the host whose snapshots may go; see `forget`. */
export const FORGETTABLE = 'changing'

function accessTo(location: string): RepositoryAccess {
  return { location, password: async () => PASSWORD }
}

/**
 * A backup by the parts of the engine, so that threads and several packs and index files are there although little is stored.
 */
async function backup({ repository, source }: KillableDetails): Promise<void> {
  await withRepository(accessTo(repository), { lock: 'shared' }, async (plain, signal) => {
    const indexed = await loadIndex(plain, signal)
    await using writer = new BlobWriter(indexed, { packSize: 400_000, indexSize: 40, signal })
    await using files = new StorePool({
      repository: indexed,
      writer,
      program: PROGRAM,
      workers: 2,
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

/** Operations that may be killed at any moment, to the end. */
export const killableOperations = {
  backup,
  async 'application backup'(details: KillableDetails) {
    const { config, access } = await applicationOf(details)
    await backupApplication(config, access, QUIET)
  },
  async prune({ repository }: KillableDetails) {
    await prune(accessTo(repository), { maxUnused: { percent: 0 }, ...QUIET })
  },
  async forget({ repository }: KillableDetails) {
    const filter = { hosts: [FORGETTABLE] }
    await forget(accessTo(repository), { filter, policy: { last: 1 }, prune: { maxUnused: { percent: 0 } }, ...QUIET })
  },
  async copy({ repository, other }: KillableDetails) {
    await copy(accessTo(repository), accessTo(other!), QUIET)
  },
  async tag({ repository }: KillableDetails) {
    await tag(accessTo(repository), { filter: { hosts: [FORGETTABLE] }, change: { set: ['tagged'] }, ...QUIET })
  },
  async 'repair index'({ repository }: KillableDetails) {
    await repairIndex(accessTo(repository), { readAllPacks: true, ...QUIET })
  },
  async 'repair packs'({ repository, packs }: KillableDetails) {
    await repairPacks(accessTo(repository), { packs: packs!, ...QUIET })
  },
  async 'repair snapshots'({ repository }: KillableDetails) {
    await repairSnapshots(accessTo(repository), { forget: true, ...QUIET })
  },
  async 'restore to a folder'({ repository, target }: KillableDetails) {
    await restoreToTarget(accessTo(repository), { choice: { name: 'latest' }, target: target!, ...QUIET })
  },
  async 'restore in place'(details: KillableDetails) {
    const { config, access } = await applicationOf(details)
    await restoreInPlace(access, {
      choice: { name: 'latest', app: config.app },
      config,
      identities: config.unsealIdentities,
      confirm: async () => true,
      ...QUIET,
    })
  },
} satisfies Record<string, (details: KillableDetails) => Promise<void>>

export type KillableOperation = keyof typeof killableOperations
