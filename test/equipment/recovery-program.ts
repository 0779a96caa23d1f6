import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'

export const RECOVERY_PROGRAM = join(import.meta.dirname, '../../recovery/recover.mjs')

export interface RecoveryRun {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/**
 * Runs the recovery program as somebody would who has nothing else: a copy of the one file in an empty folder, with an empty
 * environment, and the password on standard input.
 */
export function recover(
  folder: string,
  args: readonly string[],
  { password = '', uid }: { readonly password?: string | Buffer; readonly uid?: number } = {},
): RecoveryRun {
  mkdirSync(folder, { recursive: true })
  copyFileSync(RECOVERY_PROGRAM, join(folder, 'recover.mjs'))
  const { status, stdout, stderr, error } = spawnSync(process.execPath, ['recover.mjs', ...args], {
    cwd: folder,
    env: {},
    input: password,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
  if (error) throw error
  return { code: status, out: stdout, err: stderr }
}

/** Devices and pipes; the program cannot make them. */
const UNMADE = /^mode [126]\d{4} /
const ATTRIBUTES = / (?:user|trusted|security|system)\.[^=]*=[A-Za-z0-9+/]*=*/g
const MTIME = /mtime (-?\d+)/

/**
 * What of a description (`describeTree`) the recovery program promises to bring back: no devices, pipes and attributes; and of
 * times what a double holds. `found` says where they came out: within a microsecond they are taken for the same.
 */
export function recoverable(
  expected: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string>,
): Map<string, string> {
  const result = new Map<string, string>()
  for (const [path, line] of expected) {
    if (UNMADE.test(line)) continue
    const [, wanted] = MTIME.exec(line) ?? []
    const [, got] = MTIME.exec(found.get(path) ?? '') ?? []
    const difference = BigInt(wanted!) - BigInt(got ?? 0)
    const isSame = difference <= 1000n && difference >= -1000n
    result.set(path, line.replaceAll(ATTRIBUTES, '').replace(MTIME, isSame ? `mtime ${got}` : '$&'))
  }
  return result
}
