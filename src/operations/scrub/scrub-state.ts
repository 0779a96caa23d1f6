import { readFile } from 'node:fs/promises'
import { isId, type PackId } from '../../engine/format/id.ts'
import { writeFileDurably } from '../../engine/os/write-file-durably.ts'
import { NO_SCRUB_STATE, type ScrubRecord, type ScrubState } from '../../engine/repository/plan-scrub.ts'

// {"version":1,"repository":"<config id>","last_run":<s or null>,"packs":{"<pack>":[<seen, s>,<read, s, or null>],…}}
//
// In seconds since the epoch. The file holds nothing secret and nothing that cannot be done without: when it is lost or broken, the
// scrub begins anew.

export interface LoadedScrubState {
  readonly state: ScrubState
  /** Why what is there was not used; undefined when it was, and when nothing was there. */
  readonly unusable: string | undefined
}

export async function loadScrubState(file: string, repository: string): Promise<LoadedScrubState> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { state: NO_SCRUB_STATE, unusable: undefined }
    throw error
  }
  const state = parseScrubState(text, repository)
  return typeof state === 'string' ? { state: NO_SCRUB_STATE, unusable: state } : { state, unusable: undefined }
}

/** The state, or why the text is none of that repository. */
export function parseScrubState(text: string, repository: string): ScrubState | string {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return 'it is not JSON' // what exactly is wrong with it helps nobody: it is written anew
  }
  if (!isObject(value) || value.version !== 1 || !isObject(value.packs)) return 'it is no state of a scrub'
  if (value.repository !== repository) return 'it is that of another repository'
  const packs = new Map<PackId, ScrubRecord>()
  for (const [id, record] of Object.entries(value.packs)) {
    if (!isId(id) || !Array.isArray(record) || !isSeconds(record[0])) return 'it is no state of a scrub'
    packs.set(id as string as PackId, {
      seen: record[0] * 1000,
      read: isSeconds(record[1]) ? record[1] * 1000 : undefined,
    })
  }
  return { lastRun: isSeconds(value.last_run) ? value.last_run * 1000 : undefined, packs }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

export async function saveScrubState(file: string, repository: string, { lastRun, packs }: ScrubState): Promise<void> {
  const seconds = (time: number | undefined) => (time === undefined ? null : Math.floor(time / 1000))
  const records = Object.fromEntries([...packs].map(([id, { seen, read }]) => [id, [seconds(seen), seconds(read)]]))
  const text = JSON.stringify({ version: 1, repository, last_run: seconds(lastRun), packs: records })
  await writeFileDurably(file, Buffer.from(`${text}\n`), { mode: 0o600, replace: true })
}
