import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { diagnoseDatabase } from '../../application/sources/diagnose-database.ts'
import { CodedError } from '../../engine/error.ts'
import { permissions } from '../../engine/format/mode.ts'
import { ownerHere } from '../../engine/os/accounts.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import type { IndexedRepository, Repository } from '../../engine/repository/repository.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import { type RestoreProblem, restore } from '../../engine/restorer/restore.ts'
import { appSnapshots } from '../app-snapshots.ts'
import type { Manifest } from '../manifest.ts'
import { findNode, readManifest } from '../snapshot-files.ts'
import type { ExamineOptions } from './examine-database.ts'

/** A sound state of a database, out of a snapshot. */
export interface GoodDatabase {
  readonly snapshot: string
  /** What is committed later than this is not in it. */
  readonly time: Date
  /** A private copy. */
  readonly copy: string
  readonly owner: { readonly uid: number; readonly gid: number }
  readonly mode: number
}

export interface GoodDatabaseSearch {
  readonly good: GoodDatabase | undefined
  /** Newer snapshots that hold it and do not bring it back sound, one line each. */
  readonly passedOver: readonly string[]
}

/** Each snapshot with what it says of itself, newest first. One that cannot be read is told of and passed over. */
async function* described(
  repository: IndexedRepository,
  plain: Repository,
  app: string,
  passOver: (line: string) => void,
  signal: AbortSignal,
): AsyncGenerator<{ readonly stored: StoredSnapshot; readonly manifest: Manifest }> {
  const snapshots = await appSnapshots(plain, app, signal, (error) => passOver(error.message))
  for (const stored of snapshots.reverse()) {
    try {
      const manifest = await readManifest(repository, stored, signal)
      if (manifest !== undefined) yield { stored, manifest }
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      passOver(error.message)
    }
  }
}

/** Paths of all databases that the newest readable snapshot knows. */
export async function storedDatabases(plain: Repository, app: string, signal: AbortSignal): Promise<string[]> {
  const repository = await loadIndex(plain, signal)
  for await (const { manifest } of described(repository, plain, app, () => {}, signal)) {
    if (manifest.databases.length > 0) return manifest.databases.map(({ path }) => path)
  }
  return []
}

/** The newest snapshot whose copy of the database is brought back whole and is sound. */
export async function newestGoodDatabase(
  plain: Repository,
  app: string,
  paths: readonly string[],
  { folder, sqlite, signal }: ExamineOptions,
): Promise<GoodDatabaseSearch> {
  const passedOver: string[] = []
  const repository = await loadIndex(plain, signal)
  for await (const { stored, manifest } of described(repository, plain, app, (line) => passedOver.push(line), signal)) {
    const known = manifest.databases.find(({ path }) => paths.includes(path))
    if (known === undefined) continue
    const passOver = (why: string) => passedOver.push(`${stored.id.slice(0, 8)}: ${why}`)
    if (known.integrity !== 'ok') {
      passOver(`it was damaged already (${known.integrity.split('\n')[0]})`)
      continue
    }
    const node = await findNode(repository, stored.snapshot.tree, known.path, signal).catch((error: unknown) => {
      signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      passOver(error.message)
      return undefined
    })
    if (node?.type !== 'file') continue
    const copy = join(await mkdtemp(join(folder, 'snapshot-')), 'snapshot.db')
    const problems: RestoreProblem[] = []
    await restore(repository, [{ node, destination: Buffer.from(copy) }], {
      onProblem: (problem) => problems.push(problem),
      signal,
    })
    const wrong = problems.find(({ kind }) => kind !== 'metadata')
    if (wrong !== undefined) {
      passOver(wrong.message.replaceAll(copy, known.path))
      continue
    }
    const { trouble, seen } = await diagnoseDatabase(copy, sqlite, signal)
    if (trouble !== 'sound') {
      passOver(seen)
      continue
    }
    const time = new Date(Number(BigInt(known.capturedAt) / 1_000_000n))
    const good = { snapshot: stored.id, time, copy, owner: ownerHere(node), mode: permissions(node.mode) }
    return { good, passedOver }
  }
  return { good: undefined, passedOver }
}
