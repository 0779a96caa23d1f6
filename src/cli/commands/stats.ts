import { Option } from 'commander'
import type { SnapshotStatistics, StatisticsMode } from '../../operations/browse/snapshot-statistics.ts'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { counted, formatBytes, formatCount } from '../format.ts'
import {
  addSnapshotFilterOptions,
  refuseFilteredIds,
  type SnapshotFilterOptions,
  snapshotFilter,
} from '../snapshot-filter-options.ts'
import { unreadable } from '../unreadable.ts'

interface Options extends SnapshotFilterOptions {
  readonly mode?: StatisticsMode
}

const MODES: readonly StatisticsMode[] = ['restore-size', 'files-by-contents', 'blobs-per-file', 'raw-data']

export const statsCommand: CommandModule = {
  name: 'stats',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'stats [snapshot...]',
      topic: 'look',
      summary: 'count what snapshots hold and what they take up',
      description:
        'Of the snapshots that are named or fit --host, --tag and --path; of all without either. Without --mode: what restoring each of them would write, how much of that is there only once, what it takes up, and what deduplication and compression save.\n\n' +
        "The modes are restic's. restore-size: what a restore would write. files-by-contents: files with the same content count once. blobs-per-file: the blobs of each file, those that a path has in several snapshots once. raw-data: the blobs, each once, as they are stored.\n\n" +
        'With --json one object, as restic (of restore-size unless --mode says otherwise): total_size, snapshots_count, and by mode total_file_count, total_blob_count, total_uncompressed_size, compression_ratio, compression_progress, compression_space_saving.',
      arguments: { snapshot: 'the beginning of an ID, or latest' },
      examples: [
        { run: 'holdfast stats', does: 'All snapshots together' },
        { run: 'holdfast stats --mode raw-data latest', does: 'What the newest one alone would take up' },
      ],
      exits: ['incomplete', 'no-repository', 'locked', 'wrong-password'],
    }).addOption(new Option('--mode <mode>', 'what is counted').choices(MODES))
    addSnapshotFilterOptions(command).action(context.action<Options>(stats))
  },
}

async function stats(invocation: Invocation<Options>): Promise<Outcome> {
  const { globals, io, operands, options, screen, signal } = invocation
  refuseFilteredIds(operands, options)
  const [{ snapshotStatistics }, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
    import('../../operations/browse/snapshot-statistics.ts'),
    import('../repository-access.ts'),
  ])
  const access = await repositoryAccess(invocation, await findRepositoryConfig(invocation))
  const modes: readonly StatisticsMode[] =
    options.mode !== undefined ? [options.mode] : globals.json ? ['restore-size'] : ['restore-size', 'raw-data']
  let outcome: Outcome = 'succeeded'
  let shownAt = 0
  const statistics = await snapshotStatistics(access, {
    names: operands,
    filter: snapshotFilter(options),
    modes,
    signal,
    onTrees(trees) {
      if (screen.liveStream === undefined || performance.now() - shownAt < 100) return
      shownAt = performance.now()
      screen.live(`${counted(trees, 'folder')} read`)
    },
    onUnreadable(message) {
      outcome = 'incomplete'
      invocation.complain(unreadable(message))
    },
  })
  screen.live(undefined)
  if (globals.json) io.stdout.write(`${JSON.stringify(statisticsJson(statistics))}\n`)
  else screen.print(statisticsLines(statistics, options.mode).join('\n'))
  return outcome
}

/** What is zero is left out, but for the size and the number of snapshots. */
function statisticsJson({
  snapshots,
  canCompress,
  restoreSize,
  byContents,
  blobsPerFile,
  rawData,
}: SnapshotStatistics) {
  const files = restoreSize ?? byContents ?? blobsPerFile
  const saved = rawData && canCompress ? compression(rawData) : undefined
  return {
    total_size: (files ?? rawData)?.bytes,
    total_uncompressed_size: saved?.uncompressedBytes || undefined,
    compression_ratio: saved?.ratio || undefined,
    compression_progress: saved?.progress || undefined,
    compression_space_saving: saved?.saving || undefined,
    total_file_count: files?.files || undefined,
    total_blob_count: (blobsPerFile ?? rawData)?.blobs || undefined,
    snapshots_count: snapshots,
  }
}

/** In per cent but for the ratio; zeros where nothing can be compressed, as in version 1. */
function compression({ bytes, uncompressedBytes, compressed }: NonNullable<SnapshotStatistics['rawData']>) {
  return {
    uncompressedBytes,
    ratio: compressed.bytes > 0 ? compressed.uncompressedBytes / compressed.bytes : 0,
    progress: uncompressedBytes > 0 ? (compressed.uncompressedBytes / uncompressedBytes) * 100 : 0,
    saving: uncompressedBytes > 0 ? (1 - bytes / uncompressedBytes) * 100 : 0,
  }
}

function statisticsLines(statistics: SnapshotStatistics, mode: StatisticsMode | undefined): string[] {
  const { snapshots, restoreSize, byContents, blobsPerFile, rawData } = statistics
  const lines: [string, string][] = [['Snapshots', formatCount(snapshots)]]
  if (restoreSize && rawData) {
    const { uncompressedBytes: unique } = rawData
    const whole = restoreSize.bytes
    lines.push(
      [
        'To restore',
        `${formatBytes(whole)} in ${counted(restoreSize.files, 'entry', 'entries')}, each as often as it is there`,
      ],
      [
        'Unique',
        `${formatBytes(unique)} in ${counted(rawData.blobs, 'blob')}${saving('deduplication', whole, unique)}`,
      ],
      ['Stored', `${formatBytes(rawData.bytes)}${saving('compression', unique, rawData.bytes)}`],
    )
    if (rawData.bytes > 0)
      lines.push(['Together', `${(whole / rawData.bytes).toFixed(2)} times as much restored as stored`])
  } else {
    if (mode !== undefined) lines.unshift(['Mode', mode])
    const files = restoreSize ?? byContents ?? blobsPerFile
    if (files) lines.push([restoreSize ? 'Entries' : 'Files', formatCount(files.files)])
    const blobs = (blobsPerFile ?? rawData)?.blobs
    if (blobs !== undefined) lines.push(['Blobs', formatCount(blobs)])
    if (rawData) {
      const { uncompressedBytes, ratio, progress, saving: saved } = compression(rawData)
      lines.push(['Uncompressed', formatBytes(uncompressedBytes)], ['Size', formatBytes(rawData.bytes)])
      if (ratio > 0) {
        lines.push(
          ['Compressed', `${progress.toFixed(2)}%`],
          ['Ratio', `${ratio.toFixed(2)}x`],
          ['Saved', `${saved.toFixed(2)}%`],
        )
      }
    } else if (files) lines.push(['Size', formatBytes(files.bytes)])
  }
  const width = Math.max(...lines.map(([title]) => title.length)) + 1
  return lines.map(([title, text]) => `${`${title}:`.padEnd(width)}  ${text}`)
}

function saving(what: string, before: number, after: number): string {
  if (before <= 0 || after >= before) return ''
  return `; ${what} saves ${formatBytes(before - after)} (${(((before - after) / before) * 100).toFixed(1)}%)`
}
