import type { z } from 'zod'
import { configJsonSchema, type JsonSchema } from './json-schema.ts'
import { nearMiss } from './near-miss.ts'
import type { Path } from './yaml-file.ts'

/** A mistake by its place in the structure. */
export interface SchemaProblem {
  readonly path: Path
  /** What it is about: the key itself, or its value. */
  readonly part: 'key' | 'value'
  readonly text: string
  /** Of an unknown key: the place of the known one that it was probably meant to be. */
  readonly meant?: Path | undefined
}

/** Turns what zod found into one problem for each mistake, named by its place: `components.secrets.seal[0]: …`. */
export function schemaProblems(error: z.ZodError): SchemaProblem[] {
  const problems = error.issues.flatMap((issue) => explain(issue as z.core.$ZodIssue, []))
  // A key that is only misspelt is not missing as well.
  const meant = new Set(problems.flatMap((each) => (each.meant === undefined ? [] : [label(each.meant)])))
  return problems.filter(({ path, part }) => part === 'key' || !meant.has(label(path)))
}

function explain(issue: z.core.$ZodIssue, base: Path): SchemaProblem[] {
  const path = [...base, ...(issue.path as (string | number)[])]
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(key, path))
    case 'invalid_key':
      return issue.issues.map(({ message }) => ({ path, part: 'key', text: `${label(path)}: ${message}` }))
    case 'invalid_union': {
      // Of the shapes that the value may have, the one that it has says best what is wrong inside.
      const meant = issue.errors.find((issues) => issues.every((each) => !isWrongShape(each)))
      if (meant !== undefined) return meant.flatMap((each) => explain(each, path))
      return [{ path, part: 'value', text: `${label(path)}: ${issue.message}` }]
    }
    default:
      return [{ path, part: 'value', text: `${label(path)}: ${issue.message}` }]
  }
}

function isWrongShape(issue: z.core.$ZodIssue): boolean {
  return issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_value')
}

/** `components.secrets.seal[0]`; the file itself has no name. */
export function label(path: Path): string {
  return path.map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`)).join('')
}

let schemaOfConfig: JsonSchema | undefined

function unknownKey(key: string, path: Path): SchemaProblem {
  schemaOfConfig ??= configJsonSchema()
  const schema = schemaOfConfig
  const known = keysAt(schema, path)
  const meant = nearMiss(key, known)
  const text = `unknown key "${key}"${path.length === 0 ? '' : ` in ${label(path)}`}, ${expectedKey(schema, key, path, known, meant)}`
  return { path: [...path, key], part: 'key', text, meant: meant === undefined ? undefined : [...path, meant] }
}

function expectedKey(
  schema: JsonSchema,
  key: string,
  path: Path,
  known: readonly string[],
  meant: string | undefined,
): string {
  if (meant !== undefined) return `did you mean "${meant}"?`
  const home = sectionWith(schema, key)
  if (home !== undefined && home !== label(path)) return `expected under "${home}"`
  if (path.length > 0 && schema.properties?.[key] !== undefined) return 'expected at the top of the file'
  return `expected one of ${known.join(', ')}`
}

function keysAt(schema: JsonSchema, path: Path): string[] {
  let shapes: JsonSchema[] = [schema]
  for (const step of path) shapes = shapes.flatMap(alternatives).flatMap((shape) => child(shape, step))
  return shapes.flatMap(alternatives).flatMap((shape) => Object.keys(shape.properties ?? {}))
}

function alternatives(schema: JsonSchema): JsonSchema[] {
  return schema.anyOf === undefined ? [schema] : schema.anyOf.flatMap(alternatives)
}

function child({ properties, items, additionalProperties }: JsonSchema, step: string | number): JsonSchema[] {
  if (typeof step === 'number') return items === undefined ? [] : [items]
  const named = properties?.[step] ?? additionalProperties
  return typeof named === 'object' ? [named] : []
}

/** The one section at the top that has this key. */
function sectionWith(schema: JsonSchema, key: string): string | undefined {
  const sections = Object.entries(schema.properties ?? {}).filter(([name, section]) => {
    return (
      name !== 'components' &&
      alternatives(section).some((shape) => (shape.items ?? shape).properties?.[key] !== undefined)
    )
  })
  return sections.length === 1 ? sections[0]![0] : undefined
}
