import { readFileSync } from 'node:fs'
import { processLives } from './process-lives.ts'

/**
 * Names a process of this host for as long as a record of it may live: `BOOT:PID:START`. A process ID alone is given out
 * again, after a reboot at the latest, and then a run that was killed long ago would seem to go on. Where the kernel does
 * not tell (no /proc), boot and start are empty and only the process ID counts.
 */
export function processIdentity(pid: number = process.pid): string {
  return `${bootId()}:${pid}:${startOf(pid) ?? ''}`
}

/** Whether the process that `identity` names still runs on this host. What is no identity names none. */
export function identifiedLives(identity: string): boolean {
  const parts = /^([0-9a-f-]*):(\d+):(\d*)$/.exec(identity)
  if (parts === null) return false
  const [, boot, pid, start] = parts
  if (boot !== bootId() || !processLives(Number(pid))) return false
  return start === '' || startOf(Number(pid)) === start
}

function bootId(): string {
  return read('/proc/sys/kernel/random/boot_id')?.trim() ?? ''
}

/** In clock ticks since the boot. The name of the program, in parentheses, may hold spaces and parentheses of its own. */
function startOf(pid: number): string | undefined {
  const fields = read(`/proc/${pid}/stat`)
  return fields?.slice(fields.lastIndexOf(')') + 2).split(' ')[19]
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES') return undefined
    throw error
  }
}
