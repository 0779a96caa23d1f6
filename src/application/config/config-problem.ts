import { ApplicationError } from '../error.ts'

/** One mistake in the config file. Lines and columns count from 1, columns in UTF-16 units. */
export interface ConfigProblem {
  readonly line: number
  readonly column: number
  /** Where in the structure, what stands there, what would be right. */
  readonly text: string
}

/** More mistakes than this are not read at once; the rest is counted. */
const MOST_SHOWN = 20

/** One error for all mistakes in a file, in the order of the file. Facts carry the place of the first, and all texts. */
export function configError(file: string, problems: readonly ConfigProblem[]): ApplicationError {
  const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column)
  const lines = sorted.map(({ line, column, text }) => `${line}:${column}: ${withoutSecretKeys(text)}`)
  const { line, column } = sorted[0]!
  const facts = { file, line, column, problems: lines }
  if (lines.length === 1) return new ApplicationError('CONFIG', `Cannot use ${file}:${lines[0]}`, { facts })
  const more = lines.length > MOST_SHOWN ? [`and ${lines.length - MOST_SHOWN} more`] : []
  const shown = [...lines.slice(0, MOST_SHOWN), ...more].map((each) => `\n  ${each}`).join('')
  return new ApplicationError('CONFIG', `Cannot use ${file}, ${lines.length} mistakes:${shown}`, { facts })
}

/** Messages quote what stands in the file, and end up in logs; a key pasted into the wrong place must not. */
function withoutSecretKeys(text: string): string {
  return text.replaceAll(/AGE-SECRET-KEY-[0-9A-Z-]*/gi, 'AGE-SECRET-KEY-…')
}
