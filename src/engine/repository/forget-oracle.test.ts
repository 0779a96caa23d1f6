import assert from 'node:assert/strict'
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import fc from 'fast-check'
import { runRestic, withoutRestic } from '../../../test/equipment/restic.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { PASSWORD, snapshotOf, testRepository } from '../../../test/equipment/test-repository.ts'
import { EngineError } from '../error.ts'
import { type BlobId, hashId } from '../format/id.ts'
import { encodeSnapshot } from '../format/snapshot.ts'
import { formatTimestamp, type Timestamp } from '../format/timestamp.ts'
import { pathOf } from '../storage/layout.ts'
import { localStorage } from '../storage/local.ts'
import { type CalendarPeriod, formatPeriod } from './calendar-period.ts'
import { type ForgetPlan, planForget } from './forget.ts'
import type { KeepCount, RetentionPolicy } from './retention-policy.ts'
import type { SnapshotGrouping } from './snapshot-groups.ts'
import type { SnapshotFilter } from './snapshots.ts'
import { sealUnpacked } from './unpacked-files.ts'

// restic is the oracle: it is asked what it would forget of snapshots that we wrote, and why it would keep the others.

const RUNS = process.env.HOLDFAST_FULL === '1' ? 1500 : 50
const SECOND = 1_000_000_000n
const DAY = 86_400n * SECOND

const at = (text: string) => BigInt(Date.parse(text)) * 1_000_000n

/** Moments about which calendars disagree: changes of clocks, ends of months, weeks and years, leap days. */
const CORNERS = [
  '2024-03-31T01:00:00Z',
  '2024-10-27T01:00:00Z',
  '2024-02-29T12:00:00Z',
  '2024-03-31T23:30:00Z',
  '2020-12-31T23:59:59Z',
  '2021-01-03T23:59:59Z',
  '2024-12-30T00:00:00Z',
  '2023-11-05T06:00:00Z',
].map(at)

const instant = fc.oneof(
  fc
    .record({ near: fc.constantFrom(...CORNERS), by: fc.bigInt(-3n * 86_400n, 3n * 86_400n) })
    .map(({ near, by }) => near + by * SECOND),
  fc
    .record({ near: fc.constantFrom(...CORNERS), by: fc.bigInt(-7200n, 7200n) })
    .map(({ near, by }) => near + by * SECOND),
  fc.bigInt(at('2019-01-01T00:00:00Z'), at('2025-12-31T00:00:00Z')),
  fc.bigInt(1n, 900n).map((days) => BigInt(Date.now()) * 1_000_000n + days * DAY), // in the future
)

const moment: fc.Arbitrary<Timestamp> = fc.record({
  ns: instant,
  offset: fc.constantFrom(0, 0, 60, 120, 330, -210, -150, 345, -720, 840),
})

const TAGS = ['a', 'b', 'c d']

const snapshot = fc.record({
  time: moment,
  hostname: fc.constantFrom('one', 'one', 'two', ''),
  paths: fc.constantFrom(['/srv'], ['/srv', '/etc'], ['/etc', '/srv'], ['/Ω', '/\u{1f600}', '/\uffff']),
  tags: fc.subarray(TAGS),
  /** As many with equal time in all: restic keeps whichever the storage lists first. */
  copies: fc.constantFrom(1, 1, 1, 1, 2, 3),
})

const count: fc.Arbitrary<KeepCount | undefined> = fc.oneof(
  { weight: 4, arbitrary: fc.constant(undefined) },
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 6 }) },
  { weight: 1, arbitrary: fc.constant('unlimited' as const) },
)

const period: fc.Arbitrary<CalendarPeriod | undefined> = fc.oneof(
  { weight: 3, arbitrary: fc.constant(undefined) },
  {
    weight: 1,
    arbitrary: fc.record({
      years: fc.constantFrom(0, 0, 1, 4),
      months: fc.constantFrom(0, 0, 1, 6, 13),
      days: fc.constantFrom(0, 0, 1, 31, 400),
      hours: fc.constantFrom(0, 1, 24, 1000),
    }),
  },
)

