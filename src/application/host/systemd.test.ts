import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hostTree, parts } from './host-tree.test-fixture.ts'
import { captureSystemd, findUnits } from './systemd.ts'

const unit = `[Unit]
Description=Bot
[Service]
User=devrel
WorkingDirectory=/opt/app
Environment=NODE_ENV=production "PORT=3000"
EnvironmentFile=-/opt/app/secrets/.env.production
EnvironmentFile=/etc/default/%N
ExecStart=/usr/bin/node dist/index.js
[Install]
WantedBy=multi-user.target
`

async function capture(root: string, paths: readonly string[], covers?: (path: string) => boolean) {
  await using captured = await captureSystemd(
    { name: 'systemd', paths },
    { hostRoot: root, ...(covers === undefined ? {} : { covers }) },
  )
  return parts(root, captured)
}

test('a unit is captured with its drop-ins and the links that enable and rename it', async () => {
  using host = hostTree({
    '/etc/systemd/system/bot.service': unit,
    '/etc/systemd/system/bot.service.d/limits.conf': '[Service]\nLimitNOFILE=1000\n',
    '/etc/systemd/system/bot.service.d/readme.txt': 'no drop-in',
    '/usr/lib/systemd/system/bot.service.d/vendor.conf': '[Service]\nNice=1\n',
    '/usr/lib/systemd/system/bot.service.d/limits.conf': '[Service]\nLimitNOFILE=1\n',
    '/etc/systemd/system/multi-user.target.wants/bot.service': '-> /etc/systemd/system/bot.service',
    '/etc/systemd/system/multi-user.target.wants/other.service': '-> /etc/systemd/system/other.service',
    '/etc/systemd/system/other.service': '[Service]\nExecStart=/bin/true\n',
    '/etc/systemd/system/discord.service': '-> bot.service',
    '/etc/default/bot': 'A=1',
    '/opt/app/secrets/.env.production': 'TOKEN=1',
  })
  const expected = {
    targets: [
      '/etc/systemd/system/bot.service',
      '/etc/systemd/system/bot.service.d/limits.conf',
      '/etc/systemd/system/discord.service',
      '/etc/systemd/system/multi-user.target.wants/bot.service',
      '/usr/lib/systemd/system/bot.service.d/vendor.conf',
    ],
    secrets: [],
    findings: [
      'warning environment-file-not-covered /opt/app/secrets/.env.production',
      'warning environment-file-not-covered /etc/default/bot',
    ],
  }
  for (const name of ['bot.service', 'bot', '/etc/systemd/system/bot.service']) {
    assert.deepEqual(await capture(host.root, [name]), expected, name)
  }
  const covered = await capture(host.root, ['bot'], (path) => path.startsWith(`${host.root}/opt/app/`))
  assert.deepEqual(covered.findings, ['warning environment-file-not-covered /etc/default/bot'])
})

test('a unit that lies in the application and is only linked is captured at both places', async () => {
  using host = hostTree({
    '/opt/app/deploy/bot.service': '[Service]\nExecStart=/opt/app/run\n',
    '/etc/systemd/system/bot.service': '-> /opt/app/deploy/bot.service',
    '/etc/systemd/system/multi-user.target.wants/bot.service': '-> ../bot.service',
  })
  assert.deepEqual(await capture(host.root, ['bot.service']), {
    targets: [
      '/etc/systemd/system/bot.service',
      '/etc/systemd/system/multi-user.target.wants/bot.service',
      '/opt/app/deploy/bot.service',
    ],
    secrets: [],
    findings: [],
  })
})

test('an instance is captured with its template, and without the links of other instances', async () => {
  using host = hostTree({
    '/etc/systemd/system/worker@.service':
      '[Service]\nExecStart=/opt/app/worker %i\nEnvironmentFile=/etc/worker/%i.env\n',
    '/etc/systemd/system/worker@a.service.d/x.conf': '[Service]\nNice=1\n',
    '/etc/systemd/system/multi-user.target.wants/worker@a.service': '-> /etc/systemd/system/worker@.service',
    '/etc/systemd/system/multi-user.target.wants/worker@b.service': '-> /etc/systemd/system/worker@.service',
    '/etc/worker/a.env': '',
  })
  assert.deepEqual(await capture(host.root, ['worker@a.service']), {
    targets: [
      '/etc/systemd/system/multi-user.target.wants/worker@a.service',
      '/etc/systemd/system/worker@.service',
      '/etc/systemd/system/worker@a.service.d/x.conf',
    ],
    secrets: [],
    findings: ['warning environment-file-not-covered /etc/worker/a.env'],
  })
})

