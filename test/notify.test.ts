import assert from 'node:assert/strict'
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test from 'node:test'
import { openJournal, readJournal } from '../src/application/journal/journal.ts'
import { run } from '../src/cli/main.ts'
import { protectedApplication } from './equipment/scratch-application.ts'
import { temporaryFolder } from './equipment/temporary-folder.ts'
import { fakeIo } from './support/fake-io.ts'

const DAY = 86_400_000
/** In the address of the webhook: nothing that is written may hold it. */
const TOKEN = 'MARKED-TOKEN-41c7'

interface Message {
  readonly operation: string
  readonly outcome: string
  readonly title: string
  readonly details: readonly string[]
}

/** An application and somebody who is told of it, at a server that can be stopped and started again. */
async function told(settings = '') {
  const given = new AsyncDisposableStack()
  const base = given.use(temporaryFolder()).path
  const app = await protectedApplication(base)
  const messages: Message[] = []
  let server: Server | undefined
  let port = 0
  const start = async () => {
    server = createServer(async (request, response) => {
      messages.push(JSON.parse(await text(request)))
      response.writeHead(204).end()
    })
    await new Promise<void>((resolve) => server?.listen(port, '127.0.0.1', resolve))
    port = (server.address() as AddressInfo).port
  }
  const stop = async () => {
    const stopped = server
    server = undefined
    stopped?.closeAllConnections()
    await new Promise<void>((resolve) => (stopped === undefined ? resolve() : stopped.close(() => resolve())))
  }
  await start()
  given.defer(stop)
  // A database would cost each backup a process of its own.
  const config = readFileSync(app.config, 'utf8').replace('  data: data/\n', '')
  writeFileSync(app.config, `${config}\nnotify: [{ webhook: env:HOOK }]\n${settings}\n`)
  let now = new Date()
  return {
    ...app,
    messages,
    start,
    stop,
    setClock: (at: Date) => {
      now = at
    },
    /** What was told since it was last asked: operation and outcome of each. */
    heard: () => messages.splice(0).map(({ operation, outcome }) => `${operation} ${outcome}`),
    async holdfast(...args: string[]) {
      const io = fakeIo({ cwd: app.root, env: { HOOK: `http://127.0.0.1:${port}/${TOKEN}` }, now })
      const code = await run(args, io)
      const out = `${io.out()}${io.err()}`
      assert.ok(!out.includes(TOKEN), out)
      return { code, out }
    },
    [Symbol.asyncDispose]: () => given.disposeAsync(),
  }
}

test('that backups fail is told once, and that it is over', async () => {
  await using app = await told()
  const away = `${app.repository}-away`
  assert.equal((await app.holdfast('backup')).code, 0)
  assert.deepEqual(app.heard(), [])

  renameSync(app.repository, away)
  assert.equal((await app.holdfast('backup')).code, 10)
  const [{ title, details }] = app.messages as [Message]
  assert.match(title, /^scratch on \S+: backup failed$/)
  assert.match(details[0]!, /^(Cannot|No) .*repository/)
  assert.equal(details.at(-1), 'See `holdfast history` and `holdfast status`')
  assert.equal((await app.holdfast('backup')).code, 10)
  assert.deepEqual(app.heard(), ['backup failed'])

  renameSync(away, app.repository)
  await app.holdfast('backup')
  assert.match(app.messages[0]!.title, /: backup succeeded again$/)
  await app.holdfast('backup')
  assert.deepEqual(app.heard(), ['backup succeeded'])
})

test('what an incomplete backup lacks is told', async () => {
  await using app = await told()
  writeFileSync(app.config, readFileSync(app.config, 'utf8').replace('config: config/', 'config: conf/'))
  assert.equal((await app.holdfast('backup')).code, 3)
  assert.match(app.messages[0]!.details[0]!, /conf/)
  assert.deepEqual(app.heard(), ['backup incomplete'])
})

