import { CliError } from './error.ts'

/**
 * The value of an option, read in the action instead of by commander: what reads it need not be loaded at every start. Throws `USAGE`.
 *
 * @param parse undefined for what it cannot read
 */
export function optionValue<Value>(
  name: string,
  text: string | undefined,
  parse: (text: string) => Value | undefined,
  expected: string,
): Value | undefined {
  if (text === undefined) return undefined
  const value = parse(text)
  if (value !== undefined) return value
  throw new CliError('USAGE', `Cannot use ${name} ${text === '' ? '""' : text}: expected ${expected}`)
}
