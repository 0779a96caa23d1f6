import { spawnSync } from 'node:child_process'
import { dirname, join, resolve } from 'node:path'
import { peerEnvironment } from '../measure.ts'
import { formatMoment } from './holdfast.ts'
import { PASSWORD, type Peer, type Site } from './peer.ts'

const checkout = dirname(dirname(import.meta.dirname))
export const resticProgram = resolve(checkout, process.env.HOLDFAST_RESTIC ?? '.tools/bin/restic')

/** The newest restic, with its defaults (compression `auto`) and a cache of its own. */
export function restic(): Peer | string {
  const { status, stdout } = spawnSync(resticProgram, ['version'], { encoding: 'utf8' })
  if (status !== 0) return `no restic at ${resticProgram}; \`npm run pretest\` brings it`
  const run = ({ repository, home }: Site, ...args: readonly string[]) => ({
    argv: [resticProgram, '-r', repository, '--quiet', ...args],
    env: { ...peerEnvironment(home), RESTIC_PASSWORD: PASSWORD, RESTIC_CACHE_DIR: join(home, 'cache') },
  })
  return {
    name: 'restic',
    version: stdout.trim().split(' ').slice(0, 2).join(' '),
    lacks: () => undefined,
    create: (site) => run(site, 'init'),
    backup: (site, source, _night, at) =>
      run(site, 'backup', source, ...(at === undefined ? [] : ['--time', formatMoment(at)])),
    list: (site) => run(site, 'snapshots'),
    check: (site) => run(site, 'check', '--read-data'),
    restore: (site, _source, target) => run(site, 'restore', 'latest', '--target', target),
    restoreFile: (site, source, path, target) =>
      run(site, 'restore', 'latest', '--target', target, '--include', join(source, path)),
    thin: (site, keep) => run(site, 'forget', '--keep-last', String(keep), '--prune'),
  }
}
