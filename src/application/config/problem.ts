/** What is wrong with a value of the config file, in words that follow the value's name and a colon. */
export interface Problem {
  readonly problem: string
}

export function isProblem(value: unknown): value is Problem {
  return typeof value === 'object' && value !== null && 'problem' in value
}

const LONGEST_QUOTE = 60

/** Names a value as it would be recognised in the file. Long text is cut, and line breaks are shown as `\n`. */
export function describeValue(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (typeof value === 'string') return quote(value)
  if (typeof value === 'number' || typeof value === 'bigint') return `the number ${value}`
  if (typeof value === 'boolean') return `the value ${value}`
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list'
  return 'a group of keys'
}

function quote(text: string): string {
  const cut = text.length > LONGEST_QUOTE ? `${text.slice(0, LONGEST_QUOTE - 1)}…` : text
  return JSON.stringify(cut)
}
