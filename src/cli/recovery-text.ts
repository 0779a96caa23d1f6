import type { FileChanges, ListedChange } from '../operations/recovery/file-changes.ts'
import type { PredictedPhase, RecoveryPhase } from '../operations/recovery/predict-recovery.ts'
import { playbookOf } from '../operations/recovery/recover.ts'
import type { RecoveryPlan } from '../operations/recovery/recovery-plan.ts'
import type { Relocation } from '../operations/restore/relocation.ts'
import type { FinishedSummary } from './command.ts'
import { formatFinding } from './event-printer.ts'
import { counted, formatBytes, formatDate, formatDuration, formatRate, formatRelative, shortId } from './format.ts'
import type { Style } from './style.ts'
import { escapeText } from './terminal-text.ts'

export interface RecoveryTextOptions {
  readonly style: Style
  readonly now: Date
  /** Also each file and folder. */
  readonly verbose: boolean
  readonly withFindings: boolean
  readonly width?: number | undefined
}

/** Of a long list, as much as still lets the rest be seen. */
const SHOWN = 12

/** Everything that an operator must know before a machine is changed. */
export function recoveryPlanLines(plan: RecoveryPlan, options: RecoveryTextOptions): string[] {
  const { style, now, width } = options
  if (plan.goesBack) return goingBackLines(plan, options)
  const time = new Date(plan.time)
  const incomplete = plan.snapshotOutcome === 'incomplete' ? style.yellow(', incomplete') : ''
  return [
    `${style.bold(escapeText(titleOf(plan)))} from snapshot ${shortId(plan.snapshot)}${incomplete}`,
    `Made ${formatDate(time)} (${formatRelative(time, now)}) on ${escapeText(plan.host)}; ${counted(plan.files, 'file')}, ${formatBytes(plan.bytes)}`,
    ...(plan.resumes === undefined
      ? []
      : [style.yellow(`Goes on with a recovery that was begun ${formatRelative(new Date(plan.resumes), now)}`)]),
    ...relocationLines(plan.relocation),
    '',
    style.bold('Steps'),
    ...plan.steps.map(({ title, detail, state }, index) => {
      const mark = state === 'done' ? style.green('✓') : `${index + 1}.`
      const done = state === 'done' ? ' (done)' : ''
      return `  ${mark} ${escapeText(title)}${done}${detail === '' ? '' : style.dim(`  ${escapeText(detail)}`)}`
    }),
    ...commandLines(plan, style),
    ...changeLines(plan, options),
    ...rewriteLines(plan, options),
    ...needLines(plan, style),
    ...timeLines(plan, options),
    ...(options.withFindings ? findingLines('What is missing on this machine', plan.preflight, style, width) : []),
    ...(options.withFindings ? findingLines('Look at this', plan.findings, style, width) : []),
  ]
}

function goingBackLines(plan: RecoveryPlan, { style, now }: RecoveryTextOptions): string[] {
  const begun = formatRelative(new Date(plan.resumes!), now)
  return [
    `${style.bold(escapeText(titleOf(plan)))}: what was begun ${begun} is taken back`,
    style.yellow('That was being done when it was cut off. It is finished first; nothing is restored'),
    '',
    style.bold('Steps that are taken back'),
    ...plan.steps
      .filter(({ state }) => state !== 'pending' && state !== 'undone')
      .toReversed()
      .map(({ title }, index) => `  ${index + 1}. ${escapeText(title)}`),
  ]
}

function titleOf({ app, part, components }: RecoveryPlan): string {
  if (part === undefined) return `Full recovery of ${app}`
  return part.kind === 'secrets'
    ? `The secrets of ${app}`
    : `${components.map(({ name }) => name).join(', ')} of ${app}`
}

function relocationLines({ root, user, group, ports }: Relocation): string[] {
  const changes = [
    ...(root === undefined ? [] : [`root ${root.from} → ${root.to}`]),
    ...(user === undefined ? [] : [`user ${user.from} → ${user.to}`]),
    ...(group === undefined ? [] : [`group ${group.from} → ${group.to}`]),
    ...ports.map(({ from, to }) => `port ${from} → ${to}`),
  ]
  return changes.length === 0 ? [] : [`Different here: ${escapeText(changes.join(', '))}`]
}

/** Of a run that is gone on with those that are still to be run. */
function pendingCommands({ commands, steps }: RecoveryPlan): RecoveryPlan['commands'] {
  return commands.filter(({ what }) => steps.find(({ id }) => id === what)?.state !== 'done')
}

