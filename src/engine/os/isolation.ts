import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { geteuid } from 'node:process'
import { EngineError } from '../error.ts'
import { cFunction } from './c-library.ts'
import { errnoName } from './errno.ts'

/** namespaces(7): mounts, network, processes, System V IPC and host name of its own. */
const UNSHARE = ['--mount', '--net', '--pid', '--ipc', '--uts', '--fork', '--propagation', 'private']

/**
 * The command that runs a program in namespaces of its own, as the first process of its PID namespace: whatever it started
 * ends with it. It ends with us too, even when we are killed: `setpriv` asks the kernel to kill `unshare` when its parent
 * dies, and `--kill-child` does the same one step further. Between the start and the first of these there is a moment in
 * which a killed parent goes unnoticed; the program should therefore also end when its standard input does.
 */
export function isolatedCommand(program: string, args: readonly string[]): [program: string, ...args: string[]] {
  return ['setpriv', '--pdeathsig', 'KILL', '--', 'unshare', ...UNSHARE, '--kill-child=KILL', '--', program, ...args]
}

/** Why this process cannot give a program namespaces of its own; undefined when it can. Tries it out. */
export function isolationProblem(): string | undefined {
  if (process.platform !== 'linux') return `${process.platform} has no namespaces`
  if (geteuid?.() !== 0) return 'only root may isolate a process'
  // A file system is mounted too: a container may allow namespaces, and no mounts in them.
  const [program, ...args] = isolatedCommand('mount', ['-t', 'tmpfs', 'none', '/proc'])
  const tried = spawnSync(program, args, { encoding: 'utf8', env: { PATH: process.env.PATH ?? '' } })
  return tried.status === 0 ? undefined : failureOf(program, tried)
}

function failureOf(program: string, { error, stderr, signal }: SpawnSyncReturns<string>): string {
  if (error !== undefined) return `${program} cannot be run: ${error.message}`
  return stderr.trim().split('\n').at(-1) || `it was ended by ${signal}`
}

const socket = cFunction<[number, number, number]>('int socket(int domain, int type, int protocol)')
const ioctl = cFunction<[number, number, Buffer]>('int ioctl(int fd, unsigned long request, void *argument)')
const close = cFunction<[number]>('int close(int fd)')

const AF_INET = 2
const SOCK_DGRAM = 2
const SIOCSIFFLAGS = 0x8914
const IFF_UP = 1
/** struct ifreq: 16 bytes of name, then the flags; 40 bytes in all on 64-bit machines. */
const IFREQ_FLAGS = 16
const IFREQ_SIZE = 40

/** Takes the loopback interface of this network namespace up, netdevice(7); a new one has it down. Throws `SYSTEM`. */
export function startLoopback(): void {
  const fd = socket(AF_INET, SOCK_DGRAM, 0)
  if (fd < 0) throw failed('open a socket', -fd)
  try {
    const request = Buffer.alloc(IFREQ_SIZE)
    request.write('lo')
    request.writeUInt16LE(IFF_UP, IFREQ_FLAGS)
    const result = ioctl(fd, SIOCSIFFLAGS, request)
    if (result < 0) throw failed('take up the loopback interface', -result)
  } finally {
    close(fd)
  }
}

const prctl = cFunction<[number, number, number, number, number]>(
  'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
)
const PR_CAPBSET_DROP = 24

/**
 * Of capabilities(7), by number: what a root of ours could leave the namespaces with, or change what they share with the rest of
 * the machine. File handles (2), immutable files (9), network (12), modules (16), raw I/O (17), accounting (20), mounts and
 * the rest of `CAP_SYS_ADMIN` (21), reboot (22), clock (25), terminals (26), device files (27), audit (29, 30, 37), mandatory
 * access control (32, 33), kernel log (34), sleep (35, 36), perf and BPF (38, 39), checkpoint (40).
 */
const LEADING_OUT = [2, 9, 12, 16, 17, 20, 21, 22, 25, 26, 27, 29, 30, 32, 33, 34, 35, 36, 37, 38, 39, 40]

/** Programs that this process starts from now on lack these capabilities whoever they run as; it keeps its own. */
export function dropLeadingOut(): void {
  for (const capability of LEADING_OUT) {
    const result = prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    // An older kernel does not know the last of them.
    if (result < 0 && errnoName(-result) !== 'EINVAL') throw failed(`give up capability ${capability}`, -result)
  }
}

function failed(action: string, errno: number): EngineError {
  const name = errnoName(errno)
  return new EngineError('SYSTEM', `Cannot ${action}: ${name}`, { facts: { errno: name } })
}
