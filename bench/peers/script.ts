import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { peerEnvironment } from '../measure.ts'
import { type Peer, type Site, shell } from './peer.ts'

const RECIPIENT = 'backup@bench.invalid'
const LATEST = 'backup=$1/$(ls "$1" | tail -n 1)'

/** The hand-made nightly script, and the commands that its procedure gives for restoring. */
export function script(keys: string): Peer | string {
  for (const program of ['gpg', 'sqlite3', 'tar', 'gzip']) {
    if (spawnSync(program, ['--version']).status !== 0) return `${program} is not installed`
  }
  const run = ({ repository, home }: Site, argv: readonly string[], more: Readonly<Record<string, string>> = {}) => ({
    argv,
    env: {
      ...peerEnvironment(home),
      GNUPGHOME: keys,
      BENCH_BACKUP_ROOT: repository,
      BENCH_LOG_FILE: join(home, 'backup.log'),
      BENCH_GPG_RECIPIENT: RECIPIENT,
      ...more,
    },
  })
  return {
    name: 'script',
    version: `tar+gzip+sqlite3+gpg (${firstLine('tar')}, ${firstLine('gzip')})`,
    lacks: () => undefined,
    create(site) {
      mkdirSync(site.repository, { recursive: true })
      return undefined
    },
    backup: (site, source, night, at) => {
      const date = at ?? new Date(Date.UTC(2026, 0, 1 + night))
      return run(site, ['bash', join(import.meta.dirname, '../runbook-backup.sh')], {
        BENCH_APP_DIR: source,
        BENCH_DATE: date.toISOString().slice(0, 10).replaceAll('-', ''),
      })
    },
    list: (site) => run(site, ['ls', '-l', site.repository]),
    check: (site) =>
      run(
        site,
        shell(
          `${LATEST}; tar -tzf "$backup/config.tar.gz" >/dev/null; tar -tzf "$backup/data.tar.gz" >/dev/null
           gpg --list-packets "$backup/secrets.tar.gz.gpg" >/dev/null 2>&1`,
          site.repository,
        ),
      ),
    restore: (site, source, target) =>
      run(
        site,
        shell(
          `${LATEST}; mkdir -p "$2"; gpg --quiet --decrypt "$backup/secrets.tar.gz.gpg" | tar -xzf - -C "$2"
           tar -xzf "$backup/config.tar.gz" -C "$2"; tar -xzf "$backup/data.tar.gz" -C "$2"
           if [ -f "$backup/auth.db.backup" ]; then cp "$backup/auth.db.backup" "$2/data/auth.db"; fi
           cp "$backup/ecosystem.config.js" "$2"`,
          site.repository,
          join(target, source),
        ),
      ),
    restoreFile: (site, source, path, target) =>
      run(
        site,
        shell(
          `${LATEST}; mkdir -p "$2"; tar -xzf "$backup/data.tar.gz" -C "$2" "$3"`,
          site.repository,
          join(target, source),
          path,
        ),
      ),
    thin: (site) =>
      run(
        site,
        shell('find "$1" -type d -name "20*" -mtime +30 -exec rm -rf {} \\; 2>/dev/null || true', site.repository),
      ),
    age(site, keep) {
      const old = new Date(Date.now() - 40 * 86_400_000)
      for (const name of readdirSync(site.repository).sort().slice(0, -keep))
        utimesSync(join(site.repository, name), old, old)
    },
  }
}

/** A key pair without a passphrase in a folder of its own; ask for `stopAgent` when it is no longer needed. */
export function makeKeys(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  execFileSync(
    'gpg',
    ['--batch', '--quiet', '--passphrase', '', '--quick-generate-key', RECIPIENT, 'default', 'default', 'never'],
    {
      env: { ...process.env, GNUPGHOME: folder },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
}

export function stopAgent(folder: string): void {
  spawnSync('gpgconf', ['--homedir', folder, '--kill', 'all'])
}

/** As many backups as wanted, of which one was made; their files are hard links, as twenty full ones rarely fit. */
export function repeatBackup(site: Site, count: number): void {
  const [first] = readdirSync(site.repository)
  for (let night = 1; night < count; night++) {
    const copy = join(site.repository, `2027${String(night).padStart(4, '0')}`)
    execFileSync('cp', ['-al', join(site.repository, first!), copy])
  }
}

function firstLine(program: string): string {
  return spawnSync(program, ['--version'], { encoding: 'utf8' })
    .stdout.split('\n')[0]!
    .replace(/ \(.*\)/, '')
}
