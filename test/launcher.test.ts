import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'

const checkout = dirname(import.meta.dirname)
const scratch = mkdtempSync(join(tmpdir(), 'holdfast-launcher-'))
after(() => rmSync(scratch, { recursive: true }))

const says = (what: string) => `console.log('${what}', process.argv.slice(2).join('|'))`

/** A folder with the launcher, and the given files beside it. */
function installation(name: string, files: Readonly<Record<string, string>>): string {
  const root = join(scratch, name)
  write(join(root, 'package.json'), '{"type":"module"}')
  for (const [file, content] of Object.entries(files)) write(join(root, file), content)
  mkdirSync(join(root, 'bin'), { recursive: true })
  copyFileSync(join(checkout, 'bin/holdfast'), join(root, 'bin/holdfast'))
  chmodSync(join(root, 'bin/holdfast'), 0o755)
  return root
}

function write(file: string, content: string): string {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, content, { mode: content.startsWith('#!') ? 0o755 : 0o644 })
  return file
}

/** A program that answers `--version` like some Node.js, and otherwise prints its name and arguments. */
function runtime(name: string, version: string): string {
  return `#!/bin/sh\nif [ "$1" = --version ]; then echo ${version}; else echo "${name}:" "$@"; fi\n`
}

/** A folder for PATH with the few programs that the launcher may use, and `node` as given. */
function pathWith(name: string, node: string | undefined): string {
  const folder = join(scratch, name)
  mkdirSync(folder)
  for (const program of ['readlink', 'dirname']) symlinkSync(`/usr/bin/${program}`, join(folder, program))
  if (node !== undefined) write(join(folder, 'node'), node)
  return folder
}

function run(file: string, args: readonly string[], env: Readonly<Record<string, string>>, cwd = scratch) {
  const { status, stdout, stderr } = spawnSync(file, args, { cwd, env, encoding: 'utf8' })
  return { status, stdout, stderr }
}

const noNode = pathWith('path-without-node', undefined)
const oldNode = pathWith('path-with-node-20', runtime('old', 'v20.20.2'))
const newNode = pathWith('path-with-node-24', runtime('path', 'v24.0.0'))
const realNode = pathWith('path-with-this-node', undefined)
symlinkSync(process.execPath, join(realNode, 'node'))

const dependencies = { 'node_modules/.package-lock.json': '{}' }
const ownRuntime = { 'node_modules/node/bin/node': runtime('own', 'v24.21.0') }

test('a checkout runs its source on its own runtime, whatever is on PATH', () => {
  const root = installation('checkout', {
    'src/cli/main.ts': '',
    'dist/cli/main.js': '',
    ...dependencies,
    ...ownRuntime,
  })
  const { status, stdout, stderr } = run(join(root, 'bin/holdfast'), ['a b', '-c'], { PATH: oldNode })
  assert.deepEqual([status, stderr], [0, ''])
  assert.equal(
    stdout,
    'own: --disable-warning=ExperimentalWarning --max-semi-space-size=4 --no-parallel-scavenge ' +
      `${root}/src/cli/main.ts a b -c\n`,
  )
})

test('Node.js takes the options for speed and memory; one that does not know them runs without', () => {
  const main = `console.log(process.execArgv.join(' '), 'later', process.env.HOLDFAST_V8_OPTIONS)`
  const root = installation('options', { 'dist/cli/main.js': main })
  assert.match(
    run(join(root, 'bin/holdfast'), [], { PATH: realNode }).stdout,
    /--max-semi-space-size=4 .*later --heap-growing-percent=80 .*for-turbofan=/,
  )
  const later = pathWith(
    'path-with-later-node',
    '#!/bin/sh\n[ "$*" = --version ] && echo v30.0.0 && exit\ncase "$*" in *turbofan*) exit 9 ;; esac\necho "$@ later$HOLDFAST_V8_OPTIONS"\n',
  )
  const { status, stdout } = run(join(root, 'bin/holdfast'), [], { PATH: later })
  assert.deepEqual([status, stdout], [0, `--disable-warning=ExperimentalWarning ${root}/dist/cli/main.js later\n`])
})

test('a checkout without a runtime of its own takes the one on PATH', () => {
  const root = installation('checkout-production', { 'src/cli/main.ts': '', ...dependencies })
  assert.match(run(join(root, 'bin/holdfast'), [], { PATH: newNode }).stdout, /^path: .*main\.ts\n$/)
})

test('the runtime that the operator names comes first', () => {
  const root = installation('named', { 'src/cli/main.ts': '', ...dependencies, ...ownRuntime })
  const named = write(join(scratch, 'named-node'), runtime('named', 'v25.1.0'))
  assert.match(run(join(root, 'bin/holdfast'), [], { PATH: newNode, HOLDFAST_NODE: named }).stdout, /^named: /)
})

test('a runtime that the operator names and that will not do is refused, not passed over', () => {
  const root = installation('named-old', { 'src/cli/main.ts': '', ...dependencies, ...ownRuntime })
  for (const [named, found] of [
    [join(oldNode, 'node'), 'v20.20.2'],
    ['/nowhere/node', 'nothing that runs'],
  ] as const) {
    const { status, stdout, stderr } = run(join(root, 'bin/holdfast'), [], { PATH: newNode, HOLDFAST_NODE: named })
    assert.deepEqual([status, stdout], [1, ''])
    assert.ok(stderr.includes(`HOLDFAST_NODE=${named} is not a Node.js 24 or newer: found ${found}`), stderr)
  }
})

