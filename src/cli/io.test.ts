import assert from 'node:assert/strict'
import { test } from 'node:test'
import { wantsColour } from './io.ts'

test('colours are for terminals, unless a variable says otherwise', () => {
  assert.equal(wantsColour({}, true), true)
  assert.equal(wantsColour({}, false), false)
  assert.equal(wantsColour({ NO_COLOR: '1' }, true), false)
  assert.equal(wantsColour({ NO_COLOR: '' }, true), true, 'an empty NO_COLOR says nothing')
  assert.equal(wantsColour({ FORCE_COLOR: '1' }, false), true)
  assert.equal(wantsColour({ FORCE_COLOR: '0' }, true), false)
  assert.equal(wantsColour({ FORCE_COLOR: '1', NO_COLOR: '1' }, true), false)
})
