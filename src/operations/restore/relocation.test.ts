import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { maskLine, originOf, type Relocation, relocatePath, rewriteText, STAY } from './relocation.ts'

const moved: Relocation = {
  root: { from: '/opt/app', to: '/srv/new' },
  user: { from: 'devrel', to: 'app2' },
  group: { from: 'devrel', to: 'www' },
  ports: [
    { from: 3000, to: 3100 },
    { from: 3100, to: 3000 },
  ],
}

const cases: readonly [before: string, after: string][] = [
  ['WorkingDirectory=/opt/app', 'WorkingDirectory=/srv/new'],
  ['EnvironmentFile=-/opt/app/secrets/.env', 'EnvironmentFile=-/srv/new/secrets/.env'],
  ['ReadWritePaths=/opt/app/data /opt/app/logs', 'ReadWritePaths=/srv/new/data /srv/new/logs'],
  ['url = "file:///opt/app/x"', 'url = "file:///srv/new/x"'],
  ['root /opt/app/public;', 'root /srv/new/public;'],
  ['Environment=NODE_ENV=production PORT=3000', 'Environment=NODE_ENV=production PORT=3100'],
  ['env: { PORT: 3000, OTHER: 3000 },', 'env: { PORT: 3100, OTHER: 3000 },'],
  ['"port": 3000,', '"port": 3100,'],
  ['API_PORT="3100"', 'API_PORT="3000"'],
  ['  server 127.0.0.1:3000;', '  server 127.0.0.1:3100;'],
  ['  health: http://localhost:3000/health', '  health: http://localhost:3100/health'],
  ['    listen 3000;', '    listen 3100;'],
  ['ExecStart=/usr/bin/node /opt/app/main.js --port 3000', 'ExecStart=/usr/bin/node /srv/new/main.js --port 3100'],
  ['User=devrel', 'User=app2'],
  ['Group=devrel', 'Group=www'],
  ["  user: 'devrel',", "  user: 'app2',"],
  ['owner: devrel:devrel  # who', 'owner: app2:www  # who'],
  ['owner: devrel', 'owner: app2:www'],
  ['user devrel;', 'user app2 www;'],
]

const untouched = [
  '/opt/app-old/x',
  '/mnt/opt/app/x',
  '/opt/application',
  'x/opt/app',
  'report: 3000',
  'timeout=3000',
  'PORT=30000',
  '127.0.0.1:30001',
  '10.0.0.1:3000',
  'Description=devrel bot',
  'description: devrel',
]

test('a line is rewritten where it names the root, the port or the user, and nowhere else', () => {
  for (const [before, after] of cases) assert.equal(rewriteText(before, moved).text, after)
  for (const line of untouched) assert.deepEqual(rewriteText(line, moved), { text: line, lines: [] })
})

test('every changed line is told of, and the others are as they were, to the byte', () => {
  const line = fc.constantFrom(...cases.map(([before]) => before), ...untouched, '', '\r', 'ü\t')
  fc.assert(
    fc.property(fc.array(line), (given) => {
      const { text, lines } = rewriteText(given.join('\n'), moved)
      const after = text.split('\n')
      assert.equal(after.length, Math.max(1, given.length))
      const changed = given.flatMap((each, index) => (each === after[index] ? [] : [index + 1]))
      assert.deepEqual(
        lines.map((each) => each.line),
        changed,
      )
    }),
  )
  fc.assert(fc.property(fc.string(), (text) => assert.deepEqual(rewriteText(text, STAY), { text, lines: [] })))
})

test('a path of the snapshot lies in one place, and comes from one', () => {
  for (const path of ['/opt/app', '/opt/app/a/b', '/opt/app2', '/etc/x', '/']) {
    assert.equal(originOf(relocatePath(path, moved), moved), path)
  }
  assert.equal(relocatePath('/opt/app/data', moved), '/srv/new/data')
  assert.equal(relocatePath('/opt/app2', moved), '/opt/app2')
})

test('of a secret line only what changes is shown', () => {
  const masked = (before: string) => {
    const [line] = rewriteText(before, moved).lines
    const { before: from, after: to } = maskLine(line!, moved)
    return [from, to]
  }
  assert.deepEqual(masked('PORT=3000'), ['PORT=…3000…', 'PORT=…3100…'])
  for (const secret of [
    'DB=postgres://me:MARKED@localhost:3000/x?MARKED',
    'DB=localhost:3000 MARKED localhost:3000',
    'KEY_FILE=/opt/app/keys/MARKED',
  ]) {
    for (const shown of masked(secret)) {
      assert.doesNotMatch(shown, /MARKED/)
      assert.match(shown, /^(DB|KEY_FILE)=…/)
    }
  }
})
