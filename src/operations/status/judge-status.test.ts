import assert from 'node:assert/strict'
import test from 'node:test'
import { duration } from '../../application/config/duration.ts'
import type { GoodCopy, RunRecord, SnapshotRecord } from '../../application/journal/journal-record.ts'
import { judgeStatus } from './judge-status.ts'
import type { StatusFacts } from './status-facts.ts'

const NOW = new Date('2026-11-27T12:00:00Z')
const HOUR = 3_600_000
const DAY = 24 * HOUR
const ID = 'ab'.repeat(32)
const ago = (milliseconds: number) => new Date(NOW.getTime() - milliseconds)

function run(operation: string, changes: Partial<RunRecord> = {}): RunRecord {
  const started = changes.started ?? ago(HOUR)
  return {
    id: 'mwyrs7l8',
    operation,
    subject: 'shop',
    host: 'web1',
    started,
    finished: started,
    state: 'succeeded',
    milliseconds: 60_000,
    facts: {},
    summary: {},
    errors: 0,
    warnings: 0,
    ...changes,
  }
}

const COPY = { component: 'data', kind: 'files', files: 1, bytes: 1, outcome: 'succeeded' } as const

function snapshot(age: number, id = ID): SnapshotRecord {
  return { id, time: ago(age), host: 'web1', whole: true, outcome: 'succeeded', added: 1, copies: [COPY] }
}

function copy(age: number, changes: Partial<GoodCopy> = {}): GoodCopy {
  const proof = { snapshot: ID, level: 'checked', at: ago(age), evidence: {} } as const
  return { ...COPY, snapshot: ID, time: ago(age), host: 'web1', proof, ...changes }
}

function facts(changes: Partial<StatusFacts> = {}): StatusFacts {
  return {
    config: {
      app: 'shop',
      environment: 'production',
      repository: '/repo',
      objectives: { rpo: duration('24h'), rto: duration('4h') },
      drill: { every: duration('90d'), pick: 'latest', checks: [] },
    },
    components: [{ name: 'data', kind: 'files', copy: copy(HOUR) }],
    snapshots: [snapshot(HOUR)],
    damaged: [],
    last: { backup: run('backup'), verify: run('verify'), check: undefined, drill: undefined },
    rehearsed: undefined,
    recovery: undefined,
    sources: { journal: 'used', repository: 'used' },
    findings: [],
    now: NOW,
    ...changes,
  }
}

const last = (changes: Partial<StatusFacts['last']>) => ({ last: { ...facts().last, ...changes } })

const CASES: readonly (readonly [string, Partial<StatusFacts>, 'good' | 'incomplete' | 'bad', readonly string[]])[] = [
  ['a fresh backup that was verified', {}, 'good', []],
  [
    'nothing at all',
    { snapshots: [], components: [{ name: 'data', kind: 'files', copy: undefined }], ...last({ backup: undefined }) },
    'bad',
    ['never-backed-up'],
  ],
  [
    'a component without a good copy',
    { components: [...facts().components, { name: 'nginx', kind: 'nginx', copy: undefined }] },
    'bad',
    ['no-good-copy'],
  ],
  [
    'a copy older than the objective',
    { components: [{ name: 'data', kind: 'files', copy: copy(25 * HOUR) }] },
    'bad',
    ['rpo-missed'],
  ],
  [
    'a failed backup',
    last({ backup: run('backup', { state: 'failed', summary: { error: 'no space' } }) }),
    'bad',
    ['backup-failed'],
  ],
  [
    'a backup that was cut off',
    last({ backup: run('backup', { state: 'interrupted' }) }),
    'incomplete',
    ['backup-interrupted'],
  ],
  [
    'an incomplete backup',
    last({ backup: run('backup', { state: 'incomplete' }) }),
    'incomplete',
    ['backup-incomplete'],
  ],
  ['a damaged snapshot', { damaged: [ID] }, 'bad', ['snapshot-damaged']],
  ['damage in a snapshot that is gone', { damaged: ['cd'.repeat(32)] }, 'good', []],
  [
    'a failed check',
    last({ check: run('check', { state: 'failed', started: ago(HOUR / 2) }) }),
    'bad',
    ['check-failed'],
  ],
  [
    'a copy of which nothing is proven',
    { components: [{ name: 'data', kind: 'files', copy: copy(HOUR, { proof: undefined }) }] },
    'incomplete',
    ['unproven'],
  ],
  [
    'no look into it for a month',
    { snapshots: [snapshot(40 * DAY), snapshot(HOUR)], ...last({ verify: undefined }) },
    'incomplete',
    ['verify-overdue'],
  ],
  ['an overdue drill', { snapshots: [snapshot(91 * DAY), snapshot(HOUR)] }, 'incomplete', ['drill-overdue']],
  [
    'a drill in time',
    { snapshots: [snapshot(200 * DAY), snapshot(HOUR)], rehearsed: run('drill', { started: ago(80 * DAY) }) },
    'good',
    [],
  ],
  [
    'a drill in time, and a failed one since',
    {
      snapshots: [snapshot(200 * DAY), snapshot(HOUR)],
      rehearsed: run('drill', { started: ago(80 * DAY) }),
      ...last({ drill: run('drill', { state: 'failed' }) }),
    },
    'bad',
    ['drill-failed'],
  ],
  ['a failed drill', last({ drill: run('drill', { state: 'failed' }) }), 'bad', ['drill-failed']],
  ['a recovery that takes too long', { recovery: run('drill', { milliseconds: 5 * HOUR }) }, 'bad', ['rto-missed']],
  [
    'a repository out of reach',
    { findings: [{ severity: 'error', code: 'repository-unreachable', message: 'x' }] },
    'bad',
    ['repository-unreachable'],
  ],
]

for (const [what, changes, health, codes] of CASES) {
  test(`the state is ${health} with ${what}`, () => {
    const report = judgeStatus(facts(changes))
    assert.deepEqual(
      [report.health, report.findings.map(({ code }) => code)],
      [health, codes],
      report.findings.map(({ message }) => message).join('\n'),
    )
    for (const { code, hint } of report.findings)
      assert.ok(hint || code === 'repository-unreachable', `${code} says what to do`)
  })
}

test('what would be lost is measured from the oldest good copy, and at worst between two good snapshots', () => {
  const { rpo, rto } = judgeStatus(
    facts({
      components: [
        { name: 'data', kind: 'files', copy: copy(3 * HOUR) },
        { name: 'config', kind: 'files', copy: copy(HOUR) },
      ],
      snapshots: [snapshot(60 * DAY, '1'), snapshot(10 * DAY, '2'), snapshot(4 * DAY, '3'), snapshot(3 * HOUR)],
      recovery: run('drill', { milliseconds: 2 * HOUR }),
    }),
  )
  assert.equal(rpo.now, 3 * HOUR)
  assert.equal(rpo.worst, 50 * DAY)
  assert.equal(rto.measured, 2 * HOUR)
})
