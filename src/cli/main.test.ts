import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { test } from 'node:test'
import { type FakeIoOptions, fakeIo } from '../../test/support/fake-io.ts'
import { EngineError } from '../engine/error.ts'
import type { OperationEvent } from '../operations/event.ts'
import { type Action, addCommand, type CommandModule, collect } from './command.ts'
import { CliError } from './error.ts'
import { run } from './main.ts'

/** A command for the test: whatever it is to do. */
function commandThat(action: Action<{ tag: string[]; dryRun?: boolean }>): CommandModule {
  return {
    name: 'work',
    register(program, context) {
      addCommand(program, {
        usage: 'work [path...]',
        topic: 'look',
        summary: 'work on paths',
        description: 'It works.\n\nIt works on paths.',
        arguments: { path: 'what to work on' },
        examples: [{ run: 'holdfast work /a', does: 'Work on /a' }],
        exits: ['incomplete', 'locked'],
      })
        .option('--tag <tag>', 'a tag (may be given several times)', collect, [])
        .option('-n, --dry-run', 'change nothing')
        .action(context.action(action))
    },
  }
}

async function runWith(argv: string[], action: Action<{ tag: string[]; dryRun?: boolean }>, options?: FakeIoOptions) {
  const io = fakeIo(options)
  const code = await run(argv, io, [commandThat(action)])
  return { io, code }
}

const nothing = async () => {}

test('a command gets its operands, its options and the global ones, wherever they stand', async () => {
  for (const argv of [
    ['-r', '/repo', '-vv', 'work', '--tag', 'a', '/x', '-n', '/y', '--tag=b'],
    ['work', '/x', '/y', '--tag', 'a', '--tag', 'b', '-n', '-r', '/repo', '--verbose=2'],
    ['work', '--repo=/repo', '-v', '-v', '--dry-run', '--tag', 'a', '--tag', 'b', '--', '/x', '/y'],
  ]) {
    let seen: unknown
    const { code } = await runWith(argv, async ({ operands, options, globals }) => {
      seen = {
        operands,
        ...options,
        repo: globals.repo,
        verbose: globals.verbose,
        lock: globals.lock,
        json: globals.json,
      }
    })
    assert.equal(code, 0)
    assert.deepEqual(seen, {
      operands: ['/x', '/y'],
      tag: ['a', 'b'],
      dryRun: true,
      repo: '/repo',
      verbose: 2,
      lock: true,
      json: false,
    })
  }
})

test('the outcome, or the error, makes the exit code', async () => {
  assert.equal((await runWith(['work'], async () => 'incomplete')).code, 3)
  assert.equal((await runWith(['work'], async () => 'failed')).code, 1)
  const locked = await runWith(['work'], async () => {
    throw new EngineError('LOCKED', 'Cannot lock /repo: PID 7 holds it', { hint: 'Run holdfast unlock' })
  })
  assert.equal(locked.code, 11)
  assert.equal(locked.io.err(), 'error: Cannot lock /repo: PID 7 holds it\nhint: Run holdfast unlock\n')
})

test('with --json an error is an object on standard error', async () => {
  const { io, code } = await runWith(['work', '--json'], async () => {
    throw new EngineError('WRONG_PASSWORD', 'no key fits')
  })
  assert.equal(code, 12)
  assert.equal(io.out(), '')
  assert.deepEqual(JSON.parse(io.err()), {
    message_type: 'exit_error',
    code: 12,
    message: 'no key fits',
    error_code: 'WRONG_PASSWORD',
  })
})

