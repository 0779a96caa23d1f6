import type { Diagnosis, Proposal } from '../operations/rescue/diagnose.ts'
import type { ComponentChanges, Situation } from '../operations/rescue/situation.ts'
import { counted, formatBytes, formatDate, formatRelative, shortId } from './format.ts'
import type { Style } from './style.ts'
import { escapeText } from './terminal-text.ts'

export interface SituationTextOptions {
  readonly style: Style
  readonly now: Date
  /** Also each changed file. */
  readonly verbose: boolean
  /** The command line of a proposal. */
  readonly commandOf: (proposal: Proposal) => string
}

type Mark = 'good' | 'bad' | 'look' | 'fact'

interface Line {
  readonly mark: Mark
  readonly what: string
  readonly text: string
  readonly more?: readonly string[]
}

/** For a frightened operator: what was seen, what is likely wrong, what helps. */
export function situationLines(situation: Situation, diagnosis: Diagnosis, options: SituationTextOptions): string[] {
  const { style } = options
  const { app, config, unseen } = situation
  const where = config.isThere ? 'not the one that is here' : 'gone here'
  const from = config.from === 'snapshot' ? ` (${where}: as the newest snapshot has it)` : ''
  return [
    `${style.bold(escapeText(app))}  ${style.dim(escapeText(config.file) + from)}`,
    '',
    style.bold('What was seen'),
    ...seenLines(situation, options).flatMap((line) => layout(line, style)),
    ...unseen.map((line) => style.dim(`  ? not seen: ${escapeText(line)}`)),
    '',
    ...troubleLines(diagnosis, style),
    ...helpLines(diagnosis, options),
  ]
}

const WIDTH = 11

function layout({ mark, what, text, more = [] }: Line, style: Style): string[] {
  const signs = { good: style.green('✓'), bad: style.red('✗'), look: style.yellow('!'), fact: style.dim('·') }
  return [
    `  ${signs[mark]} ${what.padEnd(WIDTH)} ${text}`,
    ...more.map((line) => style.dim(`    ${' '.repeat(WIDTH)} ${line}`)),
  ]
}

function seenLines(situation: Situation, options: SituationTextOptions): Line[] {
  const { root, unfinished } = situation
  return [
    ...(unfinished === undefined
      ? []
      : [{ mark: 'bad', what: 'unfinished', text: escapeText(unfinished.operation) } as const]),
    ...(root.isThere ? [] : [{ mark: 'bad', what: 'root', text: `${escapeText(root.path)} is gone` } as const]),
    ...serviceLines(situation, options),
    ...hostLines(situation),
    ...databaseLines(situation),
    ...secretLines(situation),
    ...changeLines(situation, options),
    ...deployLines(situation, options),
    ...snapshotLines(situation, options),
  ]
}

function serviceLines(
  { service, checks, portTakenBy, webServer, restartedInVain }: Situation,
  { now }: SituationTextOptions,
) {
  const lines: Line[] = []
  if (service === undefined) lines.push({ mark: 'look', what: 'service', text: 'the config does not say how it runs' })
  else {
    const { name, state, said, keepsFailing } = service
    const isBad = keepsFailing || state === 'stopped' || state === 'failed' || state === 'absent'
    const again = keepsFailing && state === 'changing' ? 'starts again and again' : undefined
    const text = `${escapeText(name)}${state === undefined ? '' : ` ${again ?? `is ${state}`}`}`
    const more = said.map((line) => `it said: ${escapeText(line)}`)
    lines.push({ mark: isBad ? 'bad' : state === 'running' ? 'good' : 'fact', what: 'service', text, more })
  }
  for (const { check, subject, passed, detail } of checks) {
    lines.push({ mark: passed ? 'good' : 'bad', what: check, text: `${escapeText(subject)}: ${escapeText(detail)}` })
  }
  if (portTakenBy !== undefined) {
    const { port, pid, command } = portTakenBy
    const who = pid === undefined ? 'another process' : `process ${pid} (${escapeText(command ?? '')})`
    lines.push({ mark: 'bad', what: 'port', text: `${port} is taken by ${who}` })
  }
  if (webServer !== undefined) {
    const { isRunning, problem } = webServer
    const text = `${isRunning ? 'runs' : 'does not run'}${problem === undefined ? '' : `; ${escapeText(problem)}`}`
    lines.push({ mark: isRunning && problem === undefined ? 'good' : 'bad', what: 'nginx', text })
  }
  if (restartedInVain !== undefined) {
    const { at, why } = restartedInVain
    const when = formatRelative(new Date(at), now)
    lines.push({ mark: 'bad', what: 'restart', text: `did not help ${when}: ${escapeText(shortened(why))}` })
  }
  return lines
}

