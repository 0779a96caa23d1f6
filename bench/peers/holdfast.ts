import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PUBLIC_ONLY } from '../../src/engine/process-library.ts'
import { peerEnvironment } from '../measure.ts'
import { PASSWORD, type Peer, type Site, type Step } from './peer.ts'

/** Which command a step needs, and which of its options. */
const NEEDS: Readonly<Record<Step, readonly string[]>> = {
  create: ['init'],
  backup: ['backup'],
  list: ['snapshots'],
  check: ['check', '--read-data'],
  restore: ['restore', '--target'],
  'restore-file': ['restore', '--target', '--include'],
  thin: ['forget', '--keep-last', '--prune'],
}

/** Holdfast used as restic is: a repository and paths, no config file. With `publicOnly`, by documented interfaces of the runtime alone. */
export function holdfast(program: string, publicOnly = false): Peer {
  const help = new Map<string, string | undefined>()
  const helpOf = (command: string) => {
    if (!help.has(command)) {
      const { status, stdout } = spawnSync(program, [command, '--help'], { encoding: 'utf8' })
      help.set(command, status === 0 ? stdout : undefined)
    }
    return help.get(command)
  }
  const run = ({ repository, home }: Site, ...args: readonly string[]) => ({
    argv: [program, '-r', repository, '--password-file', join(home, 'password'), '--quiet', ...args],
    env: { ...peerEnvironment(home), ...(publicOnly ? { [PUBLIC_ONLY]: '1' } : {}) },
  })
  return {
    name: 'holdfast',
    version: `${spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout.split('\n')[0] ?? ''}${publicOnly ? ', documented interfaces alone' : ''}`,
    lacks(step) {
      const [command, ...options] = NEEDS[step]
      const text = helpOf(command!)
      if (text === undefined) return `no command \`${command}\` yet`
      const missing = options.find((option) => !text.includes(option))
      return missing === undefined ? undefined : `no \`${command} ${missing}\` yet`
    },
    create(site) {
      writeFileSync(join(site.home, 'password'), `${PASSWORD}\n`, { mode: 0o600 })
      return run(site, 'init')
    },
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

/** As restic and Holdfast take it, in the time zone of the peers (UTC). */
export function formatMoment(at: Date): string {
  return at.toISOString().slice(0, 19).replace('T', ' ')
}
