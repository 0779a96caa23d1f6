import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { peerEnvironment } from '../measure.ts'
import { PASSWORD, type Peer, type Site, shell } from './peer.ts'

/** Debian's borg with its default compression (lz4) and an encrypted repository (`repokey`). */
export function borg(): Peer | string {
  const { status, stdout } = spawnSync('borg', ['--version'], { encoding: 'utf8' })
  if (status !== 0) return 'borg is not installed (Debian package borgbackup)'
  const run = ({ repository, home }: Site, argv: readonly string[], cwd?: string) => ({
    argv,
    env: {
      ...peerEnvironment(home),
      BORG_REPO: repository,
      BORG_PASSPHRASE: PASSWORD,
      BORG_BASE_DIR: home,
      // The site may be a copy of another one, which borg would ask about.
      BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
      BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
    },
    ...(cwd === undefined ? {} : { cwd }),
  })
  // `latest`, as restic has it, is not known to borg's extract.
  const extract = 'cd "$1"; shift; exec borg extract "::$(borg list --last 1 --short)" "$@"'
  return {
    name: 'borg',
    version: stdout.trim(),
    lacks: () => undefined,
    create: (site) => run(site, ['borg', 'init', '--encryption', 'repokey']),
    backup: (site, source, night, at) =>
      run(site, [
        'borg',
        'create',
        ...(at === undefined ? [] : ['--timestamp', at.toISOString().slice(0, 19)]),
        `::night-${String(night).padStart(5, '0')}`,
        source,
      ]),
    list: (site) => run(site, ['borg', 'list']),
    check: (site) => run(site, ['borg', 'check', '--verify-data']),
    restore: (site, _source, target) => run(site, shell(extract, target)),
    restoreFile: (site, source, path, target) => run(site, shell(extract, target, join(source, path).slice(1))),
    thin: (site, keep) =>
      run(site, shell('borg prune --keep-last "$1" && exec borg compact --threshold 0', String(keep))),
  }
}