function commandLines(plan: RecoveryPlan, style: Style): string[] {
  const commands = pendingCommands(plan)
  const { configFrom } = plan
  if (commands.length === 0) return []
  return [
    '',
    style.bold(
      `Commands that are run, as ${configFrom === 'snapshot' ? 'the config in the snapshot' : 'your config'} says`,
    ),
    ...commands.map(({ what, command, user }) => {
      const as = user === 'root' ? style.yellow('as root') : `as ${escapeText(user)}`
      return `  ${what}, ${as}: ${escapeText(command)}`
    }),
  ]
}

function changeLines(plan: RecoveryPlan, { style, verbose }: RecoveryTextOptions) {
  const { components, others } = plan
  const lines: string[] = []
  for (const { name, plan: inPlace, changes } of components) {
    if (inPlace === undefined || changes === undefined) continue
    lines.push(`  ${style.bold(escapeText(name))}  ${countsText(changes)}`)
    for (const { path, present, before } of inPlace.units) {
      const kept = before === undefined ? '' : `, what is there is kept as ${escapeText(before)}`
      lines.push(style.dim(`    ${escapeText(path)}: ${PRESENT[present]}${kept}`))
    }
    const listed = verbose ? changes.list : []
    for (const each of listed) lines.push(style.dim(`      ${SIGNS[each.change]} ${pathText(each)}`))
    if (verbose && changes.leftOut > 0) lines.push(style.dim(`      and ${changes.leftOut} more`))
  }
  if (others.length > 0) lines.push(`  ${style.bold('besides')}`)
  for (const each of others) lines.push(`    ${pathText(each)}  ${each.change}`)
  if (lines.length === 0) return []
  const isLong = !verbose && components.some(({ changes }) => changes !== undefined && changes.list.length > 0)
  const notes = [
    ...(isLong ? ['With -v, each file and folder is listed.'] : []),
    ...(pendingCommands(plan).length > 0 ? ['What the commands write is theirs, and not known beforehand.'] : []),
  ]
  return ['', style.bold('Files and folders'), ...lines, ...notes.map((note) => `  ${style.dim(note)}`)]
}

function countsText({ counts, folderCounts }: FileChanges): string {
  const words = { created: 'created', changed: 'changed', removed: 'moved aside', unchanged: 'as they are' } as const
  const facts = (['created', 'changed', 'removed', 'unchanged'] as const).flatMap((change) => {
    const folders = folderCounts[change] === 0 ? '' : `, ${counted(folderCounts[change], 'folder')}`
    const amount = counts[change] === 0 ? folders.slice(2) : `${counts[change]}${folders}`
    return amount === '' ? [] : [`${words[change]}: ${amount}`]
  })
  return facts.join('; ') || 'nothing'
}

/** A folder ends with a slash. */
function pathText({ path, isFolder }: ListedChange): string {
  return `${escapeText(path)}${isFolder ? '/' : ''}`
}

const SIGNS = { created: '+', changed: '~', removed: '-' } as const

const PRESENT = {
  folder: 'replaces a folder',
  file: 'replaces a file',
  other: 'replaces a link or a special file',
  nothing: 'nothing is there now',
} as const

function rewriteLines({ rewrites }: RecoveryPlan, { style }: RecoveryTextOptions): string[] {
  if (rewrites.length === 0) return []
  return [
    '',
    style.bold('Lines that are rewritten'),
    ...rewrites.flatMap(({ path, lines }) => [
      `  ${escapeText(path)}`,
      ...lines.flatMap(({ line, before, after }) => [
        style.dim(`    ${line} - ${escapeText(before)}`),
        `    ${line} + ${escapeText(after)}`,
      ]),
    ]),
  ]
}

function needLines({ space }: RecoveryPlan, style: Style): string[] {
  const room = space.map(({ path, needed, free }) => {
    const there = Number.isFinite(free) ? `${formatBytes(free)} free` : 'free space unknown'
    return `  ${formatBytes(needed)} at ${escapeText(path)} (${there})`
  })
  return room.length === 0 ? [] : ['', style.bold('Room needed'), ...room]
}

const PHASES: Readonly<Record<RecoveryPhase, string>> = {
  restore: 'restore',
  install: 'install',
  build: 'build',
  start: 'start',
  health: 'health',
  rest: 'the rest',
}
const REST = 'accounts, owners and modes, systemd, nginx: '

function timeLines(
  { prediction: { phases, milliseconds }, reading }: RecoveryPlan,
  { style, now }: RecoveryTextOptions,
) {
  if (phases.length === 0) return []
  const unknown = phases.filter(({ basis }) => basis === 'unknown').map(({ phase }) => PHASES[phase])
  const known = unknown.length < phases.length ? `about ${formatDuration(milliseconds)}` : 'nobody knows'
  const more =
    unknown.length === 0 ? '' : unknown.length < phases.length ? `, and what is unknown: ${unknown.join(', ')}` : ''
  return [
    '',
    style.bold('Time needed'),
    `  ${known}${more}`,
    ...phases.map(({ phase, milliseconds: each, basis, from }) => {
      const length = each === undefined ? 'unknown' : formatDuration(each)
      return style.dim(
        `    ${PHASES[phase].padEnd(9)} ${length.padEnd(9)} ${phase === 'rest' ? REST : ''}${basisText(basis, from, reading, now)}`,
      )
    }),
  ]
}

