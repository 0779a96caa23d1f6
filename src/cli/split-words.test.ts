import assert from 'node:assert/strict'
import { test } from 'node:test'
import { splitWords } from './split-words.ts'

test('a line is split as a shell splits it, and nothing in it is expanded', () => {
  const cases: [string, string[]][] = [
    ['pass show backup', ['pass', 'show', 'backup']],
    ['  a   b ', ['a', 'b']],
    [`secret "two words" 'and $HOME'`, ['secret', 'two words', 'and $HOME']],
    [`a"b"'c'd`, ['abcd']],
    [`'' ""`, ['', '']],
    [`a\\ b "x\\"y" "n\\n" 'q\\'`, ['a b', 'x"y', 'n\\n', 'q\\']],
    ['cat $(x) | y *', ['cat', '$(x)', '|', 'y', '*']],
  ]
  for (const [line, words] of cases) assert.deepEqual(splitWords(line, 'the line'), words, line)
})

test('a line that makes no sense says so', () => {
  for (const line of ['"open', "'open", 'end\\', '   '])
    assert.throws(() => splitWords(line, 'the line'), { code: 'USAGE' })
})
