import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EngineError } from '../error.ts'
import {
  asObject,
  base64Field,
  flagField,
  idField,
  integerField,
  type JsonObject,
  listField,
  type Place,
  textField,
  textsField,
  timeField,
  unsigned64Field,
  unsignedField,
} from './json-fields.ts'
import { UNSET_TIME } from './timestamp.ts'

const PLACE: Place = { what: 'test', list: 'items', index: 2 }
const ID = 'ab'.repeat(32)

type Reader = (object: JsonObject, key: string, place: Place) => unknown

const uint8: Reader = (object, key, place) => unsignedField(object, key, place, 255)

for (const [name, read, absent, taken, refused] of [
  ['textField', textField, '', ['', 'a'], [0, [], {}, true]],
  ['flagField', flagField, false, [true, false], [0, 'true', []]],
  ['integerField', integerField, 0, [-5, 0, 2 ** 53 - 1], [0.5, -0, Number.NaN, 2 ** 53, 2n ** 53n, '1']],
  ['unsignedField', uint8, 0, [0, 255], [-1, 256, 0.5, -0, Number.NaN, 2n ** 60n, '1', []]],
  ['textsField', textsField, [], [[], ['a', '']], ['a', ['a', 5], [null], {}]],
  ['listField', listField, undefined, [[], [1, null]], ['', {}, 0]],
  ['idField', idField, undefined, [ID], ['', ID.slice(1), `${ID}0`, 'x'.repeat(64), 5]],
] as const satisfies readonly (readonly [string, Reader, unknown, readonly unknown[], readonly unknown[]])[]) {
  test(`${name} takes what is absent or null for empty, and refuses any other type, with its place`, () => {
    assert.deepEqual((read as Reader)({}, 'key', PLACE), absent)
    assert.deepEqual((read as Reader)({ key: null }, 'key', PLACE), absent)
    for (const value of taken) assert.deepEqual((read as Reader)({ key: value }, 'key', PLACE), value)
    for (const value of refused) {
      assert.throws(
        () => (read as Reader)({ key: value }, 'key', PLACE),
        (error) =>
          error instanceof EngineError &&
          error.code === 'CORRUPT' &&
          String(error.facts.where).startsWith('items[2].key'),
      )
    }
  })
}

test('uint64 comes as bigint, however it was parsed', () => {
  const read = (value: unknown) => unsigned64Field({ key: value }, 'key', PLACE)
  assert.deepEqual([undefined, null, 0, 7, 2n ** 64n - 1n].map(read), [0n, 0n, 0n, 7n, 2n ** 64n - 1n])
  for (const value of [-1, 0.5, 2 ** 60, 2n ** 64n, -1n, '7']) assert.throws(() => read(value), { code: 'CORRUPT' })
})

test('a time that is absent is the one that Go has for none', () => {
  assert.equal(timeField({}, 'key', PLACE), UNSET_TIME)
  assert.deepEqual(timeField({ key: '1970-01-01T00:00:01Z' }, 'key', PLACE), { ns: 1_000_000_000n, offset: 0 })
  for (const value of ['', 'now', 0]) assert.throws(() => timeField({ key: value }, 'key', PLACE), { code: 'CORRUPT' })
})

test('base64 is taken in its canonical form only', () => {
  const read = (value: unknown) => base64Field({ key: value }, 'key', PLACE)
  assert.equal(read(undefined), undefined)
  assert.deepEqual([read(''), read('+/8=')], [Buffer.alloc(0), Buffer.from('fbff', 'hex')])
  for (const value of ['+/8', '-_8=', '+/9=', ' +/8=', '+/8=\n', '====', 'a', 5])
    assert.throws(() => read(value), { code: 'CORRUPT' })
})

test('an ID in upper case comes in lower case', () => {
  assert.equal(idField({ key: ID.toUpperCase() }, 'key', PLACE), ID)
})

test('what an object inherits is not a member', () => {
  assert.throws(() => asObject([], PLACE), { code: 'CORRUPT' })
  const object = asObject(JSON.parse('{"__proto__":{"key":"inherited"}}'), PLACE)
  assert.equal(textField(object, 'key', PLACE), '')
})

test('the message names the place, what was found and what was expected', () => {
  assert.throws(() => textField({ key: 5 }, 'key', PLACE), {
    message: 'Cannot read test: items[2].key is 5, expected a text',
  })
  assert.throws(() => asObject(undefined, { what: 'test' }), {
    message: 'Cannot read test: the whole is nothing, expected an object',
  })
})
