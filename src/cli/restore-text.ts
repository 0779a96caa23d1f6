import type { InPlacePlan, RestoreUnit } from '../operations/restore/plan-in-place.ts'
import type { FinishedSummary } from './command.ts'
import { formatFinding } from './event-printer.ts'
import { counted, formatBytes, formatDate, formatRelative, shortId } from './format.ts'
import type { Style } from './style.ts'
import { escapeText } from './terminal-text.ts'

export interface PlanTextOptions {
  readonly style: Style
  readonly now: Date
  readonly discardBefore: boolean
  /** Whether anybody decides by it: otherwise what is found follows at once, as it is reported. */
  readonly withFindings: boolean
  /** Columns of the terminal. */
  readonly width?: number | undefined
}

/** Everything that an operator must know before live files are replaced. */
export function inPlacePlanLines(
  plan: InPlacePlan,
  { style, now, discardBefore, withFindings, width }: PlanTextOptions,
): string[] {
  const { units, databases, inUse, stop, configFile, interrupted, findings } = plan
  const time = new Date(plan.time)
  const of = plan.app === undefined ? '' : ` of ${escapeText(plan.app)}`
  const replaced = units.find(({ before }) => before !== undefined)
  return [
    `${style.bold(`Snapshot ${shortId(plan.snapshot)}`)}${of}`,
    `${formatDate(time)} (${formatRelative(time, now)}), ${counted(plan.files, 'file')}, ${formatBytes(plan.bytes)}`,
    '',
    style.bold('Will be put in place'),
    ...units.flatMap((unit) => unitLines(unit, style)),
    ...(configFile === undefined
      ? []
      : [`  ${escapeText(configFile)}`, style.dim('    the config file, which is not there')]),
    ...(replaced === undefined
      ? []
      : [
          '',
          discardBefore
            ? style.yellow('What is there now is REMOVED once all is in place')
            : `What is there now is kept beside it, as NAME${escapeText(replaced.before!.slice(replaced.path.length))}`,
        ]),
    ...(units.every(({ secrets }) => secrets.length === 0) ? [] : ['The secrets among it are unsealed']),
    ...(interrupted.length === 0
      ? []
      : [style.yellow(`Put in order first: what ${counted(interrupted.length, 'interrupted restore')} left behind`)]),
    ...(databases.length === 0 ? [] : ['', style.bold('Databases that are replaced')]),
    ...databases.map((path) => {
      const users = inUse.filter((user) => user.path === path)
      const open = users.map(({ pid, command }) => `process ${pid} (${escapeText(command)})`).join(', ')
      return `  ${escapeText(path)}${users.length === 0 ? '' : style.yellow(`  open in ${open}`)}`
    }),
    ...(stop.length === 0
      ? []
      : ['', `Stopped for the swap, and started again if running now: ${escapeText(stop.join(', '))}`]),
    ...(inUse.length > 0 && stop.length === 0
      ? ['', style.yellow('As it is, the restore would refuse: say with --stop which service has the database open')]
      : []),
    ...(findings.length === 0 || !withFindings ? [] : ['']),
    ...(withFindings ? findings : []).map((finding) => formatFinding(finding, style, width)),
  ]
}

/** More than these would hide what matters. */
const KEPT_SHOWN = 5

function unitLines({ path, present, files, bytes, kept, beyondConfig }: RestoreUnit, style: Style): string[] {
  const stays = kept.slice(0, KEPT_SHOWN).map((entry) => escapeText(entry.slice(path.length + 1)))
  const more = kept.length > KEPT_SHOWN ? ` and ${kept.length - KEPT_SHOWN} more` : ''
  const facts = [
    counted(files, 'file'),
    formatBytes(bytes),
    PRESENT[present],
    ...(stays.length === 0 ? [] : [`${stays.join(', ')}${more} in it stays as it is`]),
  ]
  const beyond = beyondConfig ? style.yellow('  not named by the config: only with --beyond-config') : ''
  return [`  ${escapeText(path)}${beyond}`, style.dim(`    ${facts.join(', ')}`)]
}

const PRESENT = {
  folder: 'replaces a folder',
  file: 'replaces a file',
  other: 'replaces a link or a special file',
  nothing: 'nothing is there now',
} as const

/** The same for programs. */
export function inPlacePlanJson(plan: InPlacePlan) {
  return {
    message_type: 'plan',
    snapshot_id: plan.snapshot,
    time: plan.time,
    app: plan.app,
    files: plan.files,
    bytes: plan.bytes,
    units: plan.units.map(({ path, component, present, before, files, bytes, secrets, kept, beyondConfig }) => ({
      path,
      component,
      present,
      before,
      files,
      bytes,
      secrets,
      kept,
      beyond_config: beyondConfig,
    })),
    databases: plan.databases,
    in_use: plan.inUse,
    stop: plan.stop,
    config_file: plan.configFile,
    findings: plan.findings,
  }
}

export function restoreLines(summary: FinishedSummary): string[] {
  if (summary.declined === true) return ['Nothing was changed']
  const facts = summary as {
    snapshot_id: string
    target?: string
    files_restored: number
    bytes_restored: number
    files_verified?: number
    files_skipped?: number
    secrets_unsealed: number
    kept?: readonly { path: string; before: string }[]
  }
  const extra = [
    ...(facts.secrets_unsealed > 0 ? [`${counted(facts.secrets_unsealed, 'secret')} unsealed`] : []),
    ...(facts.files_skipped === undefined ? [] : [`${counted(facts.files_skipped, 'file')} kept as they were`]),
    ...(facts.files_verified === undefined ? [] : [`${counted(facts.files_verified, 'file')} read again and compared`]),
  ]
  return [
    `Restored ${counted(facts.files_restored, 'file')}, ${formatBytes(facts.bytes_restored)} of snapshot ${shortId(facts.snapshot_id)}` +
      (facts.target === undefined ? '' : ` to ${escapeText(facts.target)}`) +
      (extra.length === 0 ? '' : ` (${extra.join(', ')})`),
    ...(facts.kept === undefined || facts.kept.length === 0
      ? []
      : [
          'What was there is kept; remove it once all is well:',
          ...facts.kept.map(({ before }) => `  ${escapeText(before)}`),
        ]),
  ]
}
