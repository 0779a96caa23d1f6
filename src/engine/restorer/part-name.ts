import { randomBytes } from 'node:crypto'
import { lstatSync, readdirSync, unlinkSync } from 'node:fs'
import { errnoOf } from '../os/errno.ts'
import { processLives } from '../os/process-lives.ts'

// What is being written beside its place is called
//
//   .holdfast-PROCESS-RUN-NUMBER.part
//
// RUN tells processes of the same ID from each other: in a container every restore may have the same one.

const RUN = randomBytes(6).toString('hex')
const PART = /^\.holdfast-(\d{1,10})-([0-9a-f]{12})-\d+\.part$/

/** Of all names that this process makes, also through threads, which have a RUN of their own that nobody is to know. */
export const PART_TOKEN = `${process.pid}-${RUN}`

let last = 0

/** One that no other file of this process has. */
export function nextPartNumber(): number {
  last += 1
  return last
}

/** The name of a file that is not complete yet. */
export function partName(token: string, number: number): string {
  return `.holdfast-${token}-${number}.part`
}

/**
 * Removes from a folder what restores that were killed left half-written in it, but for names that belong there. What cannot be
 * removed stays: it is in nobody's way.
 *
 * @param names of the snapshot, as `latin1` text of their bytes
 */
export function removeLeftParts(folder: Buffer, names: ReadonlySet<string>): void {
  try {
    for (const name of readdirSync(folder, 'latin1')) {
      if (!isLeftPart(name) || names.has(name)) continue
      const path = Buffer.concat([folder, Buffer.from(`/${name}`)])
      if (lstatSync(path).uid === process.geteuid?.()) unlinkSync(path)
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

function isLeftPart(name: string): boolean {
  const [, pid, run] = PART.exec(name) ?? []
  if (pid === undefined || run === RUN) return false
  return Number(pid) === process.pid || !processLives(Number(pid))
}
