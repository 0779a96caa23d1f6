import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { EngineError } from '../error.ts'

/** What lies at a path in an isolated root, in place of what lies there on the machine. */
export interface Placed {
  /** Absolute; in the isolated root. */
  readonly path: string
  /** Absolute; on the machine. */
  readonly source: string
  /** `mount`: a folder that is written to where it lies; `copy`: the source stays as it is. A file is copied in any case. */
  readonly how: 'mount' | 'copy'
}

export interface IsolatedRootOptions {
  /** An empty folder that only we can enter; what it is used for is gone with the namespace. */
  readonly folder: string
  /**
   * Folders in which much may be written: what is, goes below `upper`, on disk, instead of into memory. `upper` is an empty folder
   * that does not lie in `path`.
   */
  readonly onDisk: readonly { readonly path: string; readonly upper: string }[]
  readonly placed: readonly Placed[]
  /** Folders that are empty in the isolated root, with their owner. */
  readonly empty: readonly { readonly path: string; readonly uid: number; readonly gid: number }[]
  /** Sockets of the machine on which somebody listens: through them the outside could be reached. */
  readonly sockets: readonly string[]
}

/** What was not to be had the usual way; for a report. */
export interface IsolatedRootNote {
  readonly path: string
  readonly note: string
}

/** Memory that stands for what is written; the kernel's own default for tmpfs is half of all there is. */
const OLD = '/.holdfast-machine'

/**
 * Gives this process, in a mount namespace of its own, a root in which everything lies where it lies on the machine, and nothing
 * that is written reaches it: overlays over every file system of the machine, with what is written in memory or on `onDisk`;
 * `/run`, `/dev` and `/proc` of its own. To be called once, by a process that was started through `isolatedCommand`.
 *
 * Sockets are removed from view because a socket in the lower layer of an overlay is the machine's own: connecting to it
 * reaches whoever listens there. File systems that cannot be overlaid are mounted read-only.
 */
export function enterIsolatedRoot(options: IsolatedRootOptions): readonly IsolatedRootNote[] {
  const { folder } = options
  const notes: IsolatedRootNote[] = []
  const mounts = readMounts()
  mount('-t', 'tmpfs', '-o', 'mode=700', 'tmpfs', folder)
  const root = join(folder, 'root')
  mkdirSync(root)
  let layers = 0
  const overlay = (lower: string, target: string, upper = join(folder, `upper-${layers}`)) => {
    const work = `${upper}.work`
    layers += 1
    mkdirSync(upper, { recursive: true })
    mkdirSync(work, { recursive: true })
    const { mode, uid, gid } = statSync(lower)
    execFileSync('chown', [`${uid}:${gid}`, upper])
    chmodSync(upper, mode & 0o7777)
    mount(
      '-t',
      'overlay',
      '-o',
      `lowerdir=${escaped(lower)},upperdir=${escaped(upper)},workdir=${escaped(work)}`,
      'overlay',
      target,
    )
  }
  overlay('/', root)
  for (const { point, isFolder } of mounts) {
    if (isBelow(point, folder) || OWN.some((own) => isBelow(point, own))) continue
    const target = join(root, point)
    // Hidden under another mount.
    if (!existsSync(point) || !existsSync(target)) continue
    try {
      if (isFolder) overlay(point, target)
      else bindReadOnly(point, target)
    } catch (error) {
      if (!isFolder) throw error
      bindReadOnly(point, target)
      notes.push({ path: point, note: 'this file system cannot be overlaid: it is there, and cannot be written to' })
    }
  }
  makeDevices(join(root, 'dev'))
  mount('-t', 'sysfs', '-o', 'ro,nosuid,nodev,noexec', 'sysfs', join(root, 'sys'))
  mount('-t', 'tmpfs', '-o', 'mode=755,nosuid,nodev', 'tmpfs', join(root, 'run'))
  mkdirSync(join(root, 'run/lock'), { mode: 0o1777 })
  chmodSync(join(root, 'run/lock'), 0o1777)
  mount('-t', 'proc', '-o', 'nosuid,nodev,noexec', 'proc', join(root, 'proc'))
  bindReadOnly(join(root, 'proc/sys'), join(root, 'proc/sys'))
  if (existsSync(join(root, 'proc/sysrq-trigger'))) bindReadOnly('/dev/null', join(root, 'proc/sysrq-trigger'))

  // From here on absolute links lead to places in the isolated root.
  mkdirSync(join(root, OLD), { mode: 0o700 })
  execFileSync('pivot_root', ['.', OLD.slice(1)], { cwd: root })
  process.chdir('/')
  for (const socket of options.sockets) removeSocket(socket)
  for (const { path, upper } of options.onDisk) {
    try {
      overlay(join(OLD, path), path, join(OLD, upper))
    } catch (error) {
      if (!(error instanceof EngineError)) throw error
      // In a container, where `upper` lies on an overlay itself. There is one over it all already, in memory.
      notes.push({ path, note: 'this file system cannot take in what is written: that stays in memory' })
    }
  }
  for (const { path, uid, gid } of options.empty) {
    mkdirSync(path, { recursive: true })
    mount('-t', 'tmpfs', '-o', `mode=700,uid=${uid},gid=${gid},nosuid,nodev`, 'tmpfs', path)
  }
  for (const place of options.placed) put(place)
  execFileSync('umount', ['--lazy', OLD])
  rmdirSync(OLD)
  return notes
}

