import type { Command } from 'commander'
import type { PruneChoices } from '../operations/retention/prune.ts'
import type { FinishedSummary } from './command.ts'
import { counted, formatBytes, formatPercent } from './format.ts'
import { optionValue } from './option-value.ts'

/** As given: what reads them is loaded when a prune begins. */
export interface PruneOptions {
  readonly maxUnused?: string
  readonly maxRepackSize?: string
  readonly repackSmallerThan?: string
  readonly repackSmall?: boolean
  readonly repackUncompressed?: boolean
}

export function addPruneOptions(command: Command): Command {
  return command
    .option('--max-unused <limit>', 'how much unused may stay: a share (5%), a size (200M) or unlimited (default: 5%)')
    .option('--max-repack-size <size>', 'rewrite packs of this much at most (as in 500M or 10G)')
    .option('--repack-smaller-than <size>', 'packs below this size are small, and merged (as in 4M)')
    .option('--repack-small', 'merge small packs; that is done anyway')
    .option('--repack-uncompressed', 'compress what is stored raw')
}

/** Names of the options that were given. */
export function prunePartsGiven(options: PruneOptions): string[] {
  const names = {
    maxUnused: '--max-unused',
    maxRepackSize: '--max-repack-size',
    repackSmallerThan: '--repack-smaller-than',
    repackSmall: '--repack-small',
    repackUncompressed: '--repack-uncompressed',
  } as const
  return Object.entries(names)
    .filter(([key]) => options[key as keyof typeof names] !== undefined)
    .map(([, name]) => name)
}

export async function pruneChoices(options: PruneOptions): Promise<PruneChoices> {
  const [{ parseMaxUnused }, { parseSize }] = await Promise.all([
    import('../engine/repository/max-unused.ts'),
    import('../engine/repository/pack-subset.ts'),
  ])
  const size = 'a size such as 500M or 10G'
  return {
    maxUnused: optionValue(
      '--max-unused',
      options.maxUnused,
      parseMaxUnused,
      'a share below 100%, a size such as 200M, or unlimited',
    ),
    maxRepackSize: optionValue('--max-repack-size', options.maxRepackSize, parseSize, size),
    smallerThan: optionValue('--repack-smaller-than', options.repackSmallerThan, parseSize, size),
    repackUncompressed: options.repackUncompressed,
  }
}

/** Lines about what a prune did, or would do, from what it says in its summary. */
export function pruneLines(summary: FinishedSummary): string[] {
  const { blobs, bytes, packfiles } = summary as Record<string, Record<string, number>>
  const both = (name: string) => `${counted(blobs![name]!, 'blob')}, ${formatBytes(bytes![name]!)}`
  const share = bytes!.remaining! > 0 ? ` (${formatPercent(bytes!.remaining_unused!, bytes!.remaining!)})` : ''
  const would = summary.dry_run === true ? 'to be ' : ''
  return [
    `Packs:        ${packfiles!.keep} kept, ${packfiles!.repack} ${would}rewritten, ${packfiles!.remove_total} ${would}removed`,
    `Rewritten:    ${both('repack')}; ${both('repack_remove')} of it dropped`,
    `Dropped:      ${both('remove_total')}${bytes!.unreferenced! > 0 ? `; ${formatBytes(bytes!.unreferenced!)} in no index` : ''}`,
    `Remaining:    ${both('remaining')}`,
    `Unused then:  ${formatBytes(bytes!.remaining_unused!)}${share}`,
  ]
}
