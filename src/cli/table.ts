import type { Style } from './style.ts'
import { type Cut, displayWidth, escapeText, fit, pad } from './terminal-text.ts'

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
  /** Where a value may lose characters when the table is too wide; without it the column keeps its width. */
  readonly cut?: Cut
}

export interface TableOptions {
  /** Columns of the terminal; leave out for a file or a pipe, where nothing is cut. */
  readonly width?: number | undefined
  readonly style?: Style
}

const GAP = '  '
/** Less than this of a value tells nothing. */
const NARROWEST = 8

/**
 * A table with aligned columns, ready to print, without a newline at its end. Values may be any text: control characters
 * are escaped here, so that a hostile file name stays within its cell. A terminal too narrow even for shortened values
 * gets one block per row instead.
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { width = Number.POSITIVE_INFINITY, style }: TableOptions = {},
): string {
  const cells = rows.map((row) => columns.map((_, i) => escapeText(row[i] ?? '')))
  const natural = columns.map(({ title }, i) =>
    cells.reduce((widest, row) => Math.max(widest, displayWidth(row[i]!)), displayWidth(title)),
  )
  const widths = shrink(columns, natural, width)
  if (widths === undefined) return formatBlocks(columns, cells, width, style)

  const line = (values: readonly string[], align: (column: Column) => 'left' | 'right') =>
    columns
      .map((column, i) => pad(fit(values[i]!, widths[i]!, column.cut), widths[i]!, align(column)))
      .join(GAP)
      .trimEnd()
  const alignment = (column: Column) => column.align ?? 'left'
  const head = line(
    columns.map(({ title }) => title),
    alignment,
  )
  return [style?.bold(head) ?? head, ...cells.map((row) => line(row, alignment))].join('\n')
}

/** Takes from the widest column that may be cut until all fit; undefined where they never will. */
function shrink(columns: readonly Column[], natural: readonly number[], width: number): number[] | undefined {
  const widths = [...natural]
  let excess = widths.reduce((sum, w) => sum + w, 0) + GAP.length * (columns.length - 1) - width
  while (excess > 0) {
    let widest = -1
    for (const [i, column] of columns.entries()) {
      if (column.cut === undefined || widths[i]! <= NARROWEST) continue
      if (widest < 0 || widths[i]! > widths[widest]!) widest = i
    }
    if (widest < 0) return undefined
    widths[widest]! -= 1
    excess -= 1
  }
  return widths
}

function formatBlocks(
  columns: readonly Column[],
  cells: readonly (readonly string[])[],
  width: number,
  style: Style | undefined,
): string {
  const titles = columns.reduce((widest, { title }) => Math.max(widest, displayWidth(title)), 0)
  const room = Math.max(NARROWEST, width - titles - GAP.length)
  return cells
    .map((row) =>
      columns
        .flatMap(({ title, cut }, i) => {
          const value = row[i]!
          if (value === '') return []
          const name = pad(title, titles)
          return [`${style?.bold(name) ?? name}${GAP}${cut === undefined ? value : fit(value, room, cut)}`]
        })
        .join('\n'),
    )
    .join('\n\n')
}
