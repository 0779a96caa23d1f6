import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseUnitFile, splitWords, valuesOf } from './unit-file.ts'

test('sections, comments, continued lines and blanks are read as systemd reads them', () => {
  const text = `# comment\n[Unit]\nDescription = An app \n\n[Service]\nExecStart=/usr/bin/node \\\n# inside\n  server.js \\\n; too\n  --port 1\nExecStart=second\r\nnonsense\n[Install]\nWantedBy=multi-user.target`
  assert.deepEqual(parseUnitFile(text), [
    { section: 'Unit', key: 'Description', value: 'An app' },
    { section: 'Service', key: 'ExecStart', value: '/usr/bin/node    server.js    --port 1' },
    { section: 'Service', key: 'ExecStart', value: 'second' },
    { section: 'Install', key: 'WantedBy', value: 'multi-user.target' },
  ])
})

test('an empty assignment forgets the values before it', () => {
  const settings = parseUnitFile(
    '[Service]\nEnvironmentFile=/a\nEnvironmentFile=\nEnvironmentFile=/b\n[Unit]\nEnvironmentFile=/c',
  )
  assert.deepEqual(valuesOf(settings, 'Service', 'EnvironmentFile'), ['/b'])
})

test('words are split at blanks outside quotes', () => {
  assert.deepEqual(splitWords(`A=1 "B=2 3" 'C="4"' D=\\"5 ""`), ['A=1', 'B=2 3', 'C="4"', 'D="5', ''])
})
