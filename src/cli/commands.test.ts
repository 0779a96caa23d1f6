import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allCommands, commandsFor } from './commands.ts'

const namesFor = async (...argv: string[]) => (await commandsFor(argv)).map(({ name }) => name)

test('only the command that a line names is loaded, wherever its name stands', async () => {
  assert.deepEqual(await namesFor('snapshots'), ['snapshots'])
  assert.deepEqual(await namesFor('-r', '/repo', '--json', 'backup', '/etc', '--tag', 'check'), ['backup'])
  assert.deepEqual(await namesFor('--retry-lock', '5m', '-vv', 'key', 'list'), ['key'])
  assert.deepEqual(await namesFor('restore', '--help'), ['restore'])
})

test('the value of an option is not taken for a command', async () => {
  assert.deepEqual(await namesFor('--repo', 'backup', '-p', 'check', 'ls'), ['ls'])
})

test('help, completion, and what is no command see all commands', async () => {
  const all = (await allCommands()).map(({ name }) => name)
  assert.ok(all.length > 30)
  for (const argv of [
    [],
    ['--help'],
    ['help'],
    ['help', 'backup'],
    ['completion', 'bash'],
    ['snapshot'],
    ['constructor'],
    ['--nonsense', 'backup'],
    ['--retry-lock', 'long', 'backup'],
  ]) {
    assert.deepEqual(await namesFor(...argv), all, argv.join(' '))
  }
})

test('each command is found by its own name', async () => {
  for (const { name } of await allCommands()) {
    if (name !== 'completion') assert.deepEqual(await namesFor(name), [name])
  }
})
