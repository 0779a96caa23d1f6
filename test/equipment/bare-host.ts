import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { processLives } from '../../src/engine/os/process-lives.ts'

// A host with nothing on it but Debian: systemd as PID 1, nginx, cron, gpg and sqlite3, its own loopback and no other network,
// booted in half a second by systemd-nspawn. Its root is an overlay over a base that debootstrap makes once (a minute).

const checkout = dirname(dirname(import.meta.dirname))
/** Where the base is kept between runs. On a disk: systemd-nspawn and nginx expect one. */
const CACHE = '/var/tmp'
const RELEASE = 'bookworm'
/** Counted up when what is in the base changes. */
const BASE = join(CACHE, `holdfast-bare-host-${RELEASE}-1`)
const PACKAGES =
  'systemd,systemd-sysv,dbus,nginx-light,iproute2,curl,cron,gnupg,sqlite3,procps,ca-certificates,util-linux,passwd'
/** The checkout inside, read-only. */
const INSIDE = '/usr/lib/holdfast'
/** What Node.js compiled of it, for every host of this machine: half of what a start of `holdfast` costs. */
const COMPILED = process.env.NODE_COMPILE_CACHE
const COMPILED_INSIDE = '/var/cache/holdfast-compiled'
const PREFIX = 'holdfast-host-'
const BOOT_MILLISECONDS = 60_000

/** Why there can be no such host on this machine; false where there can. */
export function withoutBareHost(): string | false {
  if (process.platform !== 'linux') return 'bare hosts need Linux'
  if (process.getuid?.() !== 0) return 'bare hosts need root'
  for (const program of ['debootstrap', 'systemd-nspawn', 'nsenter', 'flock']) {
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0) return `bare hosts need ${program}`
  }
  return false
}

