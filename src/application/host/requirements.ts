import { constants } from 'node:fs'
import { access, readdir, readFile, readlink } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { commandOf } from './open-files.ts'

/** Whether a program lies in a folder of the search path. Nothing is run. */
export async function hasProgram(name: string, path = process.env.PATH ?? ''): Promise<boolean> {
  for (const folder of path.split(delimiter)) {
    if (folder === '') continue
    try {
      await access(join(folder, name), constants.X_OK)
      return true
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EACCES') throw error
    }
  }
  return false
}

/** Packages by system, in the order of `MANAGERS`, where they are not called like the program. */
const PACKAGES: Readonly<Record<string, readonly [debian: string, fedora: string, alpine: string, arch: string]>> = {
  gpg: ['gnupg', 'gnupg2', 'gnupg', 'gnupg'],
  node: ['nodejs', 'nodejs', 'nodejs', 'nodejs'],
  sendmail: ['msmtp-mta', 'msmtp', 'msmtp', 'msmtp-mta'],
  useradd: ['passwd', 'shadow-utils', 'shadow', 'shadow'],
  setpriv: ['util-linux', 'util-linux', 'setpriv', 'util-linux'],
  systemctl: ['systemd', 'systemd', 'openrc', 'systemd'],
  journalctl: ['systemd', 'systemd', 'openrc', 'systemd'],
  sync: ['coreutils', 'coreutils', 'coreutils', 'coreutils'],
}

const MANAGERS = [
  { program: 'apt-get', install: 'apt-get install -y' },
  { program: 'dnf', install: 'dnf install -y' },
  { program: 'apk', install: 'apk add' },
  { program: 'pacman', install: 'pacman -S --noconfirm' },
] as const

/** The command that installs a program on this machine. */
export async function installCommand(program: string): Promise<string> {
  if (program === 'pm2') return 'npm install --global pm2'
  const has = await Promise.all(MANAGERS.map((manager) => hasProgram(manager.program)))
  const index = Math.max(0, has.indexOf(true))
  return `${MANAGERS[index]!.install} ${PACKAGES[program]?.[index] ?? program}`
}

export interface PortUser {
  readonly pid: number | undefined
  /** Name of the program, where it can be seen: others' processes are open to root only. */
  readonly command: string | undefined
}

/** Who listens on a TCP port of this machine, in our network namespace; undefined when nobody does, or there is no `/proc`. */
export async function portUser(port: number, { procRoot = '/proc' } = {}): Promise<PortUser | undefined> {
  const inodes = new Set<string>()
  for (const table of ['net/tcp', 'net/tcp6']) {
    for (const inode of await listeners(join(procRoot, table), port)) inodes.add(inode)
  }
  if (inodes.size === 0) return undefined
  const pids = (await readdir(procRoot)).filter((name) => /^\d+$/.test(name))
  for (const pid of pids) {
    try {
      const folder = join(procRoot, pid, 'fd')
      for (const descriptor of await readdir(folder)) {
        const inode = /^socket:\[(\d+)\]$/.exec(await readlink(join(folder, descriptor)))?.[1]
        if (inode === undefined || !inodes.has(inode)) continue
        return { pid: Number(pid), command: await commandOf(join(procRoot, pid)) }
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (!['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(code ?? '')) throw error
    }
  }
  return { pid: undefined, command: undefined }
}

/** proc(5), `net/tcp`: local address and port in hex, state 0A, the inode of the socket. */
async function listeners(table: string, port: number): Promise<string[]> {
  const text = await readFile(table, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '' // no IPv6, or not Linux
    throw error
  })
  return text.split('\n').flatMap((line) => {
    const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/)
    return state === '0A' && Number.parseInt(local.split(':')[1] ?? '', 16) === port && inode ? [inode] : []
  })
}