const mixedPolicy: fc.Arbitrary<RetentionPolicy> = fc.record({
  last: count,
  hourly: count,
  daily: count,
  weekly: count,
  monthly: count,
  yearly: count,
  within: period,
  withinPeriods: fc.record({ hourly: period, daily: period, weekly: period, monthly: period, yearly: period }),
  tags: fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    {
      weight: 1,
      arbitrary: fc.array(fc.constantFrom(['a'], ['a', 'b'], [''], ['', 'a'], ['c d'], ['nobody has it']), {
        minLength: 1,
        maxLength: 2,
      }),
    },
  ),
})

/** Some that keep nothing of most groups. */
const policy = fc.oneof(
  { weight: 6, arbitrary: mixedPolicy },
  { weight: 1, arbitrary: fc.constantFrom<RetentionPolicy>({}, { tags: [['b']] }, { tags: [['nobody has it']] }) },
)

const grouping: fc.Arbitrary<SnapshotGrouping> = fc.record({
  host: fc.boolean(),
  paths: fc.boolean(),
  tags: fc.boolean(),
})

const filter: fc.Arbitrary<SnapshotFilter> = fc.oneof(
  { weight: 4, arbitrary: fc.constant({}) },
  { weight: 1, arbitrary: fc.constant({ hosts: ['one'] }) },
  { weight: 1, arbitrary: fc.constantFrom({ paths: ['/etc'] }, { tags: [['a']] }, { tags: [['a', 'b'], ['']] }) },
)

describe('what is forgotten', { skip: withoutRestic() }, () => {
  const zone = process.env.TZ
  afterEach(() => {
    if (zone === undefined) delete process.env.TZ
    else process.env.TZ = zone
  })

  it('is what restic would forget, for the reasons that restic gives', async () => {
    const cases = fc.record({
      // Of different ones of equal time it is the storage's order that decides, as of copies, but their tags tell them apart.
      snapshots: fc.uniqueArray(snapshot, { maxLength: 40, selector: ({ time }) => time.ns }),
      policy,
      grouping,
      filter,
      timeZone: fc.constantFrom('UTC', 'Europe/Berlin', 'America/St_Johns', 'Europe/London'),
    })
    using folder = temporaryFolder()
    const repository = await testRepository({ storage: localStorage(folder.path) })
    const outcomes = { decided: 0, refused: 0, empty: 0 }
    await fc.assert(
      fc.asyncProperty(cases, async ({ snapshots, policy, grouping, filter, timeZone }) => {
        process.env.TZ = timeZone
        const folderOfSnapshots = join(folder.path, 'snapshots')
        for (const name of readdirSync(folderOfSnapshots)) rmSync(join(folderOfSnapshots, name))
        for (const { copies, ...changes } of snapshots) {
          for (let copy = 0; copy < copies; copy++) {
            const json = encodeSnapshot(
              snapshotOf(hashId<BlobId>(Buffer.from(`${copy}`)), { ...changes, username: `${copy}` }),
            )
            // Not through the storage, which would wait for the disk each time.
            const { name, content } = sealUnpacked(repository, 'snapshot', json)
            writeFileSync(join(folder.path, pathOf(name)), content)
          }
        }
        const args = [
          'forget',
          '--dry-run',
          '--no-lock',
          '--json',
          ...policyArgs(policy),
          ...groupingArgs(grouping),
          ...filterArgs(filter),
        ]
        const run = runRestic(args, { repository: folder.path, password: PASSWORD, timeZone })
        const ours = await planForget(repository, { policy, grouping, filter }).catch((error: unknown) => {
          if (error instanceof EngineError && error.code === 'REFUSED') return undefined
          throw error
        })
        assert.equal(ours === undefined, run.status !== 0, `restic exits with ${run.status}: ${run.stderr}`)
        if (ours === undefined) {
          assert.match(run.stderr, /refusing to delete last snapshot|no policy was specified/)
          outcomes.refused += 1
        } else if (run.stdout === '') {
          assert.deepEqual(ours, { groups: [], remove: [] })
          outcomes.empty += 1
        } else {
          assert.deepEqual(comparable(ours), comparableRestic(JSON.parse(run.stdout)))
          outcomes.decided += 1
        }
      }),
      { numRuns: RUNS, endOnFailure: true },
    )
    assert.ok(outcomes.decided > RUNS / 4 && outcomes.refused > 0, JSON.stringify(outcomes))
  })
})

