import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeIo } from '../../test/support/fake-io.ts'
import { promptHidden } from './prompt-hidden.ts'

const typed = (input: string | Buffer) => fakeIo({ input, terminal: ['stdin', 'stderr'], keepInputOpen: true })

test('what is typed is not shown, and the terminal is as before afterwards', async () => {
  const io = typed('geheim\r')
  assert.equal((await promptHidden(io, 'password: ')).toString(), 'geheim')
  assert.equal(io.err(), 'password: \n')
  assert.deepEqual(io.stdin.rawModes, [true, false])
})

test('backspace takes a character, Ctrl-U all, and cursor keys nothing', async () => {
  const read = async (input: string) => (await promptHidden(typed(input), '')).toString()
  assert.equal(await read('grün\x7f\x7fas\r'), 'gras')
  assert.equal(await read('\x7f\x7fa\r'), 'a')
  assert.equal(await read('wrong\x15right\n'), 'right')
  assert.equal(await read('a\x1b[Ab\x1b[3~c\r'), 'abc')
  assert.equal(await read('\x04'), '')
})

test('what was typed ahead answers the next question', async () => {
  const io = typed('one\rtwo\r')
  assert.equal((await promptHidden(io, '')).toString(), 'one')
  assert.equal((await promptHidden(io, '')).toString(), 'two')
})

test('Ctrl-C and an abort end the question and give the terminal back', async () => {
  const io = typed('ge\x03')
  await assert.rejects(promptHidden(io, ''), { code: 'INTERRUPTED' })
  assert.deepEqual(io.stdin.rawModes, [true, false])

  const waiting = typed('')
  const controller = new AbortController()
  const answer = promptHidden(waiting, '', controller.signal)
  controller.abort(new Error('stop'))
  await assert.rejects(answer, { message: 'stop' })
  assert.deepEqual(waiting.stdin.rawModes, [true, false])
})