test('a wrong command line is exit code 1, with a hint, and no work', async () => {
  for (const [argv, message] of [
    [['wrok'], /^error: unknown command 'wrok' \(Did you mean work\?\)\nhint: Run holdfast --help\n$/],
    [
      ['work', '--tga', 'x'],
      /^error: unknown option '--tga' \(Did you mean --tag\?\)\nhint: Run holdfast work --help\n$/,
    ],
    [['work', '--tag'], /^error: option '--tag <tag>' argument missing\nhint/],
    [['work', '-q', '-v'], /^error: option '-q, --quiet' cannot be used with option '-v, --verbose'\nhint/],
  ] as const) {
    const { io, code } = await runWith([...argv], async () => assert.fail('it worked'))
    assert.equal(code, 1)
    assert.match(io.err(), message)
    assert.equal(io.out(), '')
  }
  const json = await runWith(['work', '--json', '--tga'], nothing)
  assert.equal(JSON.parse(json.io.err()).error_code, 'USAGE')
})

test('help is on standard output, whole, with exit code 0, however it is asked for', async () => {
  const page = (await runWith(['--help'], nothing)).io.out()
  assert.match(page, /^See what is there\n {2}work \[path…\] {2}work on paths$/m)
  assert.match(page, /^ {2}11 {3}the repository is locked$/m)
  for (const argv of [[], ['-h'], ['help']]) {
    const { io, code } = await runWith(argv, nothing)
    assert.equal(code, 0)
    assert.equal(io.out(), page)
    assert.equal(io.err(), '')
  }
  const own = (await runWith(['work', '--help'], nothing)).io.out()
  assert.equal((await runWith(['help', 'work'], nothing)).io.out(), own)
  assert.match(
    own,
    /^holdfast work: work on paths\n\nUsage\n {2}holdfast work \[options\] \[path…\]\n\nDescription\n {2}It works\./,
  )
  assert.match(own, /^Arguments\n {2}\[path…\] {2}what to work on$/m)
  assert.match(own, /^Exit codes\n {2}0 .*\n {2}1 .*\n {2}3 .*\n {2}11 .*\n {2}130 /m)
})

test('pages keep to the width of the terminal', async () => {
  for (const columns of [40, 60, 80, 120]) {
    for (const argv of [['--help'], ['work', '--help']]) {
      const { io } = await runWith(argv, nothing, { columns })
      // Examples and terms stay in one piece: they are to be copied.
      const wide = io
        .out()
        .split('\n')
        .filter((line) => line.length > columns && !/^ {4}holdfast|HOLDFAST_|--/.test(line))
      assert.deepEqual(wide, [], `${columns} columns`)
    }
  }
})

test('colours are only where they are wanted', async () => {
  const terminal = { terminal: ['stdout', 'stderr'] } as const
  const coloured = async (argv: string[], options: FakeIoOptions) => {
    const { io } = await runWith(argv, async ({ screen, style }) => screen.print(style.bold('x')), options)
    return io.out().includes('\x1b[1m') || io.err().includes('\x1b[3')
  }
  assert.equal(await coloured(['work'], terminal), true)
  assert.equal(await coloured(['work'], {}), false)
  assert.equal(await coloured(['work'], { ...terminal, env: { NO_COLOR: '1' } }), false)
  for (const flag of ['--no-colour', '--no-color']) {
    assert.equal(await coloured(['work', flag], terminal), false)
    assert.equal(await coloured(['--help', flag], terminal), false)
    assert.equal(await coloured(['wrok', flag], terminal), false)
  }
})

const events = (io: { now(): Date }): OperationEvent[] => [
  { type: 'started', at: io.now(), operation: 'backup', subject: 'app' },
  { type: 'phase', phase: 'archive' },
  { type: 'progress', phase: 'archive', done: { files: 1, bytes: 5 } },
  { type: 'finding', finding: { severity: 'warning', code: 'x', message: 'look' } },
  {
    type: 'finished',
    at: io.now(),
    operation: 'backup',
    outcome: 'succeeded',
    milliseconds: 1,
    summary: { files_new: 1 },
  },
]

const NOBODY_TOLD = { app: 'app', notify: [], drill: undefined }

