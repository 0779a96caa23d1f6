import assert from 'node:assert/strict'
import test from 'node:test'
import { type MeasuredRun, predictRecovery, type RecoveryPhase } from './predict-recovery.ts'

const ALL: ReadonlySet<RecoveryPhase> = new Set(['restore', 'install', 'build', 'start', 'health', 'rest'])

const run = (
  day: number,
  bytes: number,
  phases: MeasuredRun['phases'],
  by: MeasuredRun['by'] = 'drill',
): MeasuredRun => ({
  by,
  at: new Date(Date.UTC(2026, 10, day)),
  host: 'web1',
  bytes,
  phases,
})

const predict = (changes: Partial<Parameters<typeof predictRecovery>[0]>) =>
  predictRecovery({ phases: ALL, bytes: 1000, runs: [], reading: undefined, ...changes })

const said = ({ phases }: ReturnType<typeof predictRecovery>) =>
  phases.map(({ phase, milliseconds, basis, from }) => [phase, milliseconds, basis, from?.at.slice(8, 10)])

test('of each phase the newest measure counts, and what nobody has measured is unknown', () => {
  const runs = [
    run(20, 1000, { restore: 500, start: 10 }),
    run(10, 1000, { restore: 900, install: 4000, start: 90, rest: 7 }, 'recovery'),
  ]
  const prediction = predict({ runs })
  assert.deepEqual(said(prediction), [
    ['restore', 500, 'measured', '20'],
    ['install', 4000, 'measured', '10'],
    ['build', undefined, 'unknown', undefined],
    ['start', 10, 'measured', '20'],
    ['health', undefined, 'unknown', undefined],
    ['rest', 7, 'measured', '10'],
  ])
  assert.equal(prediction.milliseconds, 4517)
})

test('a restore of another size is estimated in proportion', () => {
  const phases = new Set(['restore'] as const)
  assert.deepEqual(said(predict({ phases, bytes: 3000, runs: [run(20, 1000, { restore: 500 })] })), [
    ['restore', 1500, 'estimated', '20'],
  ])
  assert.deepEqual(said(predict({ phases, bytes: 100, runs: [run(20, 1000, { restore: 500 })] })), [
    ['restore', 50, 'estimated', '20'],
  ])
  assert.deepEqual(said(predict({ phases, runs: [run(20, 0, { restore: 500 })] })), [
    ['restore', 500, 'estimated', '20'],
  ])
})

test('where the repository is read more slowly now than all of it took then, that counts', () => {
  const phases = new Set(['restore'] as const)
  const reading = { bytes: 100, milliseconds: 100 }
  const runs = [run(20, 1000, { restore: 500 })]
  assert.deepEqual(said(predict({ phases, runs, reading })), [['restore', 1000, 'estimated', undefined]])
  assert.deepEqual(said(predict({ phases, runs, reading: { bytes: 100, milliseconds: 10 } })), [
    ['restore', 500, 'measured', '20'],
  ])
  assert.deepEqual(said(predict({ phases, reading })), [['restore', 1000, 'estimated', undefined]])
})

test('what is not done takes no time', () => {
  const runs = [run(20, 1000, { restore: 500, install: 4000 })]
  assert.equal(predict({ phases: new Set(['install'] as const), runs }).milliseconds, 4000)
  assert.deepEqual(predict({ phases: new Set(), runs }), { phases: [], milliseconds: 0 })
})
