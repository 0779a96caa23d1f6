import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { checkArchitecture } from './check-architecture.ts'

/** Checks a checkout that has these files under `src/`; the answer is one `file:line rule` a violation. */
function violationsIn(files: Readonly<Record<string, string>>): string[] {
  const checkout = mkdtempSync(join(tmpdir(), 'holdfast-architecture-'))
  try {
    const manifest = { dependencies: { koffi: '1', '@clack/prompts': '1' }, devDependencies: { 'fast-check': '1' } }
    writeFileSync(join(checkout, 'package.json'), JSON.stringify(manifest))
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(checkout, 'src', name)), { recursive: true })
      writeFileSync(join(checkout, 'src', name), content)
    }
    return checkArchitecture(checkout).violations.map(({ file, line, rule }) => `${file}:${line} ${rule}`)
  } finally {
    rmSync(checkout, { recursive: true })
  }
}

test('the source of Holdfast keeps the house rules', () => {
  const { files, violations } = checkArchitecture(dirname(import.meta.dirname))
  assert.deepEqual(violations, [])
  assert.ok(files > 0)
})

const wrong: readonly [from: string, to: string][] = [
  ['engine/archiver/a.ts', 'application/error.ts'],
  ['engine/archiver/a.ts', 'engine/restorer/b.ts'],
  ['engine/restorer/a.ts', 'engine/archiver/b.ts'],
  ['engine/repository/a.ts', 'engine/archiver/b.ts'],
  ['engine/storage/a.ts', 'engine/repository/b.ts'],
  ['engine/format/a.ts', 'engine/storage/b.ts'],
  ['engine/format/a.ts', 'engine/os/b.ts'],
  ['engine/kernels/a.ts', 'engine/format/b.ts'],
  ['engine/os/a.ts', 'engine/format/b.ts'],
  ['engine/error.ts', 'engine/format/b.ts'],
  ['engine/format/a.ts', 'operations/b.ts'],
  ['application/sources/a.ts', 'application/config/b.ts'],
  ['application/host/a.ts', 'application/config/b.ts'],
  ['application/notify/a.ts', 'application/journal/b.ts'],
  ['application/journal/a.ts', 'application/sources/b.ts'],
  ['application/error.ts', 'application/sources/b.ts'],
  ['application/sources/a.ts', 'engine/repository/b.ts'],
  ['application/config/a.ts', 'engine/format/b.ts'],
  ['application/sources/a.ts', 'engine/storage/local.ts'],
  ['application/sources/a.ts', 'operations/backup/b.ts'],
  ['operations/backup/a.ts', 'cli/b.ts'],
  ['operations/backup/a.ts', 'http/contract.ts'],
  ['http/a.ts', 'cli/b.ts'],
  ['http/a.ts', 'dashboard/b.ts'],
  ['dashboard/a.ts', 'http/server.ts'],
  ['dashboard/a.ts', 'engine/error.ts'],
  ['cli/a.ts', 'dashboard/b.ts'],
]
for (const [from, to] of wrong) {
  test(`${from} importing ${to} points the wrong way`, () => {
    const up = '../'.repeat(from.split('/').length - 1)
    const found = violationsIn({ [from]: `\nimport type { B } from '${up || './'}${to}'\n`, [to]: '' })
    assert.deepEqual(found, [`src/${from}:2 direction`])
  })
}

const right: readonly [from: string, to: string][] = [
  ['cli/a.ts', 'operations/backup/b.ts'],
  ['dashboard/a.ts', 'http/contract.ts'],
  ['operations/backup/a.ts', 'application/sources/b.ts'],
  ['operations/backup/a.ts', 'engine/repository/b.ts'],
  ['operations/backup/a.ts', 'operations/event.ts'],
  ['application/config/a.ts', 'application/host/b.ts'],
  ['application/sources/a.ts', 'engine/os/b.ts'],
  ['application/sources/a.ts', 'engine/error.ts'],
  ['application/sources/a.ts', 'engine/os/write-file-durably.ts'],
  ['engine/archiver/a.ts', 'engine/repository/b.ts'],
  ['engine/repository/a.ts', 'engine/kernels/b.ts'],
  ['engine/repository/a.ts', 'engine/os/b.ts'],
  ['engine/format/a.ts', 'engine/error.ts'],
]
for (const [from, to] of right) {
  test(`${from} may import ${to}`, () => {
    const up = '../'.repeat(from.split('/').length - 1)
    assert.deepEqual(violationsIn({ [from]: `import '${up}${to}'`, [to]: '' }), [])
  })
}

