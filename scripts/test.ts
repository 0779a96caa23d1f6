/**
 * Runs the tests: every `*.test.ts` under src/, test/ and scripts/.
 *
 *   npm test                            everything
 *   node scripts/test.ts chunker sql    only files whose path contains one of the words, or that are named in full
 *   node scripts/test.ts --name 'torn'  only tests whose name matches
 *   HOLDFAST_FULL=1 npm test            also the sweeps that take minutes
 *
 * With CI=true a skipped test fails the run, unless its reason is listed below: there everything that a test needs can
 * be had, and a test that quietly stopped running protects nothing.
 */
import { globSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { parseArgs } from 'node:util'

const ALLOWED_SKIPS: readonly { readonly reason: RegExp; readonly why: string }[] = [
  { reason: /HOLDFAST_FULL=1/, why: 'takes minutes and covers in full what another test samples' },
  // Of the conformance suite of storages, for the one in memory:
  { reason: /^this kind is always there$/, why: 'memory cannot be absent' },
  { reason: /^this kind has no limit$/, why: 'memory has no disk that could be full' },
]

/**
 * What takes longest, the longest first: begun last, one of them would run alone at the end. The times that a run ends with say
 * when this list is out of date.
 */
const LONGEST: readonly string[] = [
  'test/recovery/full-recovery.test.ts',
  'test/interop/written-by-restic.test.ts',
  'test/bench.test.ts',
  'test/interop/maintenance.test.ts',
  'test/recovery/rescue-server.test.ts',
]

/** How many of the longest files a run of many names at its end. */
const NAMED_TIMES = 12

/** A test file that has not ended by then hangs. */
const FILE_LIMIT = (process.env.HOLDFAST_FULL === '1' ? 120 : 10) * 60_000

const checkout = dirname(import.meta.dirname)
const { values, positionals } = parseArgs({ options: { name: { type: 'string' } }, allowPositionals: true })

const files = selectFiles(positionals)
if (files.length === 0) {
  console.error(`No test file matches ${positionals.join(', ')}`)
  process.exit(1)
}

// The tests start hundreds of processes of Node.js, each of which loads a hundred files or more: half of what a start costs is
// stripping and compiling them, and the same each time.
process.env.NODE_COMPILE_CACHE ??= join(checkout, 'node_modules/.cache/compiled')

const times: { readonly file: string; readonly seconds: number }[] = []
const skipped: { readonly test: string; readonly reason: string }[] = []
const stream = run({
  files,
  cwd: checkout,
  // One more than there are processors: a quarter of a file's time goes by in waiting, for locks, services and disks.
  concurrency: availableParallelism() + 1,
  timeout: FILE_LIMIT,
  // node:sqlite says on every start that it is experimental.
  execArgv: ['--disable-warning=ExperimentalWarning'],
  ...(values.name === undefined ? {} : { testNamePatterns: [new RegExp(values.name)] }),
})
stream.on('test:fail', ({ todo }) => {
  if (todo === undefined || todo === false) process.exitCode = 1
})
stream.on('test:pass', ({ name, skip }) => {
  if (skip !== undefined && skip !== false)
    skipped.push({ test: name, reason: skip === true ? 'no reason given' : skip })
})
stream.on('test:summary', ({ file, duration_ms }) => {
  if (file !== undefined) times.push({ file: relative(checkout, file), seconds: duration_ms / 1000 })
})
stream.compose(spec).on('end', judgeSkips).on('end', nameTimes).pipe(process.stdout)

function selectFiles(words: readonly string[]): string[] {
  const isFile = (word: string) => statSync(word, { throwIfNoEntry: false })?.isFile() === true
  const named = words.filter(isFile).map((word) => resolve(word))
  const parts = words.filter((word) => !isFile(word))
  // Whole-program tests first: they take longer, and the short ones fill the gaps at the end.
  const found = ['test', 'scripts', 'src'].flatMap((folder) =>
    globSync(`${folder}/**/*.test.ts`, { cwd: checkout }).sort(),
  )
  const all = [...LONGEST.filter((file) => found.includes(file)), ...found.filter((file) => !LONGEST.includes(file))]
  const matching = words.length === 0 ? all : all.filter((file) => parts.some((part) => file.includes(part)))
  return [...named, ...matching.map((file) => join(checkout, file))]
}

function judgeSkips(): void {
  const unexpected = skipped.filter(({ reason }) => !ALLOWED_SKIPS.some((allowed) => allowed.reason.test(reason)))
  if (unexpected.length === 0) return
  const list = unexpected.map(({ test, reason }) => `  - ${test}: ${reason}`).join('\n')
  if (process.env.CI === 'true') {
    console.error(`Skipped, and must not be with CI=true:\n${list}`)
    process.exitCode = 1
  } else console.error(`Skipped on this machine:\n${list}`)
}

function nameTimes(): void {
  if (times.length <= NAMED_TIMES) return
  const longest = times.sort((a, b) => b.seconds - a.seconds).slice(0, NAMED_TIMES)
  const list = longest.map(({ file, seconds }) => `  ${seconds.toFixed(1).padStart(6)}  ${file}`).join('\n')
  console.log(`Longest, in seconds:\n${list}`)
}
