import type { Config } from '../../application/config/config.ts'
import { parseConfig } from '../../application/config/load-config.ts'
import type { Repository } from '../../engine/repository/repository.ts'
import { readSnapshots } from '../../engine/repository/snapshots.ts'
import { APP_TAG } from '../app-snapshots.ts'
import { OperationError } from '../error.ts'
import { CONFIG, SELF } from '../manifest.ts'
import { type Relocation, type RewrittenLine, relocatePath, rewriteText } from '../restore/relocation.ts'
import { type ChosenSnapshot, refuseDamagedManifest } from '../restore/snapshot-choice.ts'
import { findNode, readWhole } from '../snapshot-files.ts'

/** A config file is small; the repository may be hostile. */
const CONFIG_LIMIT = 1024 * 1024

export interface SnapshotConfig {
  /** As it is in force on this machine. */
  readonly config: Config
  /** As it was when the snapshot was made. */
  readonly original: Config
  /** What is different. */
  readonly lines: readonly RewrittenLine[]
  /** `operator`: in place of the one in the snapshot, so that the repository does not say what is run. */
  readonly from: 'snapshot' | 'operator'
}

/** The config file that a snapshot holds, before anything is different. Rejects with `MANIFEST`, `NOTHING`, `CONFIG`. */
export async function readSnapshotConfig(chosen: ChosenSnapshot, signal?: AbortSignal): Promise<Config> {
  refuseDamagedManifest(chosen)
  const { repository, stored, manifest } = chosen
  const node = await findNode(repository, stored.snapshot.tree, `/${SELF}/${CONFIG}`, signal)
  if (manifest === undefined || node === undefined) {
    throw new OperationError(
      'NOTHING',
      `Cannot recover from snapshot ${stored.id.slice(0, 8)}: it does not say what it is made of`,
      {
        facts: { snapshot: stored.id },
        hint: 'Only what `holdfast backup` made with a config describes itself. Restore other snapshots with --target',
      },
    )
  }
  const text = (await readWhole(repository, node, CONFIG_LIMIT, signal)).toString('utf8')
  return parseConfig(text, manifest.configFile)
}

/** A config as it must be on this machine. */
export function relocateConfig(original: Config, relocation: Relocation, from: SnapshotConfig['from']): SnapshotConfig {
  const { text, lines } = rewriteText(original.text, relocation)
  const file = relocatePath(original.file, relocation)
  return { original, lines, config: parseConfig(text, file), from }
}

/**
 * The only application in a repository, or the one that is asked for. Rejects with `USAGE` when there are several, with
 * `NOTHING` when there is none.
 */
export async function chooseApp(
  repository: Repository,
  asked: string | undefined,
  signal?: AbortSignal,
): Promise<string> {
  const apps = new Set<string>()
  for await (const result of readSnapshots(repository, signal)) {
    // One that cannot be read may still turn out to be the latest: whoever looks for that one says so.
    if ('error' in result) continue
    for (const tag of result.snapshot.tags) if (tag.startsWith(APP_TAG)) apps.add(tag.slice(APP_TAG.length))
  }
  const known = [...apps].sort()
  const location = repository.storage.location
  if (known.length === 0) {
    throw new OperationError('NOTHING', `No snapshot of an application in the repository at ${location}`, {
      facts: { location },
      hint: 'Only what `holdfast backup` made with a config can be recovered in full. See `holdfast snapshots`',
    })
  }
  if (asked !== undefined) {
    if (apps.has(asked)) return asked
    throw new OperationError('NOTHING', `No snapshot of ${asked} in the repository at ${location}`, {
      facts: { app: asked, apps: known },
      hint: `It holds ${known.join(', ')}`,
    })
  }
  if (known.length === 1) return known[0]!
  throw new OperationError(
    'USAGE',
    `Cannot tell which application is meant: the repository holds ${known.join(', ')}`,
    {
      facts: { apps: known },
      hint: `Add --app with one of them, as in --app ${known[0]}`,
    },
  )
}
