import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

/** Programs that the benchmark needs, or compares with, and their Debian packages. */
const PACKAGES = [
  { file: '/usr/bin/time', package: 'time' },
  { file: '/usr/bin/borg', package: 'borgbackup' },
  { file: '/usr/bin/sqlite3', package: 'sqlite3' },
  { file: '/usr/bin/gpg', package: 'gnupg' },
] as const

/** Installs what is missing, where that can be done (root, Debian). What stays missing is found out when it is used. */
export function setUp(report: (line: string) => void): void {
  const missing = PACKAGES.filter(({ file }) => !existsSync(file)).map((one) => one.package)
  if (missing.length > 0) {
    if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
      report(`missing, run as root: apt-get install ${missing.join(' ')}`)
    } else {
      report(`installing ${missing.join(', ')}`)
      const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' }
      for (const args of [['update'], ['install', '--yes', '--no-install-recommends', ...missing]]) {
        const { status, stderr } = spawnSync('apt-get', ['-qq', ...args], { env, encoding: 'utf8' })
        if (status !== 0) report(`apt-get ${args[0]} failed: ${stderr.trim().split('\n').at(-1)}`)
      }
    }
  }
  if (!existsSync('/usr/bin/time')) throw new Error('Cannot measure: /usr/bin/time is missing (Debian package `time`)')
}
