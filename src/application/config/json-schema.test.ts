import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { suite, test } from 'node:test'
import { parse } from 'yaml'
import { z } from 'zod'
import { configJsonSchema } from './json-schema.ts'

const example = await readFile(new URL('../../../examples/holdfast.yaml', import.meta.url), 'utf8')

suite('JSON schema', () => {
  const schema = z.fromJSONSchema(configJsonSchema() as Parameters<typeof z.fromJSONSchema>[0])

  test('the published file is up to date', async () => {
    const published = await readFile(new URL('../../../schema/holdfast.schema.json', import.meta.url), 'utf8')
    assert.deepEqual(JSON.parse(published), configJsonSchema(), 'run node scripts/write-schema.ts')
  })

  test('the example is accepted', () => {
    const result = schema.safeParse(parse(example))
    assert.deepEqual(result.error?.issues, undefined)
  })

  test('unknown keys and wrong shapes are not', () => {
    const config = parse(example) as Record<string, unknown>
    assert.equal(schema.safeParse({ ...config, shedule: {} }).success, false)
    assert.equal(schema.safeParse({ ...config, app: undefined }).success, false)
    assert.equal(schema.safeParse({ ...config, environment: 'test' }).success, false)
    assert.equal(schema.safeParse({ ...config, components: { data: { pth: 'data/' } } }).success, false)
  })

  test('every key is described', () => {
    const undescribed = Object.entries(configJsonSchema().properties ?? {}).filter(
      ([, each]) => each.description === undefined,
    )
    assert.deepEqual(undescribed, [])
  })
})
