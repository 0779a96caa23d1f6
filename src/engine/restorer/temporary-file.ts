import { constants, openSync, renameSync } from 'node:fs'
import { EngineError } from '../error.ts'
import { errnoOf } from '../os/errno.ts'
import { partName } from './part-name.ts'

const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants

/** The name under which a file is written, in its own folder, hence on the same file system; see `partName`. */
export function temporaryBeside(destination: Buffer, token: string, number: number): Buffer {
  const folder = destination.subarray(0, destination.lastIndexOf(0x2f) + 1)
  return Buffer.concat([folder, Buffer.from(partName(token, number))])
}

/** Opens for writing what was not there. Throws the system's own error. */
export function createTemporary(path: Buffer): number {
  return openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
}

/** Opens for writing what `createTemporary` made. Throws the system's own error. */
export function reopenTemporary(path: Buffer): number {
  return openSync(path, O_WRONLY | O_NOFOLLOW)
}

/** Puts what is complete in the place of what stands at the destination, but not of a folder: `TARGET`. */
export function publish(temporary: Buffer, destination: Buffer): void {
  try {
    renameSync(temporary, destination)
  } catch (error) {
    if (errnoOf(error) !== 'EISDIR') throw error
    throw obstructed(destination, 'a folder stands in its place', error)
  }
}

export function obstructed(destination: Buffer, what: string, cause?: unknown): EngineError {
  const facts = { path: destination.toString() }
  return new EngineError('TARGET', `Cannot restore ${destination}: ${what}`, { facts, cause })
}
