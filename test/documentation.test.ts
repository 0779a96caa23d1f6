import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { test } from 'node:test'
import { CommanderError } from 'commander'
import { parseConfig } from '../src/application/config/load-config.ts'
import { allCommands } from '../src/cli/commands.ts'
import { run } from '../src/cli/main.ts'
import { createProgram } from '../src/cli/program.ts'
import { splitWords } from '../src/cli/split-words.ts'
import { createRepository } from '../src/engine/repository/repository.ts'
import { localStorage } from '../src/engine/storage/local.ts'
import { temporaryFolder } from './equipment/temporary-folder.ts'
import { fakeIo } from './support/fake-io.ts'

const checkout = dirname(import.meta.dirname)
const pages = [
  ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'examples/devrel-integration/README.md'],
  ...globSync('docs/**/*.md', { cwd: checkout }).sort(),
]

function textOf(page: string): string {
  return readFileSync(join(checkout, page), 'utf8')
}

interface Fence {
  readonly language: string
  readonly text: string
}

function fencesIn(text: string): Fence[] {
  return [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language = '', body = '']) => ({
    language,
    text: body,
  }))
}

/** Command lines of Holdfast that a page shows, without what a shell does around them. */
function commandsIn(text: string): string[] {
  const fences = fencesIn(text)
  const scripts = fences.filter(({ language }) => language === 'sh').flatMap((fence) => fence.text.split('\n'))
  const others = fences.flatMap((fence) => fence.text.match(/\/usr\/local\/bin\/holdfast .*/g) ?? [])
  const prose = text.replaceAll(/^```.*?^```$/gms, '')
  const mentioned = [...prose.matchAll(/`((?:bin\/)?holdfast(?: [^`]+)?)`/g)].map(([, command]) => command!)
  return [...scripts, ...others, ...mentioned].flatMap((line) =>
    line
      .replace(/\s#.*$/, '')
      .split(/\s*(?:\||&&|;|>)\s*/)
      .map((part) => /^(?:\/usr\/local\/)?(?:bin\/)?holdfast(?= |$)(.*)$/.exec(part)?.[1])
      .filter((words) => words !== undefined),
  )
}

test('every command line in the documentation is one that the program understands', async () => {
  let count = 0
  const wrong: string[] = []
  const commands = await allCommands()
  for (const page of pages) {
    for (const line of commandsIn(textOf(page))) {
      count += 1
      const given = line.replaceAll('…', '').trim()
      const words = given === '' ? ['--help'] : splitWords(given, page)
      const program = createProgram(fakeIo(), { action: () => async () => {} }, commands)
      await program.parseAsync(words, { from: 'user' }).catch((error: Error) => {
        // What `--help`, `help` and no command at all end with.
        if (!(error instanceof CommanderError)) wrong.push(`${page}: holdfast${line}: ${error.message}`)
      })
    }
  }
  assert.deepEqual(wrong, [])
  assert.ok(count > 50, `found only ${count} command lines`)
})

test('every link in the documentation leads to something', () => {
  const broken: string[] = []
  for (const page of pages) {
    for (const [, target = ''] of textOf(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? join(checkout, page) : resolve(checkout, dirname(page), path)
      const isThere = existsSync(file)
      const hasAnchor = anchor === undefined || (isThere && statSync(file).isFile() && anchorsIn(file).has(anchor))
      if (!isThere || !hasAnchor) broken.push(`${page}: ${target}`)
    }
  }
  assert.deepEqual(broken, [])
})

function anchorsIn(file: string): ReadonlySet<string> {
  const headings = [...readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading!)
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  )
}

test('every page of the documentation is in its index', () => {
  const index = textOf('docs/README.md')
  const missing = globSync('*.md', { cwd: join(checkout, 'docs') }).filter(
    (name) => name !== 'README.md' && !index.includes(`](${name})`),
  )
  assert.deepEqual(missing, [])
})

for (const [page, example, entryPoint] of [
  ['docs/library.md', 'examples/library/back-up.js', '../src/index.ts'],
  ['docs/engine.md', 'examples/library/engine.js', '../src/engine/index.ts'],
] as const) {
  test(`${page} shows the program ${example} as it is, and names what is exported`, async () => {
    const text = textOf(page)
    const shown = fencesIn(text).find(({ language }) => language === 'js')
    assert.equal(shown?.text, textOf(example))
    const named = [...text.matchAll(/^\| (`[^|]*`) \|/gm)].flatMap(([, cell]) => cell!.match(/\w+/g) ?? [])
    const exported = Object.keys((await import(entryPoint)) as object)
    assert.deepEqual(
      named.filter((name) => !exported.includes(name)),
      [],
    )
  })
}

function runExample(example: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const hooks = join(checkout, 'test/equipment/resolve-holdfast.ts')
  const options = [
    '--disable-warning=ExperimentalWarning',
    '--import',
    hooks,
    join(checkout, 'examples/library', example),
  ]
  return spawnSync(process.execPath, [...options, ...args], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
  })
}

/** An application with a database and no secrets, its config in it, and an empty repository whose password costs little. */
async function makeApplication(folder: string): Promise<{ readonly config: string; readonly file: string }> {
  const kdf = { N: 2, r: 1, p: 1 }
  await createRepository(localStorage(join(folder, 'repository')), { password: Buffer.from('correct horse'), kdf })
  const root = join(folder, 'app')
  mkdirSync(join(root, 'data'), { recursive: true })
  writeFileSync(join(root, 'data/notes.txt'), 'remember\n')
  const script = `new (require('node:sqlite').DatabaseSync)(process.argv[1]).exec('CREATE TABLE t (x)')`
  execFileSync(process.execPath, ['-e', script, join(root, 'data/app.db')], { stdio: 'ignore' })
  writeFileSync(join(folder, 'password'), 'correct horse\n', { mode: 0o600 })
  const config = join(root, 'holdfast.yaml')
  const lines = [
    'app: notes',
    `root: ${root}`,
    `repository: ${join(folder, 'repository')}`,
    `password-file: ${join(folder, 'password')}`,
    `state-dir: ${join(folder, 'state')}`,
    `log: ${join(folder, 'log')}`,
    'components: { data: data/ }',
  ]
  writeFileSync(config, `${lines.join('\n')}\n`, { mode: 0o640 })
  return { config, file: join(root, 'data/notes.txt') }
}

test('the program of docs/library.md backs up, verifies and restores an application', async () => {
  using folder = temporaryFolder()
  const { config, file } = await makeApplication(folder.path)
  const target = join(folder.path, 'restored')
  const { status, stdout, stderr } = runExample('back-up.js', [config, target])
  assert.deepEqual([status, stderr], [0, ''])
  assert.match(
    stdout,
    /^backup succeeded: 2 files, \d+ bytes\nverify succeeded: 1 databases opened\nrestore succeeded: \d+ files, 0 of them unsealed\n$/,
  )
  assert.equal(readFileSync(join(target, file), 'utf8'), 'remember\n')

  writeFileSync(join(folder.path, 'password'), 'wrong\n')
  const failed = runExample('back-up.js', [config, target])
  assert.equal(failed.status, 1)
  assert.match(failed.stderr, /^WRONG_PASSWORD: /)
})

test('the program of docs/engine.md stores a folder and brings it back', () => {
  using folder = temporaryFolder()
  const source = join(folder.path, 'documents')
  mkdirSync(join(source, 'letters'), { recursive: true })
  writeFileSync(join(source, 'letters/a.txt'), 'dear\n')
  const target = join(folder.path, 'restored')
  const args = [source, join(folder.path, 'repository'), target]
  const { status, stdout, stderr } = runExample('engine.js', args, { RESTIC_PASSWORD: 'x' })
  assert.deepEqual([status, stderr], [0, ''])
  assert.match(stdout, /^repository \w{10}, version 2\nsnapshot \w{8}\ncheck: 0 errors\nrestored 1 files\n$/)
  assert.equal(readFileSync(join(target, source, 'letters/a.txt'), 'utf8'), 'dear\n')
})

test('every field that --json prints is in docs/json.md', async () => {
  using folder = temporaryFolder()
  const { config, file } = await makeApplication(folder.path)
  const repository = join(folder.path, 'repository')
  const env = { HOLDFAST_PASSWORD: 'correct horse', HOLDFAST_FROM_PASSWORD: 'correct horse' }
  const documented = new Set([...textOf('docs/json.md').matchAll(/`(\w+)`/g)].map(([, name]) => name!))
  const undocumented = new Set<string>()
  const note = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(note)
    else if (typeof value === 'object' && value !== null) {
      for (const [key, inner] of Object.entries(value)) {
        if (!documented.has(key)) undocumented.add(key)
        note(inner)
      }
    }
  }
  const commands: readonly (readonly string[])[] = [
    ['-r', join(folder.path, 'another'), 'init'],
    ['--config', config, 'backup'],
    ['--config', config, 'backup', '--dry-run'],
    ['--config', config, 'verify'],
    ['--config', config, 'check', '--read-data'],
    ['--config', config, 'restore', '--target', join(folder.path, 'out'), '--verify'],
    ['--config', config, 'restore', '--yes', '--path', file],
    ['-r', repository, 'restore', '--full', '--yes', '--map', 'port=3000:3100'],
    ['-r', repository, 'backup', dirname(file), '--dry-run'],
    ['-r', repository, 'snapshots'],
    ['-r', repository, 'snapshots', '--group-by', 'host'],
    ['-r', repository, 'ls'],
    ['-r', repository, 'find', '*'],
    [
      '-r',
      repository,
      'find',
      '--tree',
      '0',
      '1',
      '2',
      '3',
      '4',
      '5',
      '6',
      '7',
      '8',
      '9',
      'a',
      'b',
      'c',
      'd',
      'e',
      'f',
    ],
    ['-r', repository, 'diff', 'latest:/', `latest:${dirname(file)}`],
    ['-r', repository, 'stats', '--mode', 'raw-data'],
    ['-r', repository, 'unlock'],
    ['-r', repository, 'tag', '--add', 'seen'],
    ['-r', repository, 'forget', '--keep-last', '1', '--group-by', '', '--prune', '--dry-run'],
    ['-r', repository, 'forget', '--keep-last', '1', '--group-by', '', '--prune'],
    ['-r', repository, 'prune'],
    ['-r', repository, 'key', 'list'],
    ['-r', join(folder.path, 'another'), 'copy', '--from-repo', repository],
    ['-r', repository, 'repair', 'index', '--read-all-packs'],
    ['-r', repository, 'repair', 'snapshots', '--dry-run'],
    ['-r', repository, 'scrub', '--state-file', 'scrub.json'],
    ['version'],
    ['protect', dirname(config), '--dry-run'],
  ]
  for (const command of commands) {
    const io = fakeIo({ env, cwd: folder.path })
    assert.equal(await run([...command, '--json'], io), 0, `${command.join(' ')}: ${io.err()}`)
    note(io.messages())
  }
  const io = fakeIo({ env })
  assert.equal(await run(['-r', join(folder.path, 'nowhere'), 'snapshots', '--json'], io), 10)
  note(JSON.parse(io.err()))
  assert.deepEqual([...undocumented], [])
})

test('docs/configuration.md names every key of the schema, and its smallest config loads', () => {
  const text = textOf('docs/configuration.md')
  const schema = JSON.parse(textOf('schema/holdfast.schema.json')) as { properties: Record<string, unknown> }
  const missing = Object.keys(schema.properties).filter((key) => !new RegExp(`\`${key}(?:[.[\`])`).test(text))
  assert.deepEqual(missing, [])
  const smallest = fencesIn(text).find((fence) => fence.text.startsWith('app: '))
  assert.equal(parseConfig(smallest!.text, '/opt/my-app/holdfast.yaml').app, 'my-app')
})