function basisText(
  basis: PredictedPhase['basis'],
  from: PredictedPhase['from'],
  reading: RecoveryPlan['reading'],
  now: Date,
): string {
  if (basis === 'unknown') return 'no drill or recovery has measured it'
  if (from === undefined) return `estimated: to read it, at ${formatRate(reading!.bytes, reading!.milliseconds)}`
  const which = `the ${from.by} ${formatRelative(new Date(from.at), now)} on ${escapeText(from.host)}`
  return basis === 'measured' ? `measured by ${which}` : `estimated by its size from ${which}`
}

function findingLines(
  title: string,
  findings: RecoveryPlan['findings'],
  style: Style,
  width: number | undefined,
): string[] {
  if (findings.length === 0) return []
  const more = findings.length > SHOWN ? [`and ${findings.length - SHOWN} more`] : []
  const shown = findings.slice(0, SHOWN).map((finding) => formatFinding(finding, style, width))
  return ['', style.bold(title), ...shown, ...more]
}

/** The same for programs. */
export function recoveryPlanJson(plan: RecoveryPlan) {
  return {
    message_type: 'plan',
    ...(plan.part === undefined ? {} : { playbook: playbookOf(plan.part) }),
    snapshot_id: plan.snapshot,
    time: plan.time,
    app: plan.app,
    host: plan.host,
    snapshot_outcome: plan.snapshotOutcome,
    root: plan.root,
    owner: plan.owner,
    relocation: plan.relocation,
    resumes: plan.resumes,
    goes_back: plan.goesBack,
    files: plan.files,
    bytes: plan.bytes,
    components: plan.components.map(({ name, kind, plan: inPlace, changes }) => ({
      name,
      kind,
      units: inPlace?.units.map(({ path, source, present, before, files, bytes, secrets, kept }) => {
        return { path, source, present, before, files, bytes, secrets, kept }
      }),
      counts: changes?.counts,
      folder_counts: changes?.folderCounts,
      changes: changes?.list.map(listedJson),
      changes_left_out: changes?.leftOut,
    })),
    besides: plan.others.map((each) => ({ ...listedJson(each), step: each.step })),
    rewrites: plan.rewrites,
    config_file: plan.configFile,
    password_file: plan.passwordFile,
    account_commands: plan.accountCommands,
    config_from: plan.configFrom,
    commands: plan.commands,
    service: plan.service,
    unit: plan.unit,
    boot: plan.boot,
    starts: plan.starts,
    reloads_units: plan.units,
    reloads_web_server: plan.webServer,
    space: plan.space.map(({ path, needed, free }) => ({
      path,
      needed,
      free: Number.isFinite(free) ? free : undefined,
    })),
    estimated_seconds: Math.ceil(plan.prediction.milliseconds / 1000),
    time_needed: plan.prediction.phases.map(({ phase, milliseconds, basis, from }) => ({
      phase,
      milliseconds,
      basis,
      measured_by: from?.by,
      measured_at: from?.at,
      measured_on: from?.host,
    })),
    steps: plan.steps.map(({ id, title, detail, state }) => ({ step: id, title, detail, state })),
    preflight: plan.preflight,
    findings: plan.findings,
  }
}

function listedJson({ path, change, isFolder }: ListedChange) {
  return { path, change, folder: isFolder }
}

export function recoveredLines(summary: FinishedSummary): string[] {
  if (summary.declined === true) return ['Nothing was changed']
  const facts = summary as {
    app: string
    snapshot_id: string
    files_restored: number
    bytes_restored: number
    components?: readonly string[]
    steps: readonly { title: string; milliseconds: number }[]
    kept: readonly { before: string }[]
  }
  const all = facts.steps.reduce((sum, { milliseconds }) => sum + milliseconds, 0)
  return [
    '',
    `${escapeText(facts.components === undefined ? facts.app : `${facts.components.join(', ')} of ${facts.app}`)} is back from snapshot ${shortId(facts.snapshot_id)}: ${counted(facts.steps.length, 'step')} in ${formatDuration(all)}`,
    ...(facts.kept.length === 0
      ? []
      : [
          'What was there before is kept; remove it once all is well:',
          ...facts.kept.map(({ before }) => `  ${escapeText(before)}`),
        ]),
  ]
}
