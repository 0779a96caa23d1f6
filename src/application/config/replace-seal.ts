import { isMap, isScalar, type Pair, parseDocument } from 'yaml'
import { ApplicationError } from '../error.ts'
import type { Config } from './config.ts'
import { parseConfig } from './load-config.ts'

/**
 * The text of a config file in which secrets are sealed for these recipients and nobody else, wherever it names any. All else
 * stays as it is, comments too. Throws `CONFIG` when it would not come out so: then an operator has to do it.
 */
export function replaceSeal(config: Pick<Config, 'text' | 'file'>, recipients: readonly string[]): string {
  const { text, file } = config
  const contents = parseDocument(text).contents
  const top = isMap(contents) ? (contents.items as Pair[]) : []
  const components = top.find(isCalled('components'))?.value
  const inner = isMap(components) ? (components.items as Pair[]) : []
  const named = [top, ...inner.map(({ value }) => (isMap(value) ? (value.items as Pair[]) : []))]
    .flatMap((pairs) => pairs.filter(isCalled('seal')))
    .flatMap(({ value }) => rangeOf(value))
  const list = `[${recipients.map((recipient) => JSON.stringify(recipient)).join(', ')}]`
  let replaced = text
  for (const [from, to] of named.toSorted(([a], [b]) => b - a)) {
    // A list of lines ends where the next key begins.
    const end = from + replaced.slice(from, to).trimEnd().length
    replaced = replaced.slice(0, from) + list + replaced.slice(end)
  }
  if (named.length === 0) replaced = isJson(text) ? text : `${text.trimEnd()}\nseal: ${list}\n`
  const before = parseConfig(text, file)
  const after = parseConfig(replaced, file)
  const rest = (each: Config) => JSON.stringify({ ...each, text: '', seal: [], contacts: [...each.contacts] })
  if (rest(before) === rest(after) && after.seal.length === recipients.length) return replaced
  throw new ApplicationError(
    'CONFIG',
    `Cannot put other recipients into ${file}: its form is not one that is understood`,
    {
      facts: { file },
      hint: `Write it by hand: seal: ${list}`,
    },
  )
}

function isCalled(name: string): (pair: Pair) => boolean {
  return ({ key }) => isScalar(key) && key.value === name
}

/** Where a value stands in the text, without what follows it. */
function rangeOf(value: unknown): [from: number, to: number][] {
  const range = (value as { range?: [number, number, number] } | null)?.range
  return range === undefined ? [] : [[range[0], range[1]]]
}

function isJson(text: string): boolean {
  return text.trimStart().startsWith('{')
}
