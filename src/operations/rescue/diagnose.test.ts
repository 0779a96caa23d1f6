import assert from 'node:assert/strict'
import test from 'node:test'
import { diagnose, type Playbook, type Trouble } from './diagnose.ts'
import type { ComponentChanges, Situation } from './situation.ts'

const AT = new Date('2026-11-27T02:00:00Z')
const ID = 'ab'.repeat(32)

function component(name: string, changes: Partial<ComponentChanges> = {}): ComponentChanges {
  return {
    name,
    kind: 'files',
    isData: name === 'data',
    holdsSecrets: false,
    isGone: false,
    missing: 0,
    changed: 0,
    added: 0,
    files: [],
    last: undefined,
    dependencies: false,
    ...changes,
  }
}

const WELL: Situation = {
  app: 'shop',
  config: { file: '/opt/shop/holdfast.yaml', from: 'machine', isThere: true },
  root: { path: '/opt/shop', isThere: true },
  service: { name: 'systemd:shop', state: 'running', keepsFailing: false, said: [] },
  checks: [{ check: 'health', subject: 'http://localhost/', passed: true, detail: 'ok', attempts: 1, milliseconds: 1 }],
  portTakenBy: undefined,
  webServer: { isRunning: true, problem: undefined },
  space: [{ path: '/', free: 10, total: 20, isFull: false }],
  databases: [{ path: '/opt/shop/data/a.db', trouble: 'sound', seen: '' }],
  repository: { location: '/backup', problem: undefined },
  newest: { id: ID, time: AT, isWhole: true },
  proven: undefined,
  changes: [component('config'), component('data', { changed: 3, added: 1 })],
  older: undefined,
  deploy: undefined,
  secrets: { count: 1, missing: [], key: 'missing' },
  unfinished: undefined,
  restartedInVain: undefined,
  unseen: [],
}

const service = (state: NonNullable<Situation['service']>['state']) => ({
  service: { name: 'systemd:shop', state, keepsFailing: state === 'failed' || state === 'changing', said: [] },
})
const unwell = { checks: [{ ...WELL.checks[0]!, passed: false, detail: 'status 500' }] }
const bad = [{ path: '/opt/shop/data/a.db', trouble: 'pages', seen: 'page 3' }] as const
const changed = { changes: [component('config', { changed: 1 }), component('data', { changed: 3 })] }
const older = { older: { id: ID, time: AT, components: ['config'] } }
const inVain = { restartedInVain: { at: AT.toISOString(), why: 'unhealthy' } }

const cutOff = (operation: string) => ({
  operation,
  begun: AT.toISOString(),
  failed: undefined,
  isGoingBack: false,
  words: operation.split(' '),
  elsewhere: undefined,
})

const said = (playbook: Playbook | undefined) => {
  if (playbook === undefined) return 'none'
  const { kind } = playbook
  if (kind === 'component') {
    const { names, install, snapshot, withoutSecrets } = playbook
    const options = `${install ? ' --install' : ''}${withoutSecrets ? ' --without-secrets' : ''}`
    return `component ${names.join(' ')}${options}${snapshot === undefined ? '' : ' older'}`
  }
  return kind === 'database' ? `database ${playbook.path}` : kind === 'again' ? `again: ${playbook.operation}` : kind
}

