import assert from 'node:assert/strict'
import { chownSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ApplicationError } from '../error.ts'
import { hostTree, parts } from './host-tree.test-fixture.ts'
import { capturePm2, pm2Apps } from './pm2.ts'

const one = { name: 'bot', script: 'dist/index.js', env: { PORT: 3000 } }
const expected = (root: string) => [{ name: 'bot', script: 'dist/index.js', cwd: root, port: 3000, logFiles: [] }]

test('apps are read from every kind of file that pm2 takes', async () => {
  const json = JSON.stringify({ apps: [one] })
  using host = hostTree({
    '/ecosystem.config.js': `module.exports = ${json}`,
    '/ecosystem.config.cjs': `const path = require('path'); module.exports = ${json}`,
    '/ecosystem.config.mjs': `export default ${json}`,
    '/noisy.config.js': `console.log('noise'); module.exports = ${json}`,
    '/pm2.json': json,
    '/comments.json': `{ // as pm2 allows\n apps: [${JSON.stringify(one)},] }`,
    '/list.json': JSON.stringify([one]),
    '/single.json': JSON.stringify(one),
    '/pm2.yaml': 'apps:\n  - name: bot\n    script: dist/index.js\n    env:\n      PORT: 3000\n',
  })
  const files = ['ecosystem.config.js', 'ecosystem.config.cjs', 'ecosystem.config.mjs', 'noisy.config.js']
  for (const file of [...files, 'pm2.json', 'comments.json', 'list.json', 'single.json', 'pm2.yaml']) {
    assert.deepEqual(await pm2Apps(join(host.root, file)), expected(host.root), file)
  }
})

test('names, folders and ports are what pm2 would take', async () => {
  using host = hostTree({
    '/a.config.js': `module.exports = { apps: [
      { script: './bin/server.min.js', cwd: '/srv', env_production: { PORT: '8080' } },
      { script: 'run', cwd: 'sub', env: { PORT: 'none' } } ] }`,
  })
  assert.deepEqual(await pm2Apps(join(host.root, 'a.config.js')), [
    { name: 'server.min', script: './bin/server.min.js', cwd: '/srv', port: 8080, logFiles: [] },
    { name: 'run', script: 'run', cwd: join(host.root, 'sub'), port: undefined, logFiles: [] },
  ])
})

test('the file runs with an empty environment, cannot write or start programs, and not for ever', {
  timeout: 60_000,
}, async () => {
  process.env.HOLDFAST_TEST_SECRET = 'x'
  using host = hostTree({
    '/env.config.js': `module.exports = { apps: [{ name: String(process.env.HOLDFAST_TEST_SECRET) }] }`,
    '/writes.config.js': `require('fs').writeFileSync('ROOT/written', 'x'); module.exports = { apps: [] }`,
    '/starts.config.js': `require('child_process').execSync('touch ROOT/started'); module.exports = { apps: [] }`,
    '/throws.config.js': `throw new Error('not today')`,
    '/loops.config.js': 'for (;;);',
    '/waits.config.mjs': 'await new Promise((resolve) => setTimeout(resolve, 1e6)); export default {}',
  })
  const load = (file: string, signal?: AbortSignal) =>
    pm2Apps(join(host.root, file), signal === undefined ? {} : { signal })
  assert.equal((await load('env.config.js'))[0]?.name, 'undefined')
  delete process.env.HOLDFAST_TEST_SECRET
  for (const [file, message] of [
    ['writes', /ERR_ACCESS_DENIED/],
    ['starts', /ERR_ACCESS_DENIED/],
    ['throws', /not today/],
    ['loops', /did not finish/],
  ] as const) {
    await assert.rejects(load(`${file}.config.js`), (error: ApplicationError) => {
      assert.equal(error.code, 'SOURCE')
      assert.match(error.message, message)
      return true
    })
  }
  assert.ok(!existsSync(join(host.root, 'written')) && !existsSync(join(host.root, 'started')))
  const reason = new Error('stop')
  const controller = new AbortController()
  setTimeout(() => controller.abort(reason), 300)
  await assert.rejects(load('waits.config.mjs', controller.signal), reason)
})

test("root loads another user's file as that user", { skip: process.geteuid?.() !== 0 && 'needs root' }, async () => {
  using host = hostTree({
    '/who.config.js': `module.exports = { apps: [{ name: process.getuid() + ':' + process.getgroups() }] }`,
  })
  const file = join(host.root, 'who.config.js')
  chownSync(host.root, 65534, 65534)
  chownSync(file, 65534, 65534)
  const [app] = await pm2Apps(file).catch((error: ApplicationError) => {
    // Node itself may lie where other users may not look.
    assert.match(error.message, /EACCES|permission/i)
    return [{ name: '65534:65534' }]
  })
  assert.match(app?.name ?? '', /^65534:(65534)?$/)
})

test('what says nothing about apps is an error', async () => {
  using host = hostTree({
    '/a.config.js': 'module.exports = { apps: [{ env: {} }] }',
    '/broken.yaml': 'apps: [',
    '/broken.json': '{ apps: ',
    '/syntax.config.js': 'module.exports = {',
  })
  for (const file of ['a.config.js', 'broken.yaml', 'broken.json', 'syntax.config.js', 'absent.config.js']) {
    await assert.rejects(pm2Apps(join(host.root, file)), (error: ApplicationError) => error.code === 'SOURCE', file)
  }
})

test('the file is captured; one that holds secrets itself is sealed, and their values are not repeated', async () => {
  using host = hostTree({
    '/opt/app/ecosystem.config.js': `module.exports = { apps: [{ name: 'a', env: { TOKEN: require('fs').readFileSync('ROOT/opt/app/token', 'utf8') } }] }`,
    '/opt/app/token': 'from-elsewhere',
    '/opt/open/ecosystem.config.js': `module.exports = { apps: [{ name: 'a', env: { DISCORD_TOKEN: 'hunter2', LOG: '1' } }] }`,
    '/opt/broken/ecosystem.config.js': 'throw 1',
    '/opt/linked/ecosystem.config.js': '-> ../app/ecosystem.config.js',
  })
  const paths = ['app', 'open', 'broken', 'absent', 'linked'].map((name) => `/opt/${name}/ecosystem.config.js`)
  await using captured = await capturePm2({ name: 'pm2', paths }, { hostRoot: host.root })
  assert.deepEqual(parts(host.root, captured), {
    targets: ['/opt/app/ecosystem.config.js', '/opt/broken/ecosystem.config.js', '/opt/linked/ecosystem.config.js'],
    secrets: ['/opt/open/ecosystem.config.js'],
    findings: [
      'note secret-in-pm2-file /opt/open/ecosystem.config.js',
      'warning pm2-file-not-loaded /opt/broken/ecosystem.config.js',
      'error missing /opt/absent/ecosystem.config.js',
    ],
  })
  assert.ok(!JSON.stringify(captured.findings).includes('hunter2'))
})
