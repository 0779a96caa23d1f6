import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A call to the system that names something in the folder that is watched. */
export interface SystemCall {
  /** Without its variants: `open` for `openat`, `write` for `writev`. */
  readonly name: string
  /** Absolute, each once: what was named, and what the descriptor is open on. */
  readonly paths: readonly string[]
  readonly creates: boolean
  readonly isExclusive: boolean
  /** Octal, as in `0600`. */
  readonly mode: string | undefined
  readonly failed: boolean
}

const CALLS = [
  ['open', 'openat', 'close', 'write', 'writev', 'pwrite64', 'pwritev', 'fsync', 'fdatasync', 'mkdir', 'mkdirat'],
  [
    'link',
    'linkat',
    'unlink',
    'unlinkat',
    'rename',
    'renameat',
    'renameat2',
    'chmod',
    'fchmod',
    'fchmodat',
    'fchmodat2',
  ],
]

export function canTrace(): boolean {
  return spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']).status === 0
}

/** Runs Node.js under strace with these arguments. `options` are strace's, to inject faults. */
export function traceSystemCalls(
  folder: string,
  args: readonly string[],
  options: readonly string[] = [],
): { readonly calls: readonly SystemCall[]; readonly output: string } {
  const traces = mkdtempSync(join(tmpdir(), 'holdfast-trace-'))
  const log = join(traces, 'log')
  // Whatever a machine does not have (`open` on ARM) strace is to pass over: hence the question marks.
  const filter = `trace=${CALLS.flat().map((call) => `?${call}`)}`
  try {
    const output = execFileSync(
      'strace',
      ['-f', '-y', '-qq', '-s', '0', '-e', filter, ...options, '-o', log, process.execPath, ...args],
      {
        // One thread of the pool, lest a call that begins before another one ends be two half lines.
        env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
        encoding: 'utf8',
      },
    )
    const lines = readFileSync(log, 'utf8').split('\n')
    return { calls: lines.flatMap((line) => parseLine(line, folder) ?? []), output }
  } finally {
    rmSync(traces, { recursive: true })
  }
}

function parseLine(line: string, folder: string): SystemCall | undefined {
  const [, call = '', rest = ''] = /^\d+ +(\w+)\((.*)$/.exec(line) ?? []
  // Once by its name and once as what the descriptor is open on.
  const named = [...rest.matchAll(/(?<=[<"])\/[^">]*/g)].map(([path]) => path)
  const paths = [...new Set(named.filter((path) => path.startsWith(folder)))]
  if (paths.length === 0) return undefined
  return {
    name: call.replace(/^(?:p?(write)|f?(open|link|unlink|rename|chmod|mkdir))(?:at|v|64)?2?$/, '$1$2'),
    paths,
    creates: rest.includes('O_CREAT'),
    isExclusive: rest.includes('O_EXCL'),
    mode: /, (0[0-7]+)\)/.exec(rest)?.[1],
    failed: rest.includes(' = -1 '),
  }
}
