import assert from 'node:assert/strict'
import { existsSync, globSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { after, before, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { temporaryFolder } from '../test/equipment/temporary-folder.ts'
import { bundlePrograms, threadPrograms } from './bundle-programs.ts'
import { readImports } from './read-imports.ts'

const checkout = dirname(import.meta.dirname)
const folder = temporaryFolder({ inMemory: true })
const dist = join(folder.path, 'dist')
const programs = threadPrograms().map((program) => program.replace(/\.ts$/, '.js'))

before(async () => {
  mkdirSync(dist)
  await bundlePrograms(dist)
})
after(() => folder[Symbol.dispose]())

function textOf(file: string): string {
  return readFileSync(join(dist, file), 'utf8')
}

/** All that is loaded before a module of the command line runs; the names of packages among it. */
function loadedWith(module: string, found = new Set<string>()): Set<string> {
  if (found.has(module)) return found
  found.add(module)
  for (const { specifier, kind } of readImports(textOf(module))) {
    if (kind !== 'static' && kind !== 're-export') continue
    if (specifier!.startsWith('.')) loadedWith(join(dirname(module), specifier!), found)
    else if (!specifier!.startsWith('node:')) found.add(specifier!)
  }
  return found
}

test('a thread and a child process load one file each, beside their starter', () => {
  assert.ok(programs.length > 0)
  for (const program of programs) {
    const local = readImports(textOf(program)).filter(
      ({ specifier, kind }) => kind !== 'url' && specifier?.startsWith('.'),
    )
    assert.deepEqual(local, [], program)
  }
})

test('what a module finds by its own place is in the package, whichever file holds the module', () => {
  const found = new Set<string>()
  for (const file of globSync('**/*.js', { cwd: dist })) {
    const place = pathToFileURL(join(dist, file)).href
    const text = textOf(file)
    // As the source writes it, about a module's own place in the place of `import.meta.url`.
    const resolved = text.matchAll(/new URL\(\s*(["`])(.+?)\1,\s*new URL\("(\S+?)", import\.meta\.url\)\.href\s*\)/g)
    for (const [, , target, module] of resolved) {
      const name = target!.replace(/\$\{extname\(.*\)\}$/, '.js').replace(/\$\{.*\}$/, '')
      found.add(relative(folder.path, new URL(name, new URL(module!, place)).pathname))
    }
    for (const [, module] of text.matchAll(/createRequire\d*\(new URL\("(\S+?)", import\.meta\.url\)\.href\)/g)) {
      assert.ok(new URL(module!, place).pathname.startsWith(`${dist}/`), `${file} looks for packages at ${module}`)
    }
  }
  const others = ['bin/holdfast', 'examples/devrel-integration', 'package.json', 'recovery']
  assert.deepEqual([...found].sort(), [...others, ...programs.map((program) => `dist/${program}`)].sort())
  for (const other of others) assert.ok(existsSync(join(checkout, other)), other)
  for (const program of programs) assert.ok(existsSync(join(dist, program)), program)
})

test('every file of the command line imports what is there', () => {
  const files = globSync('cli/*.js', { cwd: dist })
  assert.ok(files.length > 1)
  for (const file of files) {
    for (const { specifier, line, kind } of readImports(textOf(file))) {
      if (kind === 'url' || specifier?.startsWith('.') !== true) continue
      assert.ok(existsSync(join(dist, dirname(file), specifier)), `${file}:${line} imports ${specifier}`)
    }
  }
})

test('what a command line loads in any case is one file beside the program, and no package', () => {
  const loaded = [...loadedWith('cli/main.js')]
  assert.deepEqual(
    loaded.filter((name) => !name.endsWith('.js')),
    [],
  )
  assert.ok(existsSync(join(dist, 'cli/commander.LICENSE')), 'what is bundled comes with its licence')
  assert.ok(loaded.length <= 4, loaded.join(' '))
})

test('a list of snapshots and a backup of paths load neither configuration nor seals', () => {
  for (const name of ['list-snapshots', 'backup-paths']) {
    const [file] = globSync(`cli/${name}-*.js`, { cwd: dist })
    const loaded = [...loadedWith(file!)]
    assert.deepEqual(
      loaded.filter((found) => !found.endsWith('.js')),
      [],
      name,
    )
    assert.ok(loaded.length < 12, `${name} loads ${loaded.length} files`)
    assert.doesNotMatch(
      loaded
        .filter((found) => found.endsWith('.js'))
        .map(textOf)
        .join(''),
      /src\/operations\/recovery/,
    )
  }
})

test('a class that errors are told by is defined once in the command line', () => {
  const text = globSync('cli/*.js', { cwd: dist }).map(textOf).join('\n')
  for (const name of ['CodedError', 'EngineError', 'ApplicationError', 'OperationError', 'CliError']) {
    assert.equal(text.match(new RegExp(`\\bclass ${name}\\b|\\b${name}\\d* = class\\b`, 'g'))?.length, 1, name)
  }
})
