import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { parseTimeZone } from './time-zone.ts'

suite('time zones', () => {
  test('names are known in any capitals', () => {
    assert.equal(parseTimeZone('UTC'), 'UTC')
    assert.equal(parseTimeZone('europe/berlin'), 'Europe/Berlin')
  })

  const wrong: [string, string][] = [
    ['Europe/Berln', '"Europe/Berln" is not a time zone, did you mean "Europe/Berlin"?'],
    ['Berlin', '"Berlin" is not a time zone, did you mean "Europe/Berlin"?'],
    ['+02:00', '"+02:00" is an offset, which knows no summer time, expected a name, as in UTC or Europe/Berlin'],
    ['UTC+2', '"UTC+2" is an offset, which knows no summer time, expected a name, as in UTC or Europe/Berlin'],
    ['Middle-Earth', '"Middle-Earth" is not a time zone, expected a name, as in UTC or Europe/Berlin'],
  ]
  for (const [text, problem] of wrong) {
    test(`"${text}" is refused with what would be right`, () => assert.deepEqual(parseTimeZone(text), { problem }))
  }
})