test('a checkout where npm ci was not run says so', () => {
  const root = installation('bare-checkout', { 'src/cli/main.ts': '' })
  const { status, stdout, stderr } = run(join(root, 'bin/holdfast'), [], { PATH: newNode })
  assert.deepEqual([status, stdout], [1, ''])
  assert.match(stderr, /packages that this checkout needs are not installed\n.*hint: cd '.*bare-checkout' && npm ci\n/)
})

test('a machine without any suitable Node.js is told what to install', () => {
  const checkoutRoot = installation('no-runtime', { 'src/cli/main.ts': '', ...dependencies })
  const installedRoot = installation('no-runtime-installed', { 'dist/cli/main.js': '' })
  for (const [root, path, found, hint] of [
    [checkoutRoot, oldNode, 'v20.20.2', 'npm ci'],
    [checkoutRoot, noNode, 'none', 'npm ci'],
    [installedRoot, oldNode, 'v20.20.2', 'npm install --global node@24'],
    [installedRoot, noNode, 'none', 'npm install --global node@24'],
  ] as const) {
    const { status, stderr } = run(join(root, 'bin/holdfast'), [], { PATH: path })
    assert.equal(status, 1)
    assert.ok(stderr.includes(`Node.js 24 or newer is needed, found on PATH: ${found}\n`), stderr)
    assert.ok(stderr.includes(`hint: ${hint}`) || stderr.includes(`&& ${hint}`), stderr)
  }
})

test('an installed package runs its compiled code through links, from any folder', () => {
  const root = installation('prefix dir/lib/node_modules/holdfast', { 'dist/cli/main.js': says('compiled') })
  mkdirSync(join(scratch, 'prefix dir/bin'))
  symlinkSync('../lib/node_modules/holdfast/bin/holdfast', join(scratch, 'prefix dir/bin/holdfast'))
  symlinkSync(join(scratch, 'prefix dir/bin/holdfast'), join(scratch, 'hf'))
  assert.ok(root)
  for (const cwd of [scratch, '/', join(scratch, 'prefix dir/bin')]) {
    const env = { PATH: realNode, CDPATH: scratch }
    const { status, stdout, stderr } = run(join(scratch, 'hf'), ['x', ''], env, cwd)
    assert.deepEqual([status, stdout, stderr], [0, 'compiled x|\n', ''])
  }
})

test('an installation is found through a link to its folder of programs as well', () => {
  const root = installation('linked folder', { 'dist/cli/main.js': says('compiled') })
  const programs = join(scratch, 'programs of somebody')
  mkdirSync(programs)
  symlinkSync(join(root, 'bin'), join(programs, 'bin'))
  const { stdout, stderr } = run(join(programs, 'bin/holdfast'), ['x'], { PATH: realNode })
  assert.deepEqual([stdout, stderr], ['compiled x\n', ''])
})

test('the exit code and the signals of the program are its own', () => {
  const root = installation('exits', { 'dist/cli/main.js': 'process.exitCode = 3' })
  assert.equal(run(join(root, 'bin/holdfast'), [], { PATH: realNode }).status, 3)
  installation('exits', { 'dist/cli/main.js': 'process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1e6)' })
  assert.equal(spawnSync(join(root, 'bin/holdfast'), { env: { PATH: realNode } }).signal, 'SIGTERM')
})

test('SQLite and TypeScript start without a warning; other warnings are shown', () => {
  const main = `import 'node:sqlite'\nconst silent: boolean = true\nif (!silent) throw 0\n`
  const root = installation('warnings', { 'src/cli/main.ts': main, ...dependencies })
  const quiet = run(join(root, 'bin/holdfast'), [], { PATH: realNode })
  assert.deepEqual([quiet.status, quiet.stderr], [0, ''])
  installation('warnings', { 'src/cli/main.ts': `process.emitWarning('look here')` })
  assert.match(run(join(root, 'bin/holdfast'), [], { PATH: realNode }).stderr, /Warning: look here/)
})

test('an installation without compiled code says that it is incomplete', () => {
  const root = installation('incomplete', {})
  const { status, stderr } = run(join(root, 'bin/holdfast'), [], { PATH: newNode })
  assert.equal(status, 1)
  assert.match(stderr, /this installation is incomplete: .*\/dist\/cli\/main\.js is missing/)
})

test('large pages are asked for beside what the operator asks of the C library', () => {
  const root = installation('large-pages', {
    ...dependencies,
    'src/cli/main.ts': '',
    'node_modules/node/bin/node': '#!/bin/sh\n[ "$1" = --version ] && echo v24.21.0 || echo "$GLIBC_TUNABLES"\n',
  })
  const program = join(root, 'bin/holdfast')
  assert.equal(run(program, [], { PATH: noNode }).stdout, 'glibc.malloc.hugetlb=1\n')
  const own = 'glibc.malloc.check=1'
  assert.equal(run(program, [], { PATH: noNode, GLIBC_TUNABLES: own }).stdout, `${own}:glibc.malloc.hugetlb=1\n`)
})