test('a unit that sets secrets is sealed, the file that holds them only', async () => {
  using host = hostTree({
    '/etc/systemd/system/bot.service': '[Service]\nEnvironment=LOG=1\nExecStart=/bin/true\n',
    '/etc/systemd/system/bot.service.d/override.conf':
      '[Service]\nEnvironment="DISCORD_TOKEN=abc def" TOKEN_FILE=/run/x\nEnvironment=DATABASE_URL=postgres://u:p@db/x\n',
  })
  assert.deepEqual(await capture(host.root, ['bot']), {
    targets: ['/etc/systemd/system/bot.service'],
    secrets: ['/etc/systemd/system/bot.service.d/override.conf'],
    findings: ['note secret-in-unit /etc/systemd/system/bot.service.d/override.conf'],
  })
  await using captured = await captureSystemd({ name: 'systemd', paths: ['bot'] }, { hostRoot: host.root })
  assert.ok(!JSON.stringify(captured.findings).includes('abc'))
  assert.match(captured.findings[0]?.message ?? '', /DISCORD_TOKEN, DATABASE_URL/)
})

test('what is missing, masked or unknowable is found', async () => {
  using host = hostTree({
    '/etc/systemd/system/masked.service': '-> /dev/null',
    '/etc/systemd/system/dangling.service': '-> /opt/gone.service',
    '/etc/systemd/system/odd.service':
      '[Service]\nEnvironmentFile=%h/.env\nEnvironmentFile=/etc/absent\nEnvironmentFile=-/etc/optional\nLoadCredential=key:/etc/key\nLoadCredential=inherited\n',
    '/etc/key': '',
  })
  const { findings, targets } = await capture(host.root, ['masked', 'dangling', 'odd', 'absent', '/etc/x.service'])
  assert.deepEqual(findings, [
    'warning systemd-unit-masked /etc/systemd/system/masked.service',
    'error missing /opt/gone.service',
    'warning environment-file-unknown /etc/systemd/system/odd.service',
    'warning environment-file-missing /etc/absent',
    'warning environment-file-not-covered /etc/key',
    'error missing absent',
    'error missing /etc/x.service',
  ])
  assert.deepEqual(
    targets,
    ['dangling', 'masked', 'odd'].map((name) => `/etc/systemd/system/${name}.service`),
  )
})

test('units of an application are found by where they work, what they start and what they read', async () => {
  using host = hostTree({
    '/etc/systemd/system/bot.service': unit,
    '/etc/systemd/system/starts.service':
      '[Service]\nExecStart=-/usr/bin/node "/opt/app/server.js" --x\nEnvironment=PORT=nonsense\n',
    '/lib/systemd/system/reads.service': '[Service]\nExecStart=/bin/x\nEnvironmentFile=-/opt/app/.env\n',
    '/etc/systemd/system/stranger.service': '[Service]\nExecStart=/opt/app2/server.js\nWorkingDirectory=/opt/app2\n',
    '/etc/systemd/system/moved.service': '[Service]\nExecStart=/bin/x\nWorkingDirectory=/opt/app\n',
    '/etc/systemd/system/moved.service.d/move.conf': '[Service]\nWorkingDirectory=\nWorkingDirectory=/srv\n',
    '/etc/systemd/system/folder.service/x': '',
    '/etc/systemd/system/dangling.service': '-> /gone',
    '/lib/systemd/system/bot.service': '[Service]\nWorkingDirectory=/opt/app\n',
  })
  const found = await findUnits('/opt/app', host.root)
  assert.deepEqual(
    found.map(({ name, reason, user, port, environmentFiles }) => ({ name, reason, user, port, environmentFiles })),
    [
      {
        name: 'bot.service',
        reason: 'works in /opt/app',
        user: 'devrel',
        port: 3000,
        environmentFiles: ['/opt/app/secrets/.env.production', '/etc/default/%N'],
      },
      {
        name: 'starts.service',
        reason: 'starts /opt/app/server.js',
        user: undefined,
        port: undefined,
        environmentFiles: [],
      },
      {
        name: 'reads.service',
        reason: 'reads /opt/app/.env',
        user: undefined,
        port: undefined,
        environmentFiles: ['/opt/app/.env'],
      },
    ],
  )
  assert.equal(found[0]?.path, `${host.root}/etc/systemd/system/bot.service`)
  assert.equal((await findUnits(`${host.root}/opt/app`, host.root)).length, 3)
  assert.deepEqual(await findUnits('/opt/app', `${host.root}/nothing`), [])
})
