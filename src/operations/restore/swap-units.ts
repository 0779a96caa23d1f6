import { link, lstat, rename, unlink } from 'node:fs/promises'
import { SIDECAR_SUFFIXES } from '../../application/sources/sqlite-header.ts'
import { exchange } from '../../engine/os/exchange.ts'
import { OperationError } from '../error.ts'
import { identityOf, stagedIn } from './restore-record.ts'

/** One entry that is staged, and is to take its place. */
export interface SwapUnit {
  readonly path: string
  readonly stage: string
  /** Where what is there goes. */
  readonly before: string
  readonly kept: readonly string[]
  /** A database that is a unit by itself: its `-wal` and the like go where it goes. */
  readonly isDatabase: boolean
}

/** The steps that change what is live; replaced by tests that let them fail. */
export interface SwapSteps {
  rename(from: string, to: string): Promise<void>
  link(existing: string, path: string): Promise<void>
  unlink(path: string): Promise<void>
  /** False where the file system cannot. */
  exchange(a: string, b: string): boolean
}

const STEPS: SwapSteps = {
  rename,
  link,
  unlink,
  exchange: (a, b) => exchange(Buffer.from(a), Buffer.from(b)),
}

/** What was replaced, and where it is now. */
export interface Replaced {
  readonly path: string
  readonly before: string
}

/**
 * Puts every unit in its place; when one cannot, takes those before it back in reverse order, and rejects with `SWAP`.
 * `facts.undone` is false when that failed as well: then something of what was there may still lie in a stage.
 *
 * A unit changes places with the live entry in one step where the file system can exchange two names, and a file does
 * everywhere. A folder elsewhere is absent for the moment between two steps.
 */
export async function swapUnits(units: readonly SwapUnit[], steps: SwapSteps = STEPS): Promise<Replaced[]> {
  const undo: (() => Promise<void>)[] = []
  const replaced: Replaced[] = []
  try {
    for (const unit of units) if (await swap(unit, steps, undo)) replaced.push({ path: unit.path, before: unit.before })
    return replaced
  } catch (cause) {
    const failures: Error[] = []
    for (const step of undo.reverse()) await step().catch((error: Error) => failures.push(error))
    throw swapFailure(units, cause as Error, failures[0])
  }
}

function swapFailure(units: readonly SwapUnit[], cause: Error, failure: Error | undefined): OperationError {
  if (failure === undefined) {
    return new OperationError(
      'SWAP',
      `Nothing was changed: the restored files cannot take their place (${cause.message})`,
      { facts: { undone: true }, cause },
    )
  }
  return new OperationError(
    'SWAP',
    `Cannot put the restored files in place, and cannot put all back: ${cause.message}; ${failure.message}`,
    {
      facts: { undone: false, paths: units.map(({ path }) => path) },
      hint: 'Nothing is lost: what was there lies in its place, beside it as `.before-…`, or in the folder `.holdfast-restore-…`. Once the cause is gone, the same restore puts it in order',
      cause,
    },
  )
}

/** Whether something was there that has been replaced. */
async function swap(unit: SwapUnit, steps: SwapSteps, undo: (() => Promise<void>)[]): Promise<boolean> {
  const { path, before, isDatabase } = unit
  const staged = stagedIn(unit.stage)
  const move = async (from: string, to: string) => {
    await steps.rename(from, to)
    undo.push(() => steps.rename(to, from))
  }
  if ((await identityOf(staged)) === undefined) return false // all of it was secret, and stays as it is
  if ((await identityOf(path)) === undefined) {
    await move(staged, path)
    return false
  }
  if ((await identityOf(before)) !== undefined) throw new Error(`${before} is there already`)
  // The old file's log must be gone before the new file is there: SQLite would play it into the wrong database.
  for (const suffix of isDatabase ? SIDECAR_SUFFIXES : []) {
    if ((await identityOf(path + suffix)) !== undefined) await move(path + suffix, before + suffix)
  }
  const old = await changePlaces(staged, unit, steps, undo, move)
  for (const entry of unit.kept) {
    const from = old + entry.slice(path.length)
    // It may have been removed since the plan was made.
    if ((await identityOf(from)) !== undefined) await move(from, entry)
  }
  if (old !== before) await move(old, before)
  return true
}

/** Returns where what was there is now. */
async function changePlaces(
  staged: string,
  { path, before }: SwapUnit,
  steps: SwapSteps,
  undo: (() => Promise<void>)[],
  move: (from: string, to: string) => Promise<void>,
): Promise<string> {
  if (steps.exchange(staged, path)) {
    undo.push(async () => void steps.exchange(staged, path))
    return staged
  }
  const [live, restored] = [await lstat(path), await lstat(staged)]
  if (live.isDirectory() || restored.isDirectory()) {
    await move(path, before)
    await move(staged, path)
    return before
  }
  // A rename replaces a file in one step, and the second name keeps what was there.
  await steps.link(path, before)
  undo.push(() => steps.unlink(before))
  await steps.rename(staged, path)
  undo.push(async () => {
    await steps.rename(path, staged)
    await steps.link(before, path)
  })
  return before
}
