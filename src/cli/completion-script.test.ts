import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Option } from 'commander'
import { fakeIo } from '../../test/support/fake-io.ts'
import { addCommand, type CommandContext, type CommandModule, collect } from './command.ts'
import { completionCommand } from './commands/completion.ts'
import { completionScript, describeTree } from './completion-script.ts'
import { run } from './main.ts'
import { createProgram } from './program.ts'

const context: CommandContext = { action: () => async () => {} }
const module: CommandModule = {
  name: 'example',
  register(program) {
    addCommand(program, { usage: 'backup [path...]', topic: 'protect', summary: "back up: don't panic [now]" })
      .option('--tag <tag>', 'a tag', collect, [])
      .addOption(new Option('--proof <level>', 'how much').choices(['stored', 'opened']))
    const key = addCommand(program, { usage: 'key', topic: 'keep', summary: 'manage keys' })
    addCommand(key, { usage: 'add', topic: 'keep', summary: 'add a key' }).option(
      '--new-password-file <file>',
      'from there',
    )
    addCommand(key, { usage: 'list', topic: 'keep', summary: 'list keys' })
  },
}
const tree = describeTree(createProgram(fakeIo(), context, [module, completionCommand]))

const folder = mkdtempSync(join(tmpdir(), 'holdfast-completion-'))
after(() => rmSync(folder, { recursive: true }))
writeFileSync(join(folder, 'two words.txt'), '')
mkdirSync(join(folder, 'two folders'))

const has = (shell: string) => spawnSync(shell, ['-c', 'true']).status === 0

function bash(...words: string[]): string[] {
  const quoted = words.map((word) => `'${word}'`).join(' ')
  const script = `${completionScript('bash', tree)}
COMP_WORDS=(holdfast ${quoted}); COMP_CWORD=${words.length}
_holdfast
printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr } = spawnSync('bash', ['-uc', script], { encoding: 'utf8', cwd: folder })
  assert.equal(stderr, '')
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .sort()
}

test('bash completes commands, subcommands, options, choices and files', () => {
  assert.deepEqual(bash('ba'), ['backup'])
  assert.deepEqual(bash(''), ['backup', 'completion', 'key'])
  assert.deepEqual(bash('key', ''), ['add', 'list'])
  assert.deepEqual(bash('-r', 'backup', 'key', 'a'), ['add'], 'the value of an option is no command')
  assert.deepEqual(bash('--repo', '=', 'x', 'key', 'a'), ['add'])
  assert.deepEqual(bash('backup', '--ta'), ['--tag'])
  assert.deepEqual(bash('backup', '--js'), ['--json'])
  assert.deepEqual(bash('key', 'list', '--ta'), [])
  assert.deepEqual(bash('backup', '--proof', ''), ['opened', 'stored'])
  assert.deepEqual(bash('backup', '--proof', '='), ['opened', 'stored'])
  assert.deepEqual(bash('backup', '--proof', '=', 'op'), ['opened'])
  assert.deepEqual(bash('backup', '--tag', ''), [])
  assert.deepEqual(bash('backup', 'two'), ['two folders', 'two words.txt'])
  assert.deepEqual(bash('backup', '--', 'two'), ['two folders', 'two words.txt'])
  assert.deepEqual(bash('-r', 'two'), ['two folders'])
  assert.deepEqual(bash('key', 'add', '--new-password-file', 'two w'), ['two words.txt'])
  assert.deepEqual(bash('completion', 'f'), ['fish'])
})

function fish(line: string): string[] {
  const path = join(folder, 'holdfast.fish')
  writeFileSync(path, completionScript('fish', tree))
  const { stdout, stderr } = spawnSync('fish', ['--no-config', '-c', `source '${path}'; complete -C '${line}'`], {
    encoding: 'utf8',
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, TERM: 'dumb' },
  })
  assert.equal(stderr, '')
  return stdout
    .split('\n')
    .filter((text) => text !== '')
    .map((text) => text.split('\t')[0]!)
}

test('fish does the same', { skip: has('fish') ? false : 'fish is not installed' }, () => {
  assert.deepEqual(fish('holdfast ba'), ['backup'])
  assert.deepEqual(fish('holdfast key ').sort(), ['add', 'list'])
  assert.deepEqual(fish('holdfast -r backup key a'), ['add'])
  assert.deepEqual(fish('holdfast backup --ta'), ['--tag'])
  assert.deepEqual(fish('holdfast backup --js'), ['--json'])
  assert.deepEqual(fish('holdfast backup --proof '), ['opened', 'stored'])
  assert.deepEqual(fish('holdfast completion f'), ['fish'])
  assert.deepEqual(fish('holdfast -r two'), ['two folders/'])
  assert.ok(fish('holdfast backup two').length === 2)
})

test('zsh accepts the script', { skip: has('zsh') ? false : 'zsh is not installed' }, () => {
  const path = join(folder, '_holdfast')
  writeFileSync(path, completionScript('zsh', tree))
  assert.equal(spawnSync('zsh', ['-n', path], { encoding: 'utf8' }).stderr, '')
})

test('the command writes the script of the shell asked for, and of no other', async () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const io = fakeIo()
    assert.equal(await run(['completion', shell], io), 0)
    assert.match(io.out(), new RegExp(`${shell} completion for holdfast`))
    assert.match(io.out(), /version/)
  }
  const io = fakeIo()
  assert.equal(await run(['completion', 'tcsh'], io), 1)
  assert.match(io.err(), /Allowed choices are bash, zsh, fish/)
})
