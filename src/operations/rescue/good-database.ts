import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { diagnoseDatabase } from '../../application/sources/diagnose-database.ts'
import { CodedError } from '../../engine/error.ts'
import { permissions } from '../../engine/format/mode.ts'
import { ownerHere } from '../../engine/os/accounts.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import { type RestoreProblem, restore } from '../../engine/restorer/restore.ts'
import { describedSnapshots } from '../described-snapshots.ts'
import { findNode } from '../snapshot-files.ts'
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

/** Paths of all databases that the newest readable snapshot knows. */
export async function storedDatabases(plain: Repository, app: string, signal: AbortSignal): Promise<string[]> {
  const repository = await loadIndex(plain, signal)
  for await (const { manifest } of describedSnapshots(repository, plain, app, () => {}, signal)) {
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
  for await (const { stored, manifest } of describedSnapshots(
    repository,
    plain,
    app,
    (line) => passedOver.push(line),
    signal,
  )) {
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
