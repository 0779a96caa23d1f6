import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isSecretVariable } from './secret-variable.ts'

test('variables are secrets by name, or by a password in a URL', () => {
  for (const name of [
    'DISCORD_TOKEN',
    'token',
    'API_KEY',
    'LINEAR_APIKEY',
    'DB_PASSWORD',
    'SESSION_SECRET',
    'AWS_SECRET_ACCESS_KEY',
  ])
    assert.ok(isSecretVariable(name, 'x'), name)
  assert.ok(isSecretVariable('DATABASE_URL', 'postgres://user:pass@host/db'))
})

test('ordinary ones, empty ones, and names of places are not', () => {
  for (const name of ['PORT', 'NODE_ENV', 'KEYBOARD', 'TOKENIZER', 'MONKEY', 'PASSENGER', 'TOKEN_FILE', 'SECRETS_DIR'])
    assert.ok(!isSecretVariable(name, 'x'), name)
  assert.ok(!isSecretVariable('TOKEN', ''))
  assert.ok(!isSecretVariable('URL', 'https://user@host/path:80'))
})