const REASON_LENGTH = 160

function shortened(text: string): string {
  return text.length > REASON_LENGTH ? `${text.slice(0, REASON_LENGTH)}…` : text
}

function hostLines({ space }: Situation): Line[] {
  return space.map(({ path, free, total, isFull }) => ({
    mark: isFull ? 'bad' : 'good',
    what: 'disk',
    text: `${formatBytes(free)} of ${formatBytes(total)} free at ${escapeText(path)}`,
  }))
}

function databaseLines({ databases }: Situation): Line[] {
  return databases.map(({ path, trouble, seen }) => ({
    mark: trouble === 'sound' ? 'good' : 'bad',
    what: 'database',
    text: `${escapeText(path)}: ${trouble === 'sound' ? 'sound' : escapeText(seen)}`,
  }))
}

function secretLines({ secrets }: Situation): Line[] {
  if (secrets === undefined) return []
  const { count, missing, key } = secrets
  const there = missing.length === 0 ? `all ${count} are there` : `${missing.length} of ${count} are missing`
  const text = `${there}; the private key that opens the seals is ${key === 'here' ? 'here' : 'not here'}`
  return [
    { mark: missing.length === 0 ? 'good' : 'bad', what: 'secrets', text, more: missing.map(escapeText).slice(0, 5) },
  ]
}

function changeLines({ changes = [] }: Situation, { now, verbose }: SituationTextOptions): Line[] {
  return changes.flatMap((component): Line[] => {
    const { name, isGone, isData, missing, changed, added, last, files } = component
    if (missing + changed + added === 0 && !isGone) return []
    const counts = countsOf(component)
    const when = last === undefined ? '' : `, last ${formatRelative(last, now)}`
    const shown = verbose ? files : files.slice(0, 3)
    const more = shown.map(({ path, change }) => `${change}: ${escapeText(path)}`)
    return [
      {
        mark: isGone || missing > 0 ? 'bad' : isData ? 'fact' : 'look',
        what: 'changed',
        text: `${escapeText(name)} since the newest snapshot: ${isGone ? 'all of it is gone' : `${counts}${when}`}`,
        more: isData && missing === 0 && !verbose ? [] : more,
      },
    ]
  })
}

function countsOf({ missing, changed, added }: ComponentChanges): string {
  return [
    ...(missing > 0 ? [`${counted(missing, 'file')} missing`] : []),
    ...(changed > 0 ? [`${changed} changed`] : []),
    ...(added > 0 ? [`${added} added`] : []),
  ].join(', ')
}

function deployLines({ deploy }: Situation, { now }: SituationTextOptions): Line[] {
  if (deploy === undefined) return []
  const { by, at, what } = deploy
  const names = { git: 'git', link: 'the link', npm: 'npm install' }
  return [{ mark: 'fact', what: 'deploy', text: `${formatRelative(at, now)}, by ${names[by]}: ${escapeText(what)}` }]
}

