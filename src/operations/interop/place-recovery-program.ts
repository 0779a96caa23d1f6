import { readFile } from 'node:fs/promises'
import type { Finding } from '../../application/finding.ts'
import { EngineError } from '../../engine/error.ts'
import type { Storage } from '../../engine/storage/storage.ts'

/** Of this package: the program that gets everything back with Node.js alone, and the note that says how. */
export const RECOVERY_FILES = ['recover.mjs', 'RECOVERY.txt'] as const

const VERSION_LINE = /^export const RECOVERY_PROGRAM_VERSION = (\d+)$/m

export async function readRecoveryFile(name: (typeof RECOVERY_FILES)[number]): Promise<Buffer> {
  return readFile(new URL(`../../../recovery/${name}`, import.meta.url))
}

/**
 * Sees that the recovery program and its note lie beside a repository: as this version of Holdfast has them, unless a newer
 * one has been here. Answers with warnings where they cannot be read or written, on a full or read-only disk for instance:
 * the repository is as good without.
 */
export async function placeRecoveryProgram(storage: Storage, signal?: AbortSignal): Promise<Finding[]> {
  const { beside } = storage
  if (beside === undefined) return [] // a storage that takes nothing but a repository's own files
  try {
    const [program, note] = await Promise.all(RECOVERY_FILES.map((name) => readRecoveryFile(name)))
    const present = await beside.read('recover.mjs', signal)
    if (present !== undefined && versionOf(present) > versionOf(program!)) return []
    if (present?.equals(program!) !== true) await beside.write('recover.mjs', program!, signal)
    if ((await beside.read('RECOVERY.txt', signal))?.equals(note!) !== true) {
      await beside.write('RECOVERY.txt', note!, signal)
    }
    return []
  } catch (error) {
    signal?.throwIfAborted()
    if (!(error instanceof EngineError)) throw error
    return [
      {
        severity: 'warning',
        code: 'recovery-program-not-placed',
        message: `The recovery program does not lie beside the repository: ${error.message}`,
        hint: error.hint ?? 'The backup is as good without; the next one tries again',
      },
    ]
  }
}

/** What is not ours is older than everything. */
function versionOf(program: Buffer): number {
  return Number(VERSION_LINE.exec(program.toString())?.[1] ?? 0)
}
