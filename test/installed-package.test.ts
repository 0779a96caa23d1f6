import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { after, before, test } from 'node:test'
import { installPackage } from '../bench/install-package.ts'
import { readImports } from '../scripts/read-imports.ts'
import { randomBytes } from './equipment/random-bytes.ts'
import { temporaryFolder } from './equipment/temporary-folder.ts'

const folder = temporaryFolder({ inMemory: true })
const root = join(folder.path, 'installed/package')
const repository = join(folder.path, 'repository')
const source = join(folder.path, 'source')
const target = join(folder.path, 'target')
const passwordFile = join(folder.path, 'password')

// More than is stored, restored and inspected without threads, in files of two sizes.
const files = [
  ...Array.from({ length: 40 }, (_, n) => ({ name: `large-${n}`, bytes: 1_500_000 })),
  ...Array.from({ length: 600 }, (_, n) => ({ name: `small-${n}`, bytes: 100 })),
]

before(() => {
  installPackage(dirname(root))
  writeFileSync(passwordFile, 'installed')
  mkdirSync(source)
  for (const { name, bytes } of files) writeFileSync(join(source, name), randomBytes(bytes, name))
})
after(() => folder[Symbol.dispose]())

function holdfast(...args: string[]) {
  return spawnSync(join(root, 'bin/holdfast'), args, {
    cwd: folder.path,
    env: {
      PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
      HOME: folder.path,
      XDG_CACHE_HOME: join(folder.path, 'cache'),
      HOLDFAST_NODE: process.execPath,
      HOLDFAST_REPOSITORY: repository,
      HOLDFAST_PASSWORD_FILE: passwordFile,
    },
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
}

function succeeds(...args: string[]): string {
  const { status, stdout, stderr } = holdfast(...args)
  assert.equal(status, 0, `holdfast ${args.join(' ')}: ${stderr}`)
  return stdout
}

/** Runs a command without one of the programs of the threads: whoever needs it fails. */
function failsWithout(program: string, ...args: string[]): void {
  const file = join(root, 'dist', program)
  const text = readFileSync(file)
  writeFileSync(file, "throw new Error('this program was started')")
  try {
    const { status, stdout, stderr } = holdfast(...args)
    assert.notEqual(status, 0, `${program} was not started: ${stdout}`)
    assert.match(stdout + stderr, /this program was started|thread|process that reads databases/)
  } finally {
    writeFileSync(file, text)
  }
}

test('every built file imports what the package brings or depends on', () => {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object }
  const built = globSync('dist/**/*.js', { cwd: root })
  assert.ok(built.length > 100)
  for (const file of built) {
    for (const { specifier, kind, line } of readImports(readFileSync(join(root, file), 'utf8'))) {
      if (kind === 'url' || specifier === undefined || isBuiltin(specifier)) continue
      if (specifier.startsWith('.')) {
        const imported = join(root, dirname(file), specifier)
        assert.ok(existsSync(imported), `${file}:${line} imports ${relative(root, imported)}`)
      } else {
        const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
        assert.ok(Object.hasOwn(dependencies, name), `${file}:${line} imports ${name}`)
      }
    }
  }
})

test('the installed program says its version and its help', () => {
  assert.match(succeeds('--version'), /^holdfast \d+\.\d+\.\d+ \(Node /)
  assert.match(succeeds('--help'), /\bsnapshots\b/)
})

test('a mistake is told by its kind, whichever file throws it', () => {
  const { status, stderr } = holdfast('snapshots', '--json')
  assert.equal(status, 10)
  assert.match(stderr, /"code":10/)
})

test('the installed program backs up, restores and reads again, with threads', () => {
  succeeds('init')
  failsWithout('engine/archiver/pool/store-worker-main.js', 'backup', source)
  succeeds('backup', source)
  assert.ok(succeeds('snapshots', '--json').includes(source))

  failsWithout('engine/repository/inspect-worker-main.js', 'check', '--read-data')
  succeeds('check', '--read-data')

  failsWithout('engine/restorer/restore-worker-main.js', 'restore', 'latest', '--target', join(folder.path, 'failed'))
  succeeds('restore', 'latest', '--target', target)
  for (const { name } of files) {
    const restored = readFileSync(join(target, source, name))
    assert.ok(restored.equals(readFileSync(join(source, name))), name)
  }
})

test('the recovery program that lies in the repository is that of the package', () => {
  for (const name of ['recover.mjs', 'RECOVERY.txt']) {
    assert.deepEqual(readFileSync(join(repository, name)), readFileSync(join(root, 'recovery', name)))
  }
  const { status, stderr, stdout } = spawnSync(process.execPath, ['recover.mjs', 'list'], {
    cwd: repository,
    env: {},
    input: 'installed',
    encoding: 'utf8',
  })
  assert.equal(status, 0, stderr)
  assert.ok(stdout.includes(source), stdout)
})

test('the installed program backs up an application with its database and sealed secrets, and brings it back', () => {
  const { outcome, missing } = JSON.parse(succeeds('demo', '--json').trim().split('\n').at(-1)!)
  assert.deepEqual([outcome, missing], ['succeeded', 0])
  failsWithout('application/sources/sqlite-process-main.js', 'demo')
})
