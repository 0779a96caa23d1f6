import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { elementSpans, memberSpan } from './json-spans.ts'

const all = (bytes: Buffer) => ({ start: 0, end: bytes.length })

test('the elements of any list are found, with and without white space', () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), fc.constantFrom(undefined, 2, '\t'), (list, space) => {
      const bytes = Buffer.from(JSON.stringify(list, null, space))
      const elements = [...elementSpans(bytes, all(bytes))].map(({ start, end }) =>
        JSON.parse(bytes.toString('utf8', start, end)),
      )
      assert.deepEqual(elements, JSON.parse(JSON.stringify(list)))
    }),
  )
})

test('the members of any object are found by their names', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()),
      fc.constantFrom(undefined, 2),
      (object, space) => {
        const bytes = Buffer.from(JSON.stringify(object, null, space))
        for (const [key, value] of Object.entries(JSON.parse(bytes.toString()))) {
          const { start, end } = memberSpan(bytes, all(bytes), key)!
          assert.deepEqual(JSON.parse(bytes.toString('utf8', start, end)), value)
        }
      },
    ),
  )
})

test('of several members with a name the last counts, however the name is written', () => {
  const bytes = Buffer.from('{"a":1, "\\u0061" : {"a": 2} ,"b":3}')
  const { start, end } = memberSpan(bytes, all(bytes), 'a')!
  assert.equal(bytes.toString('utf8', start, end), '{"a": 2}')
})

test('a member that is not there is not found', () => {
  for (const text of ['{}', '{ }', '{"a":{"b":1}}']) {
    assert.equal(memberSpan(Buffer.from(text), all(Buffer.from(text)), 'b'), undefined)
  }
})

test('bytes that are no JSON end the search', () => {
  fc.assert(
    fc.property(
      fc.uint8Array(),
      (bytes) => [...elementSpans(bytes, { start: 0, end: bytes.length })].length <= bytes.length,
    ),
  )
})