const others: readonly [what: string, files: Readonly<Record<string, string>>, expected: string[]][] = [
  ['a file outside the house', { 'utils/a.ts': '' }, ['src/utils/a.ts:1 homeless']],
  [
    'two files that import each other',
    { 'cli/a.ts': `import './b.ts'`, 'cli/b.ts': `import type { A } from './a.ts'` },
    ['src/cli/b.ts:1 cycle'],
  ],
  [
    'a circle of three, one of them lazy',
    { 'cli/a.ts': `import './b.ts'`, 'cli/b.ts': `import './c.ts'`, 'cli/c.ts': `\nimport('./a.ts')` },
    ['src/cli/c.ts:2 cycle'],
  ],
  ['a file that imports itself', { 'cli/a.ts': `import './a.ts'` }, ['src/cli/a.ts:1 cycle']],
  ['a barrel', { 'cli/index.ts': `export * from './a.ts'`, 'cli/a.ts': '' }, ['src/cli/index.ts:1 barrel']],
  [
    'an import of an entry point',
    { 'cli/a.ts': `import '../engine/index.ts'`, 'engine/index.ts': '' },
    ['src/cli/a.ts:1 barrel'],
  ],
  [
    'source code that needs test code',
    { 'cli/a.ts': `import './b.test-suite.ts'`, 'cli/b.test-suite.ts': '' },
    ['src/cli/a.ts:1 test-code'],
  ],
  ['a development dependency', { 'cli/a.ts': `import fc from 'fast-check'` }, ['src/cli/a.ts:1 dependency']],
  ['a scoped package that nobody installs', { 'cli/a.ts': `import '@clack/core/x'` }, ['src/cli/a.ts:1 dependency']],
  ['a built-in module by its bare name', { 'cli/a.ts': `import 'fs'` }, ['src/cli/a.ts:1 builtin']],
  ['an import without extension', { 'cli/a.ts': `import './b'`, 'cli/b.ts': '' }, ['src/cli/a.ts:1 extension']],
  ['an import of compiled code', { 'cli/a.ts': `import './b.js'`, 'cli/b.ts': '' }, ['src/cli/a.ts:1 extension']],
  ['an import that leaves the source', { 'cli/a.ts': `import '../../test/b.ts'` }, ['src/cli/a.ts:1 outside']],
  ['an import with a computed name', { 'cli/a.ts': 'import(`./` + b)' }, ['src/cli/a.ts:1 computed']],
  [
    'a worker that lives on the wrong side',
    { 'engine/os/a.ts': `new Worker(new URL('../format/b.ts', import.meta.url))`, 'engine/format/b.ts': '' },
    ['src/engine/os/a.ts:1 direction'],
  ],
]
for (const [what, files, expected] of others) {
  test(`${what} is found, with file and line`, () => assert.deepEqual(violationsIn(files), expected))
}

test('what is allowed everywhere is not reported', () => {
  const found = violationsIn({
    'index.ts': `export { a } from './engine/format/a.ts'`,
    'engine/index.ts': `export * from './format/a.ts'`,
    'engine/format/a.ts': `import 'node:fs'\nimport koffi from 'koffi'\nimport '../../../package.json'`,
    'engine/format/a.test.ts': `import fc from 'fast-check'\nimport '../../operations/b.ts'\nimport '../../../test/c.ts'`,
    'operations/b.ts': `import { text } from '@clack/prompts'\nimport('../engine/format/a.ts')`,
  })
  assert.deepEqual(found, [])
})

test('a message names what is allowed instead', () => {
  const checkout = mkdtempSync(join(tmpdir(), 'holdfast-architecture-'))
  try {
    writeFileSync(join(checkout, 'package.json'), '{}')
    mkdirSync(join(checkout, 'src/engine/kernels'), { recursive: true })
    writeFileSync(join(checkout, 'src/engine/kernels/a.ts'), `import '../format/b.ts'`)
    const [violation] = checkArchitecture(checkout).violations
    assert.equal(
      violation?.message,
      'must not import src/engine/format/b.ts: engine/kernels/** imports itself and only engine/*',
    )
  } finally {
    rmSync(checkout, { recursive: true })
  }
})
