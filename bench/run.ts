/**
 * Runs Holdfast, restic, borg and the hand-made script side by side and prints what each took.
 *
 *   npm run bench                                     the corpora except `million`, five rounds, eight years of storage
 *   npm run bench -- --corpus server --peers holdfast,restic --only first,changed --rounds 3
 *   npm run bench -- --corpus million --rounds 1      a million tiny files, also in a memory cgroup of 1 GiB
 *   npm run bench -- --only storage                   eight years of the runbook's retention
 *   npm run bench -- --quick                          small corpora, one round: does everything run and come back right?
 *   npm run bench -- --markdown                       also writes the figures into docs/benchmarks.md
 *
 * `--json FILE` writes every single run; `--on-disk` keeps out of tmpfs; `--source` runs the source instead of the compiled package, `--public-only` has Holdfast do without undocumented
 * interfaces of the runtime. Corpora are made once, in $HOLDFAST_BENCH_DIR (default
 * /var/tmp/holdfast-bench). Exit code 1 when a program failed or brought back something else than it was given.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { choosePlace } from './choose-place.ts'
import { CORPUS_NAMES, type CorpusName, cachedCorpus, ingredientsOf, type Scale, workingCopy } from './corpus.ts'
import { eightYears } from './eight-years.ts'
import { installPackage } from './install-package.ts'
import { measureCorpus, OPERATIONS, type OperationName, type Plan } from './measure-corpus.ts'
import { memoryCgroup } from './memory-cgroup.ts'
import { borg } from './peers/borg.ts'
import { holdfast } from './peers/holdfast.ts'
import { PEER_NAMES, type Peer, type PeerName } from './peers/peer.ts'
import { restic } from './peers/restic.ts'
import { makeKeys, script, stopAgent } from './peers/script.ts'
import { type CorpusReport, corpusTable, factsText, storageTable, summaryTable, withMeasured } from './report.ts'
import { setUp } from './set-up.ts'

const GIB = 2 ** 30
const checkout = dirname(import.meta.dirname)

const { values } = parseArgs({
  options: {
    corpus: { type: 'string' },
    peers: { type: 'string' },
    only: { type: 'string' },
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    markdown: { type: 'boolean', default: false },
    json: { type: 'string' },
    source: { type: 'boolean', default: false },
    'public-only': { type: 'boolean', default: false },
    'on-disk': { type: 'boolean', default: false },
  },
})

const scale: Scale = values.quick ? 'quick' : 'full'
const rounds = wholeNumber(values.rounds ?? (values.quick ? '1' : '5'))
const peerNames = choose('peers', values.peers, PEER_NAMES, PEER_NAMES)
const only = choose('only', values.only, [...OPERATIONS.map(({ name }) => name), 'storage'] as const)
const corpora = choose(
  'corpus',
  values.corpus,
  CORPUS_NAMES,
  values.quick ? ['server'] : ['server', 'small', 'database', 'media'],
)
/** With a corpus or an operation named, the years are simulated only when asked for. */
const withStorage = only.includes('storage') && (values.only !== undefined || values.corpus === undefined)

const abort = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort(new Error(signal)))
const report = (line: string) => process.stderr.write(`${line}\n`)

try {
  await main()
} catch (error) {
  if (!abort.signal.aborted) throw error
  report(`interrupted: ${(abort.signal.reason as Error).message}`)
  process.exitCode = 130
}

