import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Command } from 'commander'
import { addGlobalOptions, normaliseArguments, readEarlyOptions, readGlobalOptions } from './global-options.ts'

function parse(...argv: string[]) {
  const program = new Command('holdfast').exitOverride().configureOutput({ outputError: () => {} })
  addGlobalOptions(program)
  return readGlobalOptions(program.parse(normaliseArguments(argv), { from: 'user' }).opts())
}

test('nothing given is nothing set', () => {
  assert.deepEqual(parse(), {
    config: undefined,
    repo: undefined,
    repositoryFile: undefined,
    passwordFile: undefined,
    passwordCommand: undefined,
    unsealPassword: undefined,
    insecureNoPassword: false,
    json: false,
    quiet: false,
    verbose: 0,
    lock: true,
    retryLock: 0,
    cacheDir: undefined,
    cache: true,
    cleanupCache: false,
  })
})

test('every option reaches its value', () => {
  const options = parse('--config', 'c', '-r', 'r', '-p', 'p', '--json', '-vv', '--no-lock', '--retry-lock', '1h30m')
  assert.equal(options.config, 'c')
  assert.equal(options.repo, 'r')
  assert.equal(options.passwordFile, 'p')
  assert.equal(options.json, true)
  assert.equal(options.verbose, 2)
  assert.equal(options.lock, false)
  assert.equal(options.retryLock, 5_400_000)
  assert.equal(parse('--verbose=2').verbose, 2)
  assert.equal(parse('--retry-lock', '0.5s').retryLock, 500)
})

test('what makes no sense is refused', () => {
  for (const argv of [['-q', '-v'], ['--retry-lock', '5'], ['--retry-lock', 'soon'], ['--repo'], ['--nope']]) {
    assert.throws(() => parse(...argv), { name: 'CommanderError' }, argv.join(' '))
  }
})

test('options of restic that mean nothing here are taken', () => {
  parse('--cache-dir', '/tmp', '--no-cache', '--cleanup-cache')
})

test('what is needed before parsing is read from before the double dash', () => {
  assert.deepEqual(readEarlyOptions(['-vv', '--json', 'ls', '--no-colour', '-v']), {
    json: true,
    colour: false,
    verbose: 3,
  })
  assert.deepEqual(readEarlyOptions(['ls', '--', '--json', '--no-color', '-v']), {
    json: false,
    colour: true,
    verbose: 0,
  })
  assert.deepEqual(normaliseArguments(['--verbose=2', '--', '--verbose=2']), [
    '--verbose',
    '--verbose',
    '--',
    '--verbose=2',
  ])
})
