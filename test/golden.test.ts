import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { check, describeGolden, type Expectations } from '../scripts/make-golden.ts'

const checkout = dirname(import.meta.dirname)
const golden = join(checkout, 'test/golden')
const expectations: Expectations = JSON.parse(readFileSync(join(golden, 'expectations.json'), 'utf8'))

test('every golden repository is there, is expected, and has a line on its origin', () => {
  for (const kind of ['healthy', 'damaged'] as const) {
    assert.deepEqual(readdirSync(join(golden, kind)).sort(), Object.keys(expectations[kind]).sort())
  }
  assert.equal(readFileSync(join(golden, 'README.md'), 'utf8'), describeGolden(expectations))
})

test('every damaged golden repository has the file that was damaged, unless that is the damage', () => {
  for (const [name, { file, damage }] of Object.entries(expectations.damaged)) {
    if (file === undefined) continue
    assert.equal(existsSync(join(golden, 'damaged', name, file)), !damage.includes('removed'), `${name}: ${file}`)
  }
})

test('the golden repositories stay small', () => {
  const files = readdirSync(golden, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const bytes = files.reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0)
  assert.ok(bytes < 1_500_000, `${bytes} bytes`)
})

const skip =
  process.env.HOLDFAST_FULL === '1'
    ? existsSync(join(checkout, '.tools/bin/restic'))
      ? false
      : 'no .tools/bin/restic'
    : 'HOLDFAST_FULL=1 asks restic again what it thinks of every golden repository'

test('restic says of each golden repository what is expected', { skip }, () => {
  for (const kind of ['healthy', 'damaged'] as const) {
    for (const [name, expected] of Object.entries(expectations[kind])) {
      const comparable = ({ messages: _, ...rest }: ReturnType<typeof check>) => ({ name, ...rest })
      const repository = join(golden, kind, name)
      assert.deepEqual(comparable(check(repository, [])), comparable(expected.check))
      assert.deepEqual(comparable(check(repository, ['--read-data'])), comparable(expected.checkReadData))
    }
  }
})