export interface RunResult {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface BareHost extends AsyncDisposable {
  /** Its root folder, as this machine sees it while it runs. */
  readonly root: string
  /** Runs a shell command inside, as root. */
  run(command: string, options?: { readonly input?: string }): RunResult
  /** The same, where only success will do; answers with what it printed. */
  must(command: string): string
  /** Starts a shell command inside; what it prints can be read as it comes. */
  start(command: string): ChildProcess
  /** As if the plug were pulled: every process is gone at once. */
  pullPlug(): Promise<void>
  boot(): Promise<void>
}

/**
 * A host of its own with the checkout in it: `holdfast`, `node` and `pm2` are on its path.
 *
 * @param binds folders of this machine by where they are inside
 */
export async function bareHost(binds: Readonly<Record<string, string>> = {}): Promise<BareHost> {
  const base = makeBase()
  removeLeftovers()
  const folder = mkdtempSync(join(CACHE, `${PREFIX}${process.pid}-`))
  for (const name of ['root', 'upper', 'work']) mkdirSync(join(folder, name))
  let machine: Machine | undefined
  const running = () => {
    if (machine === undefined) throw new Error('the host is not running')
    return machine
  }
  const host: BareHost = {
    get root() {
      return `/proc/${running().leader}/root`
    },
    run(text, { input } = {}) {
      const options = { encoding: 'utf8', input: input ?? '', maxBuffer: 64 * 1024 * 1024 } as const
      const { status, stdout, stderr } = spawnSync('nsenter', inside(running().leader, text), options)
      return { status, stdout, stderr }
    },
    must(text) {
      const { status, stdout, stderr } = host.run(text)
      if (status !== 0) throw new Error(`${text}\nended with ${status} inside of the host:\n${stdout}${stderr}`)
      return stdout
    },
    start: (text) => spawn('nsenter', inside(running().leader, text), { stdio: ['ignore', 'pipe', 'pipe'] }),
    async pullPlug() {
      const { leader, nspawn } = running()
      machine = undefined
      process.kill(leader, 'SIGKILL')
      await ended(nspawn)
    },
    async boot() {
      machine = await boot(base, folder, binds)
    },
    async [Symbol.asyncDispose]() {
      if (machine !== undefined) await host.pullPlug()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  try {
    for (const [name, target] of [
      ['node', 'node_modules/node/bin/node'],
      ['holdfast', 'bin/holdfast'],
      ['pm2', 'node_modules/pm2/bin/pm2'],
    ] as const) {
      const bin = join(folder, 'upper/usr/local/bin')
      mkdirSync(bin, { recursive: true })
      symlinkSync(join(INSIDE, target), join(bin, name))
    }
    await host.boot()
    return host
  } catch (error) {
    await host[Symbol.asyncDispose]()
    throw error
  }
}

interface Machine {
  readonly nspawn: ChildProcess
  /** PID 1 of the host, as this machine numbers it. */
  readonly leader: number
}

/**
 * The overlay is mounted where only the host sees it, and the host ends when this process does, however that ends: then nothing
 * is left behind but a folder.
 */
const BOOT = 'mount -t overlay overlay -o "$1" "$2" && shift 2 && exec systemd-nspawn "$@"'

async function boot(base: string, folder: string, binds: Readonly<Record<string, string>>): Promise<Machine> {
  const root = join(folder, 'root')
  const layers = `lowerdir=${base},upperdir=${join(folder, 'upper')},workdir=${join(folder, 'work')}`
  const all = COMPILED === undefined ? binds : { ...binds, [COMPILED_INSIDE]: COMPILED }
  if (COMPILED !== undefined) mkdirSync(COMPILED, { recursive: true })
  const shared = Object.entries(all).map(([at, from]) => `--bind=${from}:${at}`)
  const options = ['--quiet', `--directory=${root}`, '--boot', '--register=no', '--keep-unit', '--private-network']
  const nspawn = spawn(
    'setpriv',
    [
      ...[
        '--pdeathsig',
        'KILL',
        'unshare',
        '--mount',
        '--propagation',
        'private',
        'sh',
        '-c',
        BOOT,
        'sh',
        layers,
        root,
      ],
      ...[...options, `--bind-ro=${checkout}:${INSIDE}`, ...shared],
    ],
    // A session of its own: ^C in the terminal of the tests is for the tests.
    { stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  )
  let console_ = ''
  for (const stream of [nspawn.stdout, nspawn.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      console_ = (console_ + text).slice(-8192)
    })
  }
  for (const deadline = Date.now() + BOOT_MILLISECONDS; Date.now() < deadline; await sleep(50)) {
    if (nspawn.exitCode !== null) break
    const leader = childOf(nspawn.pid!)
    if (leader === undefined) continue
    const state = spawnSync('nsenter', inside(leader, 'systemctl is-system-running'), { encoding: 'utf8' }).stdout
    if (/^(running|degraded)/.test(state)) return { nspawn, leader }
  }
  nspawn.kill('SIGKILL')
  throw new Error(`the host does not come up:\n${console_}`)
}

function childOf(pid: number): number | undefined {
  const file = `/proc/${pid}/task/${pid}/children`
  const [child] = existsSync(file) ? readFileSync(file, 'utf8').trim().split(' ') : []
  return child === undefined || child === '' ? undefined : Number(child)
}

function inside(leader: number, text: string): string[] {
  const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
  const env = ['/usr/bin/env', '-i', path, 'HOME=/root', 'TERM=dumb', 'LANG=C.UTF-8']
  if (COMPILED !== undefined) env.push(`NODE_COMPILE_CACHE=${COMPILED_INSIDE}`)
  return ['-t', String(leader), '-a', '--', ...env, 'bash', '-c', `cd /root && ${text}`]
}

/** Of test runs that were killed. */
function removeLeftovers(): void {
  for (const name of readdirSync(CACHE)) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1]
    if (pid === undefined || processLives(Number(pid))) continue
    rmSync(join(CACHE, name), { recursive: true, force: true })
  }
}

async function ended(child: ChildProcess): Promise<void> {
  for (const deadline = Date.now() + 20_000; child.exitCode === null && child.signalCode === null; await sleep(20)) {
    if (Date.now() > deadline) throw new Error('systemd-nspawn did not end')
  }
}

/** Made once on a machine; two test files that want it at the same time do not both make it. */
function makeBase(): string {
  const mirror = debianMirror()
  const script = [
    'set -e',
    'if [ -d "$1" ]; then exit 0; fi',
    'rm -rf "$1.making"',
    'debootstrap --variant=minbase --include="$4" "$2" "$1.making" "$3" >"$1.log" 2>&1 || { tail -5 "$1.log" >&2; exit 1; }',
    'rm -rf "$1.making/var/cache/apt/archives"/*.deb "$1.log"',
    'chmod 755 "$1.making"',
    'mv "$1.making" "$1"',
  ].join('\n')
  command('flock', [`${BASE}.lock`, 'sh', '-c', script, 'sh', BASE, RELEASE, mirror, PACKAGES])
  return BASE
}

/** Where this machine gets its own packages from. */
function debianMirror(): string {
  const folder = '/etc/apt/sources.list.d'
  const files = ['/etc/apt/sources.list', ...readdirSync(folder).map((name) => join(folder, name))]
  const text = files.map((file) => (existsSync(file) ? readFileSync(file, 'utf8') : '')).join('\n')
  const mirror = /^(?:URIs:\s*|deb (?:\[[^\]]*\] )?)(https?:\S+)/m.exec(text)?.[1]
  if (mirror === undefined) throw new Error('this machine names no Debian archive in /etc/apt')
  return mirror
}

function command(program: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ${args[0]} failed: ${error?.message ?? stderr}`)
}