const CASES: readonly (readonly [string, Partial<Situation>, readonly Trouble['code'][], ...string[]])[] = [
  ['all is well', {}, [], 'none'],
  ['all is well and configuration was changed', changed, [], 'none'],
  ['it is stopped', service('stopped'), ['service-down'], 'service', 'server'],
  ['its unit is unknown', service('absent'), ['service-down'], 'service', 'server'],
  ['it runs and is unwell', unwell, ['unhealthy'], 'service', 'server'],
  [
    'it is unwell and configuration was changed',
    { ...unwell, ...changed },
    ['unhealthy'],
    'service',
    'component config',
    'server',
  ],
  [
    'it has failed by itself after configuration was changed',
    { ...service('failed'), ...unwell, ...changed },
    ['service-down'],
    'component config',
    'service',
    'server',
  ],
  [
    'it starts again and again after configuration was changed',
    { ...service('changing'), ...unwell, ...changed },
    ['unhealthy'],
    'component config',
    'service',
    'server',
  ],
  ['it has failed by itself and nothing was changed', service('failed'), ['service-down'], 'service', 'server'],
  [
    'a restart did not help and configuration was changed',
    { ...unwell, ...changed, ...inVain },
    ['unhealthy'],
    'component config',
    'service',
    'server',
  ],
  [
    'a restart did not help and the bad change was backed up',
    { ...unwell, ...older, ...inVain },
    ['unhealthy'],
    'component config --without-secrets older',
    'service',
    'server',
  ],
  [
    'what was changed last comes first, and with it what it depends on',
    {
      ...service('failed'),
      changes: [
        component('config', { changed: 1, last: new Date(1) }),
        component('code', { changed: 1, last: new Date(2), dependencies: true }),
      ],
    },
    ['service-down'],
    'component code config --install',
    'service',
    'server',
  ],
  [
    'a database is damaged and it is unwell',
    { ...unwell, databases: bad },
    ['database-damaged', 'unhealthy'],
    'database /opt/shop/data/a.db',
    'service',
    'server',
  ],
  [
    'secrets are missing',
    { ...unwell, secrets: { count: 2, missing: ['/opt/shop/.env'], key: 'missing' } },
    ['secrets-missing', 'unhealthy'],
    'secrets',
    'service',
    'server',
  ],
  [
    'the folder of data is gone, and the database with it',
    {
      databases: [{ path: '/opt/shop/data/a.db', trouble: 'missing', seen: '' }],
      changes: [component('config'), component('data', { isGone: true, missing: 3 })],
    },
    ['files-missing'],
    'component data',
  ],
  [
    'a file is missing, and what was changed besides keeps it from starting',
    { ...unwell, ...inVain, changes: [component('config', { changed: 1 }), component('code', { missing: 1 })] },
    ['files-missing', 'unhealthy'],
    'component code config',
    'component config',
    'service',
    'server',
  ],
  [
    'everything is gone',
    {
      ...service('failed'),
      changes: [component('config', { isGone: true }), component('data', { isGone: true })],
    },
    ['application-gone'],
    'server',
  ],
  ['the root is gone', { root: { path: '/opt/shop', isThere: false } }, ['application-gone'], 'server'],
  [
    'a disk is full, nothing can help before that',
    { ...unwell, space: [{ path: '/', free: 0, total: 20, isFull: true }] },
    ['disk-full', 'unhealthy'],
    'none',
    'service',
    'server',
  ],
  [
    'somebody else has the port',
    { ...service('failed'), portTakenBy: { port: 3000, pid: 7, command: 'node' } },
    ['port-taken', 'service-down'],
    'none',
    'service',
    'server',
  ],
  [
    'a recovery was cut off',
    { ...service('stopped'), unfinished: cutOff('rescue secrets') },
    ['unfinished', 'service-down'],
    'again: rescue secrets',
    'service',
    'server',
  ],
  [
    'a whole recovery was cut off that was begun with another repository, in a place where nothing is yet',
    {
      ...service('absent'),
      root: { path: '/srv/app', isThere: false },
      unfinished: { ...cutOff('restore --full'), elsewhere: '/mnt/backup' },
    },
    ['unfinished', 'application-gone'],
    'again: restore --full',
    'server',
  ],
  [
    'a whole recovery was cut off, and the repository that it was begun with is another than the one of the config',
    {
      ...service('stopped'),
      unfinished: { ...cutOff('restore --full'), elsewhere: '/mnt/backup' },
      repository: { location: '/backup', problem: 'no such folder' },
      newest: undefined,
      changes: undefined,
      secrets: undefined,
    },
    ['unfinished', 'service-down', 'no-repository'],
    'none',
    'service',
  ],
  [
    'the repository is out of reach: a restart is all there is',
    {
      ...unwell,
      repository: { location: '/backup', problem: 'no such folder' },
      newest: undefined,
      changes: undefined,
      secrets: undefined,
    },
    ['unhealthy', 'no-repository'],
    'service',
  ],
  ['there is no snapshot', { ...unwell, newest: undefined, changes: undefined }, ['unhealthy'], 'service'],
  [
    'nginx does not take what was changed',
    {
      webServer: { isRunning: true, problem: 'unexpected end of file' },
      changes: [component('nginx', { kind: 'nginx', changed: 1, holdsSecrets: true })],
    },
    ['web-server'],
    'component nginx --without-secrets',
  ],
  ['nginx is down by itself', { webServer: { isRunning: false, problem: undefined } }, ['web-server'], 'none'],
]

for (const [what, changes, codes, ...playbooks] of CASES) {
  test(`the smallest that can help is proposed when ${what}`, () => {
    const { troubles, proposal, next } = diagnose({ ...WELL, ...changes })
    assert.deepEqual(
      troubles.map(({ code }) => code),
      codes,
    )
    assert.deepEqual([said(proposal?.playbook), ...next.map(({ playbook }) => said(playbook))], playbooks)
    for (const { message } of troubles) assert.doesNotMatch(message, /undefined|\.$/)
    for (const { why } of next) assert.match(why, /[.]$/)
  })
}
