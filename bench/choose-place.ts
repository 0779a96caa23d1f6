import { mkdirSync, readFileSync, statfsSync } from 'node:fs'
import { join } from 'node:path'

export interface Place {
  readonly folder: string
  /** As the report names it. */
  readonly kind: string
  readonly isMemory: boolean
}

const SHARED_MEMORY = '/dev/shm'
const TMPFS_MAGIC = 0x01021994

/** A folder for repositories and copies: in memory if that leaves enough of it to the programs, else below `fallback`. */
export function choosePlace(needed: number, fallback: string, onDisk: boolean): Place {
  const memory = availableMemory()
  if (!onDisk && isTmpfs(SHARED_MEMORY) && freeIn(SHARED_MEMORY) > needed && memory > needed * 1.3 + 1.5e9) {
    return { folder: join(SHARED_MEMORY, `holdfast-bench-${process.pid}`), kind: 'tmpfs', isMemory: true }
  }
  mkdirSync(fallback, { recursive: true })
  const free = freeIn(fallback)
  if (free < needed) {
    throw new Error(
      `Cannot run the benchmark in ${fallback}: ${Math.round(free / 1e6)} MB are free, about ${Math.round(needed / 1e6)} are needed; name another folder with HOLDFAST_BENCH_DIR`,
    )
  }
  const isMemory = isTmpfs(fallback)
  return { folder: join(fallback, `work-${process.pid}`), kind: isMemory ? 'tmpfs' : 'disk', isMemory }
}

function freeIn(folder: string): number {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}

function isTmpfs(folder: string): boolean {
  try {
    return statfsSync(folder).type === TMPFS_MAGIC
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

function availableMemory(): number {
  return Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0) * 1024
}
