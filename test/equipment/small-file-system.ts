import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TemporaryFolder } from './temporary-folder.ts'

/** An empty file system of its own, unmounted when disposed. Needs root. `options` as in tmpfs(5): `size=2m,nr_inodes=100`. */
export function smallFileSystem(options: string): TemporaryFolder {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-mount-'))
  run('mount', ['-t', 'tmpfs', '-o', options, 'holdfast-test', path])
  return {
    path,
    [Symbol.dispose]: () => {
      run('umount', [path])
      rmdirSync(path)
    },
  }
}

/** For the `skip` option of tests that mount: false where that is allowed. Containers often forbid it, to root as well. */
export const withoutMounts: false | string = (() => {
  if (process.getuid?.() !== 0) return 'needs root, to mount a small file system'
  try {
    smallFileSystem('size=64k')[Symbol.dispose]()
    return false
  } catch (error) {
    return `cannot mount a small file system: ${(error as Error).message}`
  }
})()

function run(program: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' })
  if (error) throw error
  if (status !== 0) throw new Error(stderr.trim())
}