function snapshotLines({ repository, newest, proven }: Situation, { now }: SituationTextOptions): Line[] {
  if (repository.problem !== undefined) {
    return [{ mark: 'bad', what: 'repository', text: escapeText(repository.problem) }]
  }
  if (newest === undefined) return [{ mark: 'bad', what: 'snapshot', text: 'there is none of the whole application' }]
  const time = `${formatDate(newest.time)} (${formatRelative(newest.time, now)})`
  const whole = newest.isWhole ? '' : ', incomplete'
  return [
    {
      mark: newest.isWhole ? 'good' : 'look',
      what: 'snapshot',
      text: `newest ${shortId(newest.id)} of ${time}${whole}`,
    },
    proven === undefined
      ? { mark: 'look', what: 'proven', text: 'of no snapshot is more proven than that it was stored' }
      : {
          mark: 'good',
          what: 'proven',
          text: `${shortId(proven.id)} of ${formatDate(proven.time)}: ${proven.level}, on ${formatDate(proven.at).slice(0, 10)}`,
        },
  ]
}

function troubleLines({ troubles }: Diagnosis, style: Style): string[] {
  if (troubles.length === 0) return [style.green('Nothing seems to be wrong.')]
  return [
    style.bold('What is wrong, most likely'),
    ...troubles.flatMap(({ message, hint }) => [
      `  ${style.red(escapeText(message))}`,
      ...(hint === undefined ? [] : [`    ${style.cyan('hint:')} ${escapeText(hint)}`]),
    ]),
  ]
}

/** A command stands on a line of its own and is never wrapped: it is to be copied. */
function helpLines({ proposal, next, troubles }: Diagnosis, { style, commandOf }: SituationTextOptions): string[] {
  const lines = (each: Proposal) => [`  ${style.bold(commandOf(each))}`, `    ${escapeText(each.why)}`]
  const later = next.slice(0, 3).flatMap(lines)
  if (proposal === undefined) {
    return later.length === 0 ? [] : ['', style.bold('Once that is done'), ...later]
  }
  const rest = troubles.length > 1 ? 'Then, or when it does not help' : 'When it does not help'
  return [
    '',
    style.bold('What can help'),
    ...lines(proposal),
    ...(later.length === 0 ? [] : ['', style.bold(rest), ...later]),
  ]
}

/** The same for programs. */
export function situationJson(
  situation: Situation,
  { troubles, proposal, next }: Diagnosis,
  commandOf: SituationTextOptions['commandOf'],
) {
  const proposed = (each: Proposal) => ({ playbook: each.playbook.kind, command: commandOf(each), why: each.why })
  const { restartedInVain, portTakenBy, webServer, newest, proven, older, changes, config, ...rest } = situation
  return {
    message_type: 'look',
    app: rest.app,
    config_file: config.file,
    config_from: config.from,
    root: rest.root.path,
    root_is_there: rest.root.isThere,
    service: rest.service && {
      name: rest.service.name,
      state: rest.service.state,
      keeps_failing: rest.service.keepsFailing,
      said: rest.service.said,
    },
    checks: rest.checks,
    port_taken_by: portTakenBy,
    web_server: webServer && { running: webServer.isRunning, problem: webServer.problem },
    space: rest.space.map(({ path, free, total, isFull }) => ({ path, free, total, full: isFull })),
    databases: rest.databases.map(({ path, trouble, seen }) => ({ database: path, trouble, seen })),
    repository: rest.repository.location,
    repository_problem: rest.repository.problem,
    newest: newest && { snapshot_id: newest.id, time: newest.time, whole: newest.isWhole },
    proven: proven && {
      snapshot_id: proven.id,
      time: proven.time,
      proof_level: proven.level,
      proven_at: proven.at,
    },
    older: older && { snapshot_id: older.id, time: older.time, components: older.components },
    changes: changes?.map(({ name, kind, isData, isGone, missing, changed, added, files, last }) => {
      return { name, kind, data: isData, gone: isGone, missing, changed, added, last, files }
    }),
    deploy: rest.deploy,
    secrets: rest.secrets,
    unfinished: rest.unfinished && {
      operation: rest.unfinished.operation,
      begun: rest.unfinished.begun,
      failed: rest.unfinished.failed,
      going_back: rest.unfinished.isGoingBack,
      repository: rest.unfinished.elsewhere,
    },
    restarted_in_vain: restartedInVain,
    unseen: rest.unseen,
    troubles,
    proposal: proposal && proposed(proposal),
    next: next.map(proposed),
  }
}
