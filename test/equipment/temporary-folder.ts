import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface TemporaryFolder extends Disposable {
  readonly path: string
}

/** Where files are as good as on a disk, and syncing them costs nothing. */
const MEMORY = '/dev/shm'

/** An empty folder, removed with all that is in it when disposed. `inMemory` where the system has such a place. */
export function temporaryFolder({ inMemory = false } = {}): TemporaryFolder {
  const path = mkdtempSync(join(inMemory && existsSync(MEMORY) ? MEMORY : tmpdir(), 'holdfast-test-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}
