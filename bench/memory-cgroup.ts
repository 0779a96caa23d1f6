import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from './measure.ts'

/** A control group that ends what needs more memory than it allows, page cache that cannot be given back included. */
export interface MemoryCgroup extends Disposable {
  /** The same command, run inside. */
  confine(command: Command): Command
}

/** Below the group of this process, version 2 or 1; or the reason why there is none. */
export function memoryCgroup(limit: number): MemoryCgroup | string {
  const reasons: string[] = []
  for (const { parent, limits } of candidates()) {
    const folder = join(parent, `holdfast-bench-${process.pid}`)
    try {
      mkdirSync(folder)
    } catch (error) {
      reasons.push((error as Error).message)
      continue
    }
    try {
      for (const [name, value] of limits(limit)) {
        // A kernel that does not count swap has no file for it.
        if (name !== 'memory.swap.max' || existsSync(join(folder, name))) writeFileSync(join(folder, name), value)
      }
      return {
        confine: (command) => ({
          ...command,
          argv: ['sh', '-c', 'echo $$ >"$0" && exec "$@"', join(folder, 'cgroup.procs'), ...command.argv],
        }),
        [Symbol.dispose]: () => rmdirSync(folder),
      }
    } catch (error) {
      reasons.push((error as Error).message)
      rmdirSync(folder)
    }
  }
  return reasons[0] ?? 'no control group of memory is mounted'
}

type Limits = (limit: number) => readonly (readonly [file: string, value: string])[]

const VERSION_2: Limits = (limit) => [
  ['memory.max', String(limit)],
  ['memory.swap.max', '0'],
]
const VERSION_1: Limits = (limit) => [['memory.limit_in_bytes', String(limit)]]

/** Lines are `number:controllers:path`, cgroups(7). */
function candidates(): { readonly parent: string; readonly limits: Limits }[] {
  if (!existsSync('/proc/self/cgroup')) return []
  const mine = readFileSync('/proc/self/cgroup', 'utf8')
  const one = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(mine)?.[1]
  const two = /^0::(.*)$/m.exec(mine)?.[1]
  return [
    ...(one === undefined ? [] : [{ parent: join('/sys/fs/cgroup/memory', one), limits: VERSION_1 }]),
    ...(two === undefined
      ? []
      : [
          { parent: join('/sys/fs/cgroup', two), limits: VERSION_2 },
          // A group that holds processes cannot hand the controller to groups below; its parent may.
          { parent: join('/sys/fs/cgroup', two, '..'), limits: VERSION_2 },
        ]),
  ].filter(({ parent }) => existsSync(parent))
}