test('one operation is shown as text, as JSON lines, and logged', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-main-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const log = join(folder, 'app.log')
  const operate: Action<object> = async ({ io, observe }) => {
    const observer = observe({
      config: { log, stateDirectory: folder, repository: '/repository', ...NOBODY_TOLD },
      summarise: ({ files_new }) => [`${files_new} new`],
    })
    for (const event of events(io)) observer(event)
  }
  const text = await runWith(['work'], operate)
  assert.equal(text.io.out(), 'backup app\n1 new\nbackup succeeded after 1 ms: 1 warning\n')
  assert.equal(text.io.err(), 'warning: look\n')

  const json = await runWith(['work', '--json'], operate)
  assert.deepEqual(
    json.io.messages().map(({ message_type }) => message_type),
    ['started', 'phase', 'status', 'finding', 'summary'],
  )
  assert.equal(json.io.err(), '')

  const quiet = await runWith(['work', '-q'], operate)
  assert.equal(quiet.io.out(), '')
  assert.equal(quiet.io.err(), 'warning: look\n')

  assert.equal(readFileSync(log, 'utf8').trimEnd().split('\n').length, 12)
})

test('the error that ended an operation stands in its log', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-main-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const log = join(folder, 'app.log')
  await runWith(['work'], async ({ observe }) => {
    observe({ config: { log, stateDirectory: folder, repository: '/repository', ...NOBODY_TOLD } })
    throw new EngineError('NO_SPACE', 'Cannot write pack: disk full', { cause: new Error('ENOSPC') })
  })
  assert.match(readFileSync(log, 'utf8'), / error Cannot write pack: disk full; because: ENOSPC\n$/)
})

test('a log file that cannot be written is a warning', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-main-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const config = { log: '/dev/null/app.log', stateDirectory: folder, repository: '/repository', ...NOBODY_TOLD }
  const { io, code } = await runWith(['work'], async ({ observe, io }) => {
    const observer = observe({ config })
    for (const event of events(io)) observer(event)
  })
  assert.equal(code, 0)
  assert.match(io.err(), /^warning: Cannot write log file \/dev\/null\/app\.log: /)
})

test('an interrupted command ends with 130 and leaves terminal and handlers in order', async () => {
  const { io, code } = await runWith(
    ['work'],
    async ({ io, signal, observe }) => {
      const observer = observe()
      for (const event of events(io).slice(0, 3)) observer(event)
      ;(io as ReturnType<typeof fakeIo>).process.send('SIGINT')
      signal.throwIfAborted()
    },
    { terminal: ['stderr'], env: { NO_COLOR: '1' } },
  )
  assert.equal(code, 130)
  assert.match(io.err(), /\r\x1b\[KInterrupted by SIGINT\n$/)
  assert.equal(io.process.listenerCount('SIGINT'), 0)
})

test('what an operation throws because it was interrupted is exit code 130 too', async () => {
  const { io, code } = await runWith(['work'], async ({ io }) => {
    ;(io as ReturnType<typeof fakeIo>).process.send('SIGTERM')
    throw new EngineError('STORAGE', 'Cannot write pack 3f2a: stream closed')
  })
  assert.equal(code, 130)
  assert.match(io.err(), /Interrupted by SIGTERM\n {2}because: Cannot write pack 3f2a: stream closed\n$/)
})

test('when nobody reads the output, the command ends quietly', async () => {
  const { io, code } = await runWith(['work'], async ({ io, signal }) => {
    ;(io as ReturnType<typeof fakeIo>).closeOutput(new CliError('OUTPUT_CLOSED', 'x'))
    signal.throwIfAborted()
  })
  assert.equal(code, 141)
  assert.equal(io.err(), '')
})

test('a defect is shown with its stack', async () => {
  const { io, code } = await runWith(['work'], async () => {
    throw new TypeError('oops')
  })
  assert.equal(code, 1)
  assert.match(io.err(), /TypeError: oops\n +at [\s\S]*This is a defect in Holdfast/)
})

test('version says which version on which runtime', async () => {
  for (const argv of [['--version'], ['-V'], ['version']]) {
    const io = fakeIo()
    assert.equal(await run(argv, io), 0)
    assert.match(io.out(), /^holdfast \d+\.\d+\.\d+ \(Node \d+\.\d+\.\d+, \w+ \w+\)\n$/)
  }
  const io = fakeIo()
  assert.equal(await run(['version', '--json'], io), 0)
  assert.equal(io.messages()[0]!.node_version, process.versions.node)
})

test('starting loads commander and the doorstep, nothing heavy', () => {
  const source = resolve(import.meta.dirname, '..')
  const loaded = new Set<string>()
  const packages = new Set<string>()
  const visit = (file: string) => {
    if (loaded.has(file)) return
    loaded.add(file)
    for (const [, from] of readFileSync(file, 'utf8').matchAll(/^(?:import|export) (?!type )[^;]*?from '([^']+)'/gms)) {
      if (from!.startsWith('.')) visit(resolve(dirname(file), from!))
      else if (!from!.startsWith('node:')) packages.add(from!)
    }
  }
  visit(join(import.meta.dirname, 'main.ts'))
  assert.deepEqual([...packages], ['commander'])
  const outside = [...loaded].map((file) => relative(source, file)).filter((file) => !file.startsWith('cli/'))
  assert.deepEqual(outside.sort(), [
    'engine/error.ts',
    'operations/event.ts',
    'operations/throttle-progress.ts',
    'operations/version.ts',
  ])
})

