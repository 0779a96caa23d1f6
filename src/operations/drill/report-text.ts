import type { CheckState, DrillReport } from './drill-report.ts'

const BOXES: Readonly<Record<CheckState, string>> = { passed: '[x]', failed: '[ ]', skipped: '[-]' }
const WORDS: Readonly<Record<CheckState, string>> = { passed: 'passed', failed: 'FAILED', skipped: 'not done' }

/** The report as Markdown, with the fields of a restore test that a person would fill in. */
export function reportMarkdown(report: DrillReport): string {
  const { snapshot } = report
  const rows = [
    ['Result', `**${report.outcome}**`],
    ['Application', report.app],
    ['Date', day(report.start)],
    ['Tester', `${report.tester} on ${report.host}`],
    ['Backup tested', `${snapshot.id.slice(0, 8)} of ${moment(snapshot.time)}`],
    ['Proven', levelText(report.level)],
  ]
  return [
    '# Restore test report',
    table(rows),
    '## Results',
    report.checks
      .map(
        ({ state, title, detail }) =>
          `- ${BOXES[state]} ${oneLine(title)}: ${state === 'passed' ? '' : `${WORDS[state]}: `}${oneLine(detail)}`,
      )
      .join('\n'),
    '## Issues found',
    list(
      report.issues.map(
        ({ severity, message, hint }) => `${severity}: ${message}${hint === undefined ? '' : `. ${hint}`}`,
      ),
    ),
    '## Time to restore',
    table(timeRows(report)),
    '## Notes',
    list([
      ...(snapshot.note === undefined ? [] : [snapshot.note]),
      ...report.notes.filter((note) => note !== snapshot.note),
    ]),
    '## Recommendations',
    list(report.recommendations),
    `Next test due: ${report.nextDue === undefined ? 'no drills are configured' : day(report.nextDue)}`,
    '',
  ].join('\n\n')
}

/** The same as a page that needs nothing else: no script, no font, no address. */
export function reportHtml(report: DrillReport): string {
  const { snapshot } = report
  const facts = [
    ['Application', report.app],
    ['Date', day(report.start)],
    ['Tester', `${report.tester} on ${report.host}`],
    ['Backup tested', `${snapshot.id.slice(0, 8)} of ${moment(snapshot.time)}`],
    ['Proven', levelText(report.level)],
  ]
  const checks = report.checks.map(
    ({ state, title, detail }) =>
      `<tr class="${state}"><td>${WORDS[state]}</td><td>${escapeHtml(title)}</td><td>${escapeHtml(detail)}</td></tr>`,
  )
  const issues = report.issues.map(
    ({ severity, message, hint }) =>
      `<li><b>${severity}</b> ${escapeHtml(message)}${hint === undefined ? '' : `<br><small>${escapeHtml(hint)}</small>`}</li>`,
  )
  const items = (texts: readonly string[]) => texts.map((text) => `<li>${escapeHtml(text)}</li>`)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Restore test of ${escapeHtml(report.app)}, ${day(report.start)}: ${report.outcome}</title>
<style>
:root { color-scheme: light dark; --ok: #1a7f37; --bad: #cf222e; --dim: #6e7781; --line: #8885 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.result { display: inline-block; padding: .15rem .7rem; border-radius: 1rem; color: #fff; font-weight: 600 }
.result.succeeded { background: var(--ok) } .result.failed { background: var(--bad) } .result.incomplete { background: #9a6700 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere }
td:first-child, th { white-space: nowrap } th { font-weight: 600; width: 12rem }
.passed td:first-child { color: var(--ok); font-weight: 600 } .failed td:first-child { color: var(--bad); font-weight: 600 } .skipped td { color: var(--dim) }
.bar { display: block; height: .6rem; background: var(--ok); border-radius: .3rem; min-width: 2px }
</style>
</head>
<body>
<h1>Restore test of ${escapeHtml(report.app)}</h1>
<p><span class="result ${report.outcome}">${report.outcome}</span></p>
<table>${facts.map(([name, value]) => `<tr><th>${name}</th><td>${escapeHtml(value!)}</td></tr>`).join('')}</table>
<h2>Results</h2>
<table>${checks.join('')}</table>
<h2>Issues found</h2>
${issues.length === 0 ? '<p>None.</p>' : `<ul>${issues.join('')}</ul>`}
<h2>Time to restore</h2>
<table>${phaseRows(report)}${timeRows(report)
    .slice(report.phases.length)
    .map(([name, value]) => `<tr><th>${name}</th><td colspan="2">${escapeHtml(value!)}</td></tr>`)
    .join('')}</table>
<h2>Notes</h2>
<ul>${items(report.notes).join('') || '<li>None.</li>'}</ul>
<h2>Recommendations</h2>
<ul>${items(report.recommendations).join('') || '<li>None.</li>'}</ul>
<p>Next test due: <b>${report.nextDue === undefined ? 'no drills are configured' : day(report.nextDue)}</b></p>
</body>
</html>
`
}

function phaseRows({ phases }: DrillReport): string {
  const longest = Math.max(1, ...phases.map(({ milliseconds }) => milliseconds))
  return phases
    .map(
      ({ phase, milliseconds }) =>
        `<tr><th>${escapeHtml(phase)}</th><td>${spell(milliseconds)}</td><td width="60%"><span class="bar" style="width:${((100 * milliseconds) / longest).toFixed(1)}%"></span></td></tr>`,
    )
    .join('')
}

function timeRows({ phases, start, end, predicted, objective }: DrillReport): string[][] {
  return [
    ...phases.map(({ phase, milliseconds }) => [phase, spell(milliseconds)]),
    ['Start', moment(start)],
    ['End', moment(end)],
    ['Total', spell(end.getTime() - start.getTime())],
    ...(predicted === undefined
      ? []
      : [['A whole recovery, predicted', `${spell(predicted.milliseconds)}${without(predicted.unknown)}`]]),
    ...(objective === undefined ? [] : [['Promised (RTO)', spell(objective)]]),
  ]
}

function without(unknown: readonly string[]): string {
  return unknown.length === 0 ? '' : `, without ${unknown.join(', ')}: not measured`
}

function levelText(level: DrillReport['level']): string {
  return {
    stored: 'nothing: it could not be restored',
    restored: 'restored: its files were brought back and read again',
    opened: 'opened: restored, its databases and seals opened',
    running: 'running: restored, opened, and the application answered from it',
  }[level]
}

function table(rows: readonly (readonly string[])[]): string {
  return ['| | |', '|---|---|', ...rows.map(([name, value]) => `| ${cell(name!)} | ${cell(value!)} |`)].join('\n')
}

function list(lines: readonly string[]): string {
  return lines.length === 0 ? 'None.' : lines.map((line) => `- ${oneLine(line)}`).join('\n')
}

/** Names and messages may hold anything: a report is not to be written by them. */
function oneLine(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ').replace(/[<>]/g, (mark) => (mark === '<' ? '&lt;' : '&gt;'))
}

function cell(text: string): string {
  return oneLine(text).replaceAll('|', '\\|')
}

function escapeHtml(text: string): string {
  const marks: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  }
  return text.replace(/\p{Cc}+/gu, ' ').replace(/[&<>"']/g, (mark) => marks[mark]!)
}

function day(at: Date): string {
  return at.toISOString().slice(0, 10)
}

function moment(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

export function spell(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`
  const seconds = milliseconds / 1000
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`
}