/** File systems that a root of its own has anew. */
const OWN = ['/proc', '/sys', '/dev', '/run']

interface Mount {
  readonly point: string
  readonly isFolder: boolean
}

/** Every mount but the root, outer ones first, proc_pid_mountinfo(5). */
function readMounts(): Mount[] {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .trim()
    .split('\n')
    .map((line) =>
      line
        .split(' ')[4]!
        .replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    )
  return [...new Set(points)]
    .filter((point) => point !== '/' && existsSync(point))
    .sort((a, b) => a.length - b.length)
    .map((point) => ({ point, isFolder: statSync(point).isDirectory() }))
}

function makeDevices(dev: string): void {
  mount('-t', 'tmpfs', '-o', 'mode=755,nosuid', 'tmpfs', dev)
  for (const name of ['null', 'zero', 'full', 'random', 'urandom', 'tty']) {
    if (!existsSync(`/dev/${name}`)) continue
    writeFileSync(join(dev, name), '')
    mount('--bind', `/dev/${name}`, join(dev, name))
  }
  for (const [name, target] of [
    ['fd', '/proc/self/fd'],
    ['stdin', '/proc/self/fd/0'],
    ['stdout', '/proc/self/fd/1'],
    ['stderr', '/proc/self/fd/2'],
    ['ptmx', 'pts/ptmx'],
  ] as const) {
    symlinkSync(target, join(dev, name))
  }
  for (const name of ['pts', 'shm']) mkdirSync(join(dev, name))
  mount('-t', 'devpts', '-o', 'newinstance,ptmxmode=0666,mode=620,nosuid,noexec', 'devpts', join(dev, 'pts'))
  mount('-t', 'tmpfs', '-o', 'mode=1777,nosuid,nodev', 'tmpfs', join(dev, 'shm'))
}

function put({ path, source, how }: Placed): void {
  const from = join(OLD, source)
  if (how === 'mount' && lstatSync(from).isDirectory()) {
    mkdirSync(path, { recursive: true })
    mount('--bind', from, path)
    return
  }
  mkdirSync(dirname(path), { recursive: true })
  rmSync(path, { recursive: true, force: true })
  execFileSync('cp', ['--archive', '--no-target-directory', '--', from, path])
}

/** One that is gone by now reaches nobody. */
function removeSocket(path: string): void {
  try {
    if (lstatSync(path).isSocket()) unlinkSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error
  }
}

function bindReadOnly(from: string, to: string): void {
  mount('--bind', from, to)
  mount('-o', 'remount,bind,ro', to)
}

function mount(...args: readonly string[]): void {
  try {
    execFileSync('mount', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  } catch (cause) {
    const said = String((cause as { stderr?: Buffer }).stderr ?? '').trim()
    throw new EngineError('SYSTEM', `Cannot mount ${args.at(-1)}: ${said || (cause as Error).message}`, {
      facts: { path: args.at(-1) },
      cause,
    })
  }
}

/** Of a path in the options of an overlay: commas part options, colons part layers. */
function escaped(path: string): string {
  return path.replace(/[\\:,]/g, '\\$&')
}

function isBelow(path: string, folder: string): boolean {
  const relative = posix.relative(folder, path)
  return relative === '' || !(relative === '..' || relative.startsWith('../'))
}

/** Paths of the sockets on which somebody listens in this network namespace, proc(5) `net/unix`. */
export function listeningSockets(table = '/proc/net/unix'): readonly string[] {
  const LISTENING = 0x10000
  return readFileSync(table, 'utf8')
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, , , flags = '0', , , , ...path] = line.trim().split(/\s/)
      const name = path.join(' ')
      return Number.parseInt(flags, 16) & LISTENING && name.startsWith('/') ? [name] : []
    })
}
