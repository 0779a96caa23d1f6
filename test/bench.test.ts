import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { DAY, dateOf, daysLeftByScript, promisedDays } from '../bench/kept-days.ts'
import type { Result } from '../bench/measure-corpus.ts'
import { median, withMeasured } from '../bench/report.ts'
import { seededRandom } from '../bench/seeded-random.ts'
import { withoutRestic } from './equipment/restic.ts'
import { temporaryFolder } from './equipment/temporary-folder.ts'

const program = join(import.meta.dirname, '../bench/run.ts')
const skip = existsSync('/usr/bin/time') ? withoutRestic() : 'no /usr/bin/time (Debian package time)'

test('the benchmark runs every operation, and what comes back is what went in', { skip }, () => {
  using folder = temporaryFolder()
  const json = join(folder.path, 'figures.json')
  const peers = 'holdfast,restic,script'
  const { status, stderr } = spawnSync(
    process.execPath,
    [program, '--quick', '--source', '--peers', peers, '--json', json],
    {
      env: { ...process.env, HOLDFAST_BENCH_DIR: folder.path },
      encoding: 'utf8',
    },
  )
  // It fails by itself when a restored tree differs from its source, or when restic complains about our repository.
  assert.equal(status, 0, stderr)
  assert.match(stderr, /repository of holdfast: clean/)

  const { data } = JSON.parse(readFileSync(json, 'utf8')) as {
    data: readonly [{ results: Result[] }, { storage: unknown[] }]
  }
  const [{ results }, { storage }] = data
  assert.equal(results.length, 30)
  for (const { peer, operation, runs, missing } of results) {
    assert.ok(runs.length > 0 || missing?.kind === 'not available', `${operation} of ${peer} did not run`)
    for (const { wall, peakProcess } of runs)
      assert.ok(wall > 0 && peakProcess > 0, `${operation} of ${peer} has no figures`)
  }
  assert.equal(storage.length, 5)
  assert.deepEqual(
    readdirSync(folder.path).filter((name) => name.startsWith('work-')),
    [],
    'it leaves nothing behind but its corpora',
  )
})

test('a seed determines the numbers and bytes of a corpus', () => {
  const draw = (seed: string) => {
    const random = seededRandom(seed)
    return [random.next(), random.below(1000), random.logNormal(100, 1), random.bytes(8).toString('hex')]
  }
  assert.deepEqual(draw('one'), draw('one'))
  assert.notDeepEqual(draw('one'), draw('two'))
})

test('the promised schedule keeps days for 30 days, weeks for 90, months for a year and years for seven', () => {
  const last = Math.round(8 * 365.25) - 1
  const kept = promisedDays(last)
  const ages = kept.map((day) => last - day)
  assert.equal(ages.filter((age) => age < 30).length, 30)
  assert.equal(ages.filter((age) => age >= 30 && age < 90).length, 10)
  assert.ok(
    kept
      .filter((day) => last - day >= 30 && last - day < 90)
      .every((day) => day % 7 === 0 || dateOf(day).getUTCDate() === 1),
  )
  assert.equal(ages.filter((age) => age >= 90 && age < 365).length, 9)
  const years = kept.filter((day) => last - day >= 365).map((day) => dateOf(day).toISOString().slice(0, 10))
  assert.deepEqual(years, [
    '2030-01-01',
    '2031-01-01',
    '2032-01-01',
    '2033-01-01',
    '2034-01-01',
    '2035-01-01',
    '2036-01-01',
  ])
})

test("the script's commands leave 31 days, and of the monthly copies none that is older", () => {
  const left = daysLeftByScript(1000)
  assert.equal(new Set(left).size, 31)
  assert.equal(left.filter((day, at) => left.indexOf(day) !== at).length, 1)
  assert.ok(left.every((day) => (dateOf(1000).getTime() - dateOf(day).getTime()) / DAY <= 30))
})

test('the median of an even number of runs lies between the middle two', () => {
  assert.equal(median([3, 1, 2]), 2)
  assert.equal(median([4, 1, 3, 2]), 2.5)
})

test('what people wrote around the figures stays, and a page without a place for them is refused', () => {
  const page = readFileSync(join(import.meta.dirname, '../docs/benchmarks.md'), 'utf8')
  const changed = withMeasured(page, 'new figures')
  assert.match(changed, /new figures/)
  assert.equal(withMeasured(changed, 'new figures'), changed)
  assert.equal(changed.split('<!--')[0], page.split('<!--')[0])
  assert.throws(() => withMeasured('# Nothing\n', ''), /no place for figures/)
})