async function main(): Promise<void> {
  setUp(report)
  const cache = resolve(process.env.HOLDFAST_BENCH_DIR ?? '/var/tmp/holdfast-bench')
  mkdirSync(cache, { recursive: true })
  const place = choosePlace(Math.max(...corpora.map((name) => roomFor(name)), 2e9), cache, values['on-disk'])
  const work = place.folder
  const loadBefore = loadavg()[0]!
  mkdirSync(work, { recursive: true, mode: 0o700 })
  const keys = join(work, 'keys')
  try {
    const { peers, absent } = findPeers(keys, join(work, 'installed'))
    for (const line of absent) report(line)
    const snapshots = values.quick ? 2 : 20
    const base = { peers, rounds, snapshots, deletesAtOnce: place.isMemory, report, signal: abort.signal }
    const sections: string[] = []
    const data: unknown[] = []
    let sound = true
    const finish = (title: string, reported: CorpusReport) => {
      sections.push(`${corpusTable({ ...reported, title })}\n\n${summaryTable(reported)}`)
      data.push({ ...reported, title })
      if (reported.results.some(({ missing }) => missing !== undefined && missing.kind !== 'not available'))
        sound = false
    }
    for (const name of corpora) {
      const operations = operationsFor(name)
      if (operations.length === 0) continue
      report(`corpus ${name}: making it`)
      const pristine = cachedCorpus(cache, name, scale)
      const copy = workingCopy(pristine, join(work, 'source', name), name)
      report(`corpus ${name}: ${operations.join(', ')}`)
      try {
        const results = await measureCorpus(copy, { ...base, operations, work: join(work, 'measured') })
        finish(`Corpus \`${name}\`: ${describe(name)}`, { title: name, rounds, snapshots, results })
        if (name === 'million')
          await inOneGibibyte(copy, { ...base, operations: ['first', 'restore'] }, cache, finish, sections)
      } finally {
        rmSync(join(work, 'source', name), { recursive: true })
      }
    }
    if (withStorage) {
      report("eight years of the runbook's retention")
      const years = await eightYears(peers, scale, { ...base, operations: [], work: join(work, 'measured') })
      sections.push(storageTable(years))
      if (years.missing.some(({ kind }) => kind === 'failed')) sound = false
      data.push(years)
    }
    const facts = factsText({
      machine: `${cpus().length} cores (${cpus()[0]?.model.trim()}), ${Math.round(totalmem() / GIB)} GiB`,
      kernel: release(),
      runtime: `Node.js ${process.version}`,
      versions: [
        ...peers.map(({ name, version }) => (name === 'script' ? `the script: ${version}` : version)),
        ...absent,
      ],
      place: place.kind,
      load: loadBefore,
      date: new Date().toISOString().slice(0, 10),
    })
    const measured = [facts, ...sections].join('\n\n')
    process.stdout.write(`${measured}\n`)
    if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ facts, data }, null, 1)}\n`)
    if (values.markdown) {
      const page = join(checkout, 'docs/benchmarks.md')
      writeFileSync(page, withMeasured(readFileSync(page, 'utf8'), measured))
    }
    if (!sound) process.exitCode = 1
  } finally {
    stopAgent(keys)
    rmSync(work, { recursive: true, force: true })
  }
}

/**
 * On a disk even where the rest runs in memory: pages of a tmpfs count as memory of who writes them, and cannot be given
 * back as page cache can.
 */
async function inOneGibibyte(
  copy: ReturnType<typeof workingCopy>,
  plan: Omit<Plan, 'work'>,
  cache: string,
  finish: (title: string, reported: CorpusReport) => void,
  sections: string[],
): Promise<void> {
  const title = 'Corpus `million` in a memory cgroup of 1 GiB'
  const cgroup = memoryCgroup(GIB)
  if (typeof cgroup === 'string') {
    sections.push(`### ${title}\n\nNot done on this machine: ${cgroup}`)
    return
  }
  using group = cgroup
  const work = join(cache, `confined-${process.pid}`)
  try {
    const peers = plan.peers.filter(({ name }) => name === 'holdfast' || name === 'restic')
    const confined = { ...plan, peers, rounds: 1, work, deletesAtOnce: false, confine: group.confine }
    finish(`${title} (on disk)`, {
      title: 'million, 1 GiB',
      rounds: 1,
      snapshots: plan.snapshots,
      results: await measureCorpus(copy, confined),
    })
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function findPeers(keys: string, installed: string): { peers: Peer[]; absent: string[] } {
  if (peerNames.includes('script') && spawnSync('gpg', ['--version']).status === 0) makeKeys(keys)
  const makers: Readonly<Record<PeerName, () => Peer | string>> = {
    holdfast: () =>
      holdfast(values.source ? join(checkout, 'bin/holdfast') : installPackage(installed), values['public-only']),
    restic,
    borg,
    script: () => script(keys),
  }
  const peers: Peer[] = []
  const absent: string[] = []
  for (const name of peerNames) {
    const peer = makers[name]()
    if (typeof peer === 'string') absent.push(`${name}: not available (${peer})`)
    else peers.push(peer)
  }
  return { peers, absent }
}

function operationsFor(corpus: CorpusName): OperationName[] {
  const chosen = OPERATIONS.map(({ name }) => name).filter((name) => only.includes(name))
  // Twenty backups of a million files, for every program, take half an hour and tell nothing new.
  return corpus === 'million' && values.only === undefined && !values.quick
    ? chosen.filter((name) => !['forget', 'changed', 'scattered'].includes(name))
    : chosen
}

/** Bytes: source, four repositories, one restored tree, two copies to be thinned. A tiny file takes a page and an inode. */
function roomFor(corpus: CorpusName): number {
  const { smallFiles, databaseBytes, mediaBytes, tinyFiles } = ingredientsOf(corpus, scale)
  return 7 * (smallFiles * 9000 + databaseBytes + mediaBytes) + 2.2 * tinyFiles * 5500
}

function describe(corpus: CorpusName): string {
  const { smallFiles, databaseBytes, mediaBytes, tinyFiles } = ingredientsOf(corpus, scale)
  const parts = [
    smallFiles > 0 && `${smallFiles} files as of a source tree`,
    databaseBytes > 0 && `a SQLite database of ${databaseBytes / 1e6} MB`,
    mediaBytes > 0 && `${mediaBytes / 1e6} MB that do not compress`,
    tinyFiles > 0 && `${tinyFiles} files of at most 200 bytes, folders twenty deep`,
  ]
  return parts.filter(Boolean).join(', ')
}

function choose<Name extends string>(
  option: string,
  given: string | undefined,
  known: readonly Name[],
  otherwise: readonly Name[] = known,
): Name[] {
  if (given === undefined) return [...otherwise]
  const names = given.split(',').filter(Boolean)
  const strange = names.find((name) => !(known as readonly string[]).includes(name))
  if (strange !== undefined) {
    report(`Cannot run --${option} ${strange}: expected ${known.join(', ')}`)
    process.exit(2)
  }
  return known.filter((name) => names.includes(name))
}

function wholeNumber(text: string): number {
  if (/^[1-9]\d*$/.test(text)) return Number(text)
  report(`Cannot run --rounds ${text}: expected a whole number`)
  process.exit(2)
}
