/**
 * Loaded before anything else (`--import`) by a process that is to be killed, in its threads too: counts the calls that change
 * files, and sends the process a signal, SIGKILL mostly, before the one that is due. So the moment depends on how far the work has come, and not
 * on how busy the machine is.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { constants } from 'node:os'
import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads'

const KEY = 'holdfast-test-kill-cells'

/** Shared by all threads: whether calls are counted, how many there were, before which of them the signal comes, and which one. */
export const cells = isMainThread ? new Int32Array(new SharedArrayBuffer(16)) : (getEnvironmentData(KEY) as Int32Array)
if (isMainThread) setEnvironmentData(KEY, cells)

const ARMED = 0
const CALLS = 1
const DUE = 2
const SIGNAL = 3

/** From now on calls are counted. Before the `due`-th the process gets the signal; 0: never. */
export function arm(due: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  Atomics.store(cells, SIGNAL, constants.signals[signal])
  Atomics.store(cells, DUE, due)
  Atomics.store(cells, ARMED, 1)
}

/** Answers with how many calls there were. */
export function disarm(): number {
  Atomics.store(cells, ARMED, 0)
  return Atomics.load(cells, CALLS)
}

/** Waits, in a thread of its own, for the `due`-th call and so many milliseconds more, then sends the signal. */
export function killLater(due: number, milliseconds: number): void {
  for (let calls = Atomics.load(cells, CALLS); calls < due; calls = Atomics.load(cells, CALLS)) {
    Atomics.wait(cells, CALLS, calls)
  }
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
  process.kill(process.pid, Atomics.load(cells, SIGNAL))
}

function count(): void {
  if (Atomics.load(cells, ARMED) === 0) return
  const number = Atomics.add(cells, CALLS, 1) + 1
  Atomics.notify(cells, CALLS)
  if (number === Atomics.load(cells, DUE)) process.kill(process.pid, Atomics.load(cells, SIGNAL))
}

type Call = (...args: unknown[]) => unknown

function watch(holder: object, name: string, changes: (args: readonly unknown[]) => boolean = () => true): void {
  const methods = holder as Record<string, Call>
  const original = methods[name]
  if (original === undefined) throw new TypeError(`Cannot watch ${name}: this Node.js has no such call`)
  methods[name] = function watched(this: unknown, ...args: unknown[]) {
    if (changes(args)) count()
    return Reflect.apply(original, this, args)
  }
}

/** Opening to read changes nothing. */
function opensToWrite([, flags]: readonly unknown[]): boolean {
  if (typeof flags === 'number')
    return (flags & (fs.constants.O_WRONLY | fs.constants.O_RDWR | fs.constants.O_CREAT)) !== 0
  return flags !== undefined && flags !== null && flags !== 'r'
}

const BOTH = ['writeFile', 'rename', 'link', 'symlink', 'unlink', 'mkdir', 'rmdir', 'rm', 'chmod', 'chown', 'lchown']
const TIMES = ['utimes', 'lutimes', 'truncate', 'mkdtemp', 'copyFile']
const ON_DESCRIPTORS = ['write', 'writev', 'fsync', 'fdatasync', 'ftruncate', 'fchmod', 'fchown', 'futimes']
const OF_HANDLES = ['write', 'writev', 'writeFile', 'sync', 'datasync', 'truncate', 'chmod', 'chown', 'utimes']

watch(fs.promises, 'open', opensToWrite)
watch(fs, 'openSync', opensToWrite)
for (const name of [...BOTH, ...TIMES]) {
  watch(fs.promises, name)
  watch(fs, `${name}Sync`)
}
for (const name of ON_DESCRIPTORS) watch(fs, `${name}Sync`)
const handle = await fs.promises.open('/dev/null', 'r')
const prototype = Object.getPrototypeOf(handle) as object
await handle.close()
for (const name of OF_HANDLES) watch(prototype, name)
syncBuiltinESMExports()