test('every command file is registered', () => {
  const files = readdirSync(join(import.meta.dirname, 'commands')).filter((name) => !name.endsWith('.test.ts'))
  const registered = readFileSync(join(import.meta.dirname, 'commands.ts'), 'utf8')
  for (const file of files) assert.ok(registered.includes(`./commands/${file}'`), file)
})

/** The program as a process of its own, with a command that prints `ready` and waits for its end. */
function start(work: string): ChildProcess & { stdout: NodeJS.ReadableStream; stderr: NodeJS.ReadableStream } {
  const script = `
    import { addCommand } from ${JSON.stringify(join(import.meta.dirname, 'command.ts'))}
    import { run } from ${JSON.stringify(join(import.meta.dirname, 'main.ts'))}
    import { processIo } from ${JSON.stringify(join(import.meta.dirname, 'io.ts'))}
    const work = { name: 'work', register: (program, context) =>
      addCommand(program, { usage: 'work', topic: 'look', summary: 'work' }).action(context.action(${work})) }
    process.exitCode = await run(['work'], processIo(), [work])`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] })
  return child as ReturnType<typeof start>
}

const waiting = (end: string) => `async ({ screen, signal }) => {
  screen.print('ready')
  const alive = setInterval(() => {}, 1000)
  await new Promise((resolve) => signal.addEventListener('abort', resolve))
  ${end}
  clearInterval(alive)
  signal.throwIfAborted()
}`

test('a process survives SIGHUP, ends in order on SIGTERM, and at once on the second', {
  timeout: 20_000,
}, async () => {
  const child = start(waiting(''))
  await once(child.stdout, 'data')
  child.kill('SIGHUP')
  child.kill('SIGHUP')
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'exit'), [130, null])

  const stubborn = start(waiting('await new Promise(() => {})'))
  await once(stubborn.stdout, 'data')
  stubborn.kill('SIGINT')
  await once(stubborn.stderr, 'data')
  await new Promise((done) => setTimeout(done, 300))
  stubborn.kill('SIGINT')
  assert.deepEqual(await once(stubborn, 'exit'), [null, 'SIGINT'])
})

test('a process whose reader goes away ends quietly', { timeout: 20_000 }, async () => {
  const child = start(`async ({ screen, signal }) => {
    for (;;) {
      signal.throwIfAborted()
      screen.print('x'.repeat(1000))
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }`)
  let complaints = ''
  child.stderr.on('data', (chunk) => {
    complaints += chunk
  })
  await once(child.stdout, 'data')
  ;(child.stdout as import('node:stream').Readable).destroy()
  assert.deepEqual(await once(child, 'close'), [141, null])
  assert.equal(complaints, '')
})
