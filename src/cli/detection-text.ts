import type { Detection } from '../application/config/detection.ts'
import { formatFinding } from './event-printer.ts'
import type { Style } from './style.ts'
import { displayWidth, escapeText, pad, wrap } from './terminal-text.ts'

/** Beyond this, lines are hard to read. */
const WIDEST = 100
const INDENT = '  '
/** More names than this of what is left out tell nothing more. */
const NAMES_SHOWN = 12

/** What was found in an application's folder, as an outline: what will be backed up and why, what will not and why. */
export function detectionLines(detection: Detection, columns: number, style: Style): string[] {
  const width = Math.min(columns, WIDEST)
  const { app, root, owner, port, components, leftOut, findings } = detection
  const facts = [
    ...(owner === undefined ? [] : [`owned by ${owner.user}:${owner.group}`]),
    ...(port === undefined ? [] : [`port ${port}`]),
  ]
  const names = components.reduce((widest, { name }) => Math.max(widest, displayWidth(escapeText(name))), 0)
  const hanging = INDENT + ' '.repeat(names) + INDENT
  const below = (text: string) => wrap(text, width - hanging.length).map((line) => hanging + line)
  return [
    `${style.bold(escapeText(app))} in ${escapeText(root)}${facts.length === 0 ? '' : ` (${escapeText(facts.join(', '))})`}`,
    '',
    style.bold('Will be backed up'),
    ...(components.length === 0 ? [`${INDENT}nothing: no component was found`] : []),
    ...components.flatMap(({ name, paths, reasons }) => {
      const [first, ...more] = wrap(paths.map(escapeText).join(', '), width - hanging.length)
      return [
        `${INDENT}${style.green(pad(escapeText(name), names))}${INDENT}${first}`,
        ...more.map((line) => hanging + line),
        ...reasons.flatMap((reason) => below(escapeText(reason)).map((line) => style.dim(line))),
      ]
    }),
    ...(leftOut.length === 0 ? [] : ['', style.bold('Will not')]),
    ...leftOut.flatMap(({ names: left, reason }) => {
      const shown = left.slice(0, NAMES_SHOWN).map(escapeText).join(', ')
      const list = left.length > NAMES_SHOWN ? `${shown} and ${left.length - NAMES_SHOWN} more` : shown
      return [
        ...wrap(list, width - INDENT.length).map((line) => INDENT + line),
        ...wrap(escapeText(reason), width - 2 * INDENT.length).map((line) => style.dim(INDENT + INDENT + line)),
      ]
    }),
    ...(findings.length === 0 ? [] : ['']),
    ...findings.filter(({ severity }) => severity !== 'note').map((finding) => formatFinding(finding, style, width)),
  ]
}

/** The same for programs. */
export function detectionJson({ app, root, owner, port, components, leftOut, findings }: Detection) {
  return {
    app,
    root,
    owner: owner === undefined ? undefined : `${owner.user}:${owner.group}`,
    port,
    components: components.map(({ name, kind, paths, reasons }) => ({ name, kind, paths, reasons })),
    left_out: leftOut.map(({ names, reason }) => ({ names, reason })),
    findings,
  }
}