function policyArgs(policy: RetentionPolicy): string[] {
  const counts = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
  const periods = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
  const duration = (value: CalendarPeriod) => formatPeriod(value) || '0h'
  return [
    ...counts.flatMap((name) => (policy[name] === undefined ? [] : [`--keep-${name}`, String(policy[name])])),
    ...(policy.within ? ['--keep-within', duration(policy.within)] : []),
    ...periods.flatMap((name) => {
      const value = policy.withinPeriods?.[name]
      return value ? [`--keep-within-${name}`, duration(value)] : []
    }),
    ...(policy.tags ?? []).flatMap((list) => ['--keep-tag', list.join(',')]),
  ]
}

function groupingArgs({ host, paths, tags }: SnapshotGrouping): string[] {
  return ['--group-by', [host && 'host', paths && 'paths', tags && 'tags'].filter(Boolean).join(',')]
}

function filterArgs({ hosts = [], paths = [], tags = [] }: SnapshotFilter): string[] {
  return [
    ...hosts.flatMap((host) => ['--host', host]),
    ...paths.flatMap((path) => ['--path', path]),
    ...tags.flatMap((list) => ['--tag', list.join(',')]),
  ]
}

/** Which of several snapshots with equal times stays is left open; so many of them, for those reasons, is not. */
type Comparable = Readonly<Record<string, readonly string[]>>

function comparable(plan: ForgetPlan): Comparable {
  return Object.fromEntries(
    plan.groups.map(({ host, paths, tags, keep, remove }) => [
      JSON.stringify([host, paths, tags]),
      [
        ...keep.map(({ snapshot, reasons }) => `${String(snapshot.time.ns)} ${snapshot.tags}: ${reasons}`),
        ...remove.map(({ snapshot }) => `${String(snapshot.time.ns)} ${snapshot.tags}: removed`),
      ].sort(),
    ]),
  )
}

interface ResticGroup {
  readonly host: string
  readonly paths: string[] | null
  readonly tags: string[] | null
  readonly remove: ResticSnapshot[] | null
  readonly reasons: { readonly snapshot: ResticSnapshot; readonly matches: string[] }[] | null
}

interface ResticSnapshot {
  readonly time: string
  readonly tags?: string[]
}

function comparableRestic(groups: readonly ResticGroup[]): Comparable {
  const name = ({ time, tags = [] }: ResticSnapshot) => `${nanoseconds(time)} ${tags}`
  return Object.fromEntries(
    groups.map(({ host, paths, tags, remove, reasons }) => [
      JSON.stringify([host, paths ?? [], tags ?? []]),
      [
        ...(reasons ?? []).map(({ snapshot, matches }) => `${name(snapshot)}: ${matches}`),
        ...(remove ?? []).map((snapshot) => `${name(snapshot)}: removed`),
      ].sort(),
    ]),
  )
}

function nanoseconds(time: string): string {
  const [whole, fraction, zone] = /^(.{19})(?:\.(\d+))?(.+)$/.exec(time)!.slice(1)
  return String(at(`${whole}${zone}`) + BigInt((fraction ?? '').padEnd(9, '0')))
}

assert.equal(nanoseconds(formatTimestamp({ ns: 1_700_000_000_123_456_789n, offset: 90 })), '1700000000123456789')
