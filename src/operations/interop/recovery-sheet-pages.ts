import encodeQR from 'qr'
import { type RecoverySheet, sheetCode, sheetSections } from './recovery-sheet.ts'

/** Columns of a page. */
const WIDTH = 78
const BLANK = '_'.repeat(30)
const KEEP = 'Keep it in two places, away from the server. Print it anew when the repository moves or a key changes.'
const SECRET = 'SECRET: with this sheet anybody reads every backup. Keep it in a safe.'

/** As text, for any printer. Nothing in it moves a cursor. */
export function sheetText(sheet: RecoverySheet): string {
  const lines = [titleOf(sheet), '='.repeat(Math.min(WIDTH, titleOf(sheet).length)), '', ...wrapped(KEEP)]
  if (sheet.password !== undefined) lines.push(...wrapped(SECRET))
  for (const { title, text, facts = [], blanks = [], commands = [] } of sheetSections(sheet)) {
    if (text === undefined && facts.length + blanks.length + commands.length === 0) continue
    lines.push('', title.toUpperCase())
    if (text !== undefined) lines.push(...wrapped(text))
    for (const [what, value] of facts) {
      const line = `${what}: ${plain(value)}`
      lines.push(...(line.length <= WIDTH ? [line] : [`${what}:`, `  ${plain(value)}`]))
    }
    for (const blank of blanks) lines.push(`${plain(blank)}:`, `  ${BLANK}  ${BLANK}`)
    for (const command of commands) lines.push(`  ${plain(command)}`)
  }
  if (sheet.password !== undefined) lines.push('', 'THE PASSWORD', `  ${plain(sheet.password)}`)
  return `${lines.join('\n')}\n`
}

/** As a page for a browser: one file that loads nothing, with codes for a phone's camera. Prints on A4 and letter. */
export function sheetHtml(sheet: RecoverySheet): string {
  const sections = sheetSections(sheet).map(({ title, text, facts = [], blanks = [], commands = [] }) => {
    const parts = [
      text === undefined ? '' : `<p>${escaped(text)}</p>`,
      facts.length === 0
        ? ''
        : `<table>${facts.map(([what, value]) => `<tr><th>${escaped(what)}</th><td>${escaped(value)}</td></tr>`).join('')}</table>`,
      ...blanks.map((blank) => `<p class="blank">${escaped(blank)} <span></span></p>`),
      commands.length === 0 ? '' : `<pre>${commands.map(escaped).join('\n')}</pre>`,
    ].join('')
    return parts === '' ? '' : `<section><h2>${escaped(title)}</h2>${parts}</section>`
  })
  const secret =
    sheet.password === undefined
      ? ''
      : `<section class="secret"><h2>The password</h2><p>${escaped(SECRET)}</p><div class="code">${code(sheet.password)}<pre>${escaped(sheet.password)}</pre></div></section>`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escaped(titleOf(sheet))}</title>
<style>${STYLE}</style>
</head>
<body>
<header><div><h1>${escaped(titleOf(sheet))}</h1><p>${escaped(KEEP)}</p></div>${code(sheetCode(sheet))}</header>
${[...sections, secret].filter((part) => part !== '').join('\n')}
</body>
</html>
`
}

const STYLE = `
@page { margin: 14mm }
body { font: 10pt/1.35 system-ui, sans-serif; color: #000; background: #fff; max-width: 182mm; margin: 0 auto; padding: 4mm }
header { display: flex; justify-content: space-between; gap: 8mm }
h1 { font-size: 16pt; margin: 0 0 2mm }
h2 { font-size: 11pt; margin: 4mm 0 1mm; border-bottom: 1px solid #888 }
p { margin: 1mm 0 }
table { border-collapse: collapse }
th { text-align: left; font-weight: normal; color: #444; padding: 0 6mm 0 0; white-space: nowrap; vertical-align: top }
td, pre { font-family: ui-monospace, monospace; font-size: 8.5pt; overflow-wrap: anywhere }
pre { white-space: pre-wrap; background: #f3f3f3; padding: 1.5mm 2mm; margin: 1mm 0 }
svg { width: 34mm; height: 34mm; flex: none }
section { break-inside: avoid }
.blank { display: flex; gap: 3mm; margin: 3mm 0; overflow-wrap: anywhere }
.blank span { flex: 1; min-width: 45mm; border-bottom: 1px solid #000 }
.secret { border: 2px solid #000; padding: 0 3mm 3mm; margin-top: 5mm }
.code { display: flex; gap: 6mm; align-items: center }
`

function titleOf({ app, printed }: RecoverySheet): string {
  return `Recovery sheet${app === undefined ? '' : ` of ${plain(app)}`}, ${printed.toISOString().slice(0, 10)}`
}

/** Each line of dark modules is one rectangle of a single path. */
function code(text: string): string {
  const rows = encodeQR(text, 'raw', { ecc: 'medium', border: 2 })
  const runs = rows.flatMap((row, y) =>
    [...row.map(Number).join('').matchAll(/1+/g)].map(
      ({ 0: run, index }) => `M${index} ${y}h${run.length}v1h-${run.length}z`,
    ),
  )
  return `<svg viewBox="0 0 ${rows.length} ${rows.length}" shape-rendering="crispEdges"><path d="${runs.join('')}"/></svg>`
}

/** Also in a page: names come from a config and a repository. */
function escaped(text: string): string {
  return plain(text).replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

function plain(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?')
}

function wrapped(text: string): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const line = lines.at(-1)
    if (line !== undefined && line.length + 1 + word.length <= WIDTH) lines[lines.length - 1] = `${line} ${word}`
    else lines.push(word)
  }
  return lines
}