test('an overdue drill is told at the end of a backup, once', async () => {
  await using app = await told('drill: { every: 30d, pick: latest }')
  await app.holdfast('backup')
  assert.deepEqual(app.heard(), [])
  app.setClock(new Date(Date.now() + 31 * DAY))
  assert.equal((await app.holdfast('backup')).code, 0)
  const [{ title, details }] = app.messages as [Message]
  assert.match(title, /^scratch on \S+: a drill is overdue$/)
  assert.match(details.join('\n'), /^It was due on \d{4}-\d\d-\d\d\nRun `holdfast drill`$/)
  await app.holdfast('backup')
  await app.holdfast('verify')
  assert.deepEqual(app.heard(), ['drill overdue'])

  // After a drill it is due again when its time has come.
  {
    using journal = openJournal(join(app.state, 'journal.db'))
    journal.begin('drill', 'scratch', {}, new Date(Date.now() + 31 * DAY)).finish('succeeded')
  }
  await app.holdfast('backup')
  assert.deepEqual(app.heard(), [])
})

test('a dead receiver fails no backup: it is journalled, in the status, and told when it is back', async () => {
  await using app = await told()
  await app.holdfast('backup')
  rmSync(join(app.root, 'config'), { recursive: true })
  await app.stop()
  const { code, out } = await app.holdfast('backup')
  assert.equal(code, 3, 'as if there was no receiver')
  assert.match(out, /warning: Cannot notify by webhook env:HOOK: the receiver did not take it: ECONNREFUSED/)
  {
    using journal = readJournal(join(app.state, 'journal.db'))
    const [newest] = journal!.runs({ limit: 1 })
    assert.deepEqual([newest?.operation, newest?.state], ['notify', 'failed'])
    assert.match(journal!.findings(newest!.id)[0]!.message, /^Cannot notify by webhook env:HOOK/)
  }
  const dead = await app.holdfast('status')
  assert.match(dead.out, /warning: Cannot notify by webhook env:HOOK: [\s\S]*Run `holdfast doctor notify`/)

  await app.start()
  await app.holdfast('backup')
  assert.deepEqual(app.heard(), ['backup incomplete'])
  assert.doesNotMatch((await app.holdfast('status')).out, /Cannot notify/)
})

test('without a journal everything is told', async () => {
  await using app = await told()
  rmSync(join(app.root, 'config'), { recursive: true })
  writeFileSync(app.state, 'no folder')
  writeFileSync(app.config, readFileSync(app.config, 'utf8').replace('log:', `work-dir: ${app.root}-work\nlog:`))
  for (let i = 0; i < 2; i++) assert.equal((await app.holdfast('backup')).code, 3)
  assert.deepEqual(app.heard(), ['backup incomplete', 'backup incomplete'])
})

test('the address of a receiver is in no log and no journal', async () => {
  await using app = await told()
  rmSync(join(app.root, 'config'), { recursive: true })
  await app.stop()
  await app.holdfast('backup', '--verbose')
  await app.start()
  await app.holdfast('notify', 'test', '--json')
  for (const name of readdirSync(app.state, { recursive: true, withFileTypes: true })) {
    if (!name.isFile()) continue
    const path = join(name.parentPath, name.name)
    assert.ok(!readFileSync(path).includes(TOKEN), path)
  }
})

test('notify test asks every channel, and its exit code says whether all, some or none took it', async () => {
  await using app = await told()
  const config = readFileSync(app.config, 'utf8')
  const all = await app.holdfast('notify', 'test')
  assert.deepEqual([all.code, all.out], [0, '✓ webhook env:HOOK\n1 message delivered\n'])
  assert.deepEqual(app.heard(), ['notify test'])

  writeFileSync(app.config, config.replace('}]', '}, { command: "exit 9" }]'))
  const some = await app.holdfast('notify', 'test')
  const shown =
    '✓ webhook env:HOOK\n✗ command exit: the command ended with exit code 9\n1 of 2 messages not delivered\n'
  assert.deepEqual([some.code, some.out], [3, shown])

  writeFileSync(app.config, config.replace('webhook: env:HOOK', 'slack: env:ANOTHER'))
  const none = await app.holdfast('notify', 'test', '--json')
  assert.equal(none.code, 1)
  assert.deepEqual(JSON.parse(none.out), {
    message_type: 'delivery',
    channel: 'slack env:ANOTHER',
    delivered: false,
    problem: 'the environment variable ANOTHER is not set',
  })

  writeFileSync(app.config, config.replace(/^notify:.*$/m, ''))
  assert.match((await app.holdfast('notify', 'test')).out, /names nobody in notify/)
})
