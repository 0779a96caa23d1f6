import { mkdir, writeFile } from 'node:fs/promises'
import { configJsonSchema } from '../src/application/config/json-schema.ts'

// Writes schema/holdfast.schema.json, which editors use for holdfast.yaml. A test fails when it is out of date.

const folder = new URL('../schema/', import.meta.url)
await mkdir(folder, { recursive: true })
await writeFile(new URL('holdfast.schema.json', folder), `${JSON.stringify(configJsonSchema(), null, 2)}\n`)
