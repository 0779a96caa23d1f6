import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { readUnitProcess } from './unit-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-unit-'))
after(() => rmSync(folder, { recursive: true }))

function unit(name: string, ...lines: string[]): string {
  const file = join(folder, name)
  writeFileSync(file, ['[Unit]', 'Description=x', '[Service]', ...lines].join('\n'))
  return file
}

test('a unit is read with its drop-ins, environment files, specifiers and variables', async () => {
  writeFileSync(join(folder, 'env'), '# comment\nPORT="3000"\nTOKEN=a=b\n; other\n')
  const file = unit(
    'shop@blue.service',
    'User=shop',
    'WorkingDirectory=-/srv/%p',
    'Environment=MODE=one "GREETING=hello world"',
    `EnvironmentFile=${join(folder, 'env')}`,
    `EnvironmentFile=-${join(folder, 'absent')}`,
    'RuntimeDirectory=shop shop/%i',
    'ExecStartPre=-/bin/mkdir -p %t/%p',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: variables of systemd's
    'ExecStart=/usr/bin/node server.js --port ${PORT} $FLAGS --cost $$5 "two words"',
    'ProtectSystem=strict',
    'NoNewPrivileges=true',
  )
  mkdirSync(`${file}.d`)
  writeFileSync(join(`${file}.d`, 'override.conf'), '[Service]\nEnvironment=MODE=two "FLAGS=-a -b"\n')
  const read = await readUnitProcess(file)
  assert.deepEqual(read.start, {
    program: '/usr/bin/node',
    args: ['server.js', '--port', '3000', '-a', '-b', '--cost', '$5', 'two words'],
    mayFail: false,
  })
  assert.deepEqual(read.before, [{ program: '/bin/mkdir', args: ['-p', '/run/shop'], mayFail: true }])
  assert.deepEqual([read.user, read.cwd], ['shop', '/srv/shop'])
  assert.deepEqual(read.runtimeFolders, ['shop', 'shop/blue'])
  assert.equal(read.environment.MODE, 'two')
  assert.equal(read.environment.GREETING, 'hello world')
  assert.equal(read.environment.TOKEN, 'a=b')
  assert.deepEqual(read.without, ['NoNewPrivileges', 'ProtectSystem'])
})

test('of several ExecStart the last holds, and an empty one forgets those before', async () => {
  const file = unit('a.service', 'ExecStart=/bin/one', 'ExecStart=', 'ExecStart=@/bin/two zero arg')
  assert.deepEqual((await readUnitProcess(file)).start, { program: '/bin/two', args: ['arg'], mayFail: false })
})

test('a unit that starts nothing, and one whose environment file is missing, are refused by name', async () => {
  await assert.rejects(readUnitProcess(unit('b.service', 'Type=oneshot')), {
    code: 'SERVICE',
    message: /b\.service.*no ExecStart/,
  })
  const missing = unit('c.service', 'ExecStart=/bin/true', 'EnvironmentFile=/nowhere/env')
  await assert.rejects(readUnitProcess(missing), { code: 'SERVICE', message: /\/nowhere\/env/ })
})
