import { z } from 'zod'
import { configSchema } from './schema.ts'

/** The part of JSON Schema that describes the config file. */
export interface JsonSchema {
  readonly type?: string
  readonly description?: string
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean | JsonSchema
  readonly items?: JsonSchema
  readonly anyOf?: readonly JsonSchema[]
  readonly [keyword: string]: unknown
}

/** What `holdfast.yaml` may hold, as JSON Schema draft 2020-12, for editors: shapes and descriptions, not every check. */
export function configJsonSchema(): JsonSchema {
  const schema = z.toJSONSchema(configSchema, { io: 'input' }) as unknown as JsonSchema
  const { $schema, ...rest } = schema
  return { $schema, title: 'Holdfast config file', ...rest }
}
