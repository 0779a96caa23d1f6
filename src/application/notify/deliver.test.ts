import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, beforeEach, test } from 'node:test'
import { type Channel, deliver } from './deliver.ts'
import type { Notice } from './notice.ts'

const NOTICE: Notice = {
  app: 'shop',
  host: 'web1',
  at: new Date('2026-11-27T02:00:00Z'),
  operation: 'backup',
  outcome: 'failed',
  title: 'shop on web1: backup failed',
  details: ['Cannot open <repository> & more', 'See `holdfast status`'],
}

const received: { readonly url: string; readonly headers: IncomingMessage['headers']; readonly body: string }[] = []
const answers: number[] = []
const server = createServer(async (request, response) => {
  received.push({ url: request.url ?? '', headers: request.headers, body: await text(request) })
  response.writeHead(answers.shift() ?? 204, { location: '/elsewhere' }).end('echo of hunter2')
})
let folder = ''
let address = ''

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-notify-'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  address = `127.0.0.1:${(server.address() as AddressInfo).port}`
})
after(() => {
  server.close()
  rmSync(folder, { recursive: true })
})
beforeEach(() => {
  received.length = 0
  answers.length = 0
})

const send = (kind: Channel['kind'], target: string, changes: Partial<Notice> = {}) =>
  deliver({ kind, target }, { ...NOTICE, ...changes }, new AbortController().signal)

test('a webhook gets everything as JSON', async () => {
  await send('webhook', `http://${address}/hook?key=hunter2`)
  const [{ url, headers, body }] = received as [(typeof received)[number]]
  assert.deepEqual([url, headers['content-type']], ['/hook?key=hunter2', 'application/json'])
  assert.deepEqual(JSON.parse(body), {
    app: 'shop',
    host: 'web1',
    time: '2026-11-27T02:00:00.000Z',
    operation: 'backup',
    outcome: 'failed',
    title: 'shop on web1: backup failed',
    details: NOTICE.details,
  })
})

test('name and password of an address go where they belong', async () => {
  await send('webhook', `http://me:hunter%202@${address}/hook`)
  assert.equal(received[0]?.headers.authorization, `Basic ${Buffer.from('me:hunter 2').toString('base64')}`)
})

test('Discord and Slack get text in which nothing but text is read', async () => {
  const details = ['@everyone <!channel> & \u001b[31mred\u0007', 'x'.repeat(3000)]
  await send('discord', `http://${address}/discord`, { details })
  await send('slack', `http://${address}/slack`, { details })
  const [discord, slack] = received.map(({ body }) => JSON.parse(body))
  assert.deepEqual(discord.allowed_mentions, { parse: [] })
  assert.equal(discord.content.length, 2000)
  assert.ok(discord.content.startsWith('shop on web1: backup failed\n@everyone <!channel> & red\ufffd\nxxx'))
  assert.ok(slack.text.startsWith('shop on web1: backup failed\n@everyone &lt;!channel&gt; &amp; red\ufffd\nxxx'))
})

test("a dead man's switch hears of success at its address, and of anything else below it", async () => {
  await send('ping', `http://${address}/ping/uuid?x=1`, { outcome: 'succeeded' })
  await send('ping', `http://${address}/ping/uuid?x=1`, { outcome: 'incomplete' })
  assert.deepEqual(
    received.map(({ url, body }) => [url, body]),
    [
      ['/ping/uuid?x=1', ''],
      ['/ping/uuid/fail?x=1', ''],
    ],
  )
})

test('a receiver with trouble of its own is asked once more, one that refuses is not', async () => {
  answers.push(503)
  await send('webhook', `http://${address}/hook`)
  assert.equal(received.length, 2)
  answers.push(503, 500)
  await assert.rejects(send('webhook', `http://${address}/hook`), {
    code: 'NOTIFY',
    message: 'the receiver did not take it: HTTP status 500',
  })
  received.length = 0
  answers.push(404)
  await assert.rejects(send('webhook', `http://${address}/hook`), { code: 'NOTIFY', message: /HTTP status 404$/ })
  assert.equal(received.length, 1)
})

test('a redirection is not followed, for the message may hold what others must not read', async () => {
  answers.push(302)
  await assert.rejects(send('webhook', `http://${address}/hook`), { code: 'NOTIFY', message: /HTTP status 302$/ })
  assert.deepEqual(
    received.map(({ url }) => url),
    ['/hook'],
  )
})

test('no error repeats the address, or what the receiver said', async () => {
  answers.push(403)
  for (const target of [
    `http://${address}/hunter2`,
    'http://127.0.0.1:1/hunter2',
    'http://me:hunter2@[broken',
    'hunter2.example.com/x',
    'ftp://me:hunter2@example.com',
  ]) {
    await assert.rejects(send('webhook', target), (error: Error & { code: string; facts: object }) => {
      assert.equal(error.code, 'NOTIFY', target)
      assert.doesNotMatch(`${error.message} ${JSON.stringify(error.facts)} ${error.cause}`, /hunter2/)
      return true
    })
  }
})

test('a command reads the JSON, and its exit code says whether that was all right', async () => {
  await send('command', `cat > ${folder}/read`)
  assert.equal(JSON.parse(readFileSync(join(folder, 'read'), 'utf8')).outcome, 'failed')
  await assert.rejects(send('command', 'echo hunter2 >&2; exit 7'), {
    code: 'NOTIFY',
    message: 'the command ended with exit code 7',
  })
})

test('mail goes to the mailer of the system, its address in a header and not among the arguments', async (context) => {
  writeFileSync(join(folder, 'sendmail'), `#!/bin/sh\necho "$*" > ${folder}/args; cat > ${folder}/mail\n`, {
    mode: 0o755,
  })
  const path = process.env.PATH
  process.env.PATH = [folder, path].join(delimiter)
  context.after(() => {
    process.env.PATH = path
  })
  await send('mail', 'ops@example.com,\nsam@example.com', { title: 'shöp on web1: backup failed' })
  assert.equal(readFileSync(join(folder, 'args'), 'utf8'), '-i -t\n')
  assert.equal(
    readFileSync(join(folder, 'mail'), 'utf8'),
    `To: ops@example.com, sam@example.com
Subject: =?UTF-8?B?${Buffer.from('shöp on web1: backup failed').toString('base64')}?=
Auto-Submitted: auto-generated
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

shöp on web1: backup failed
Cannot open <repository> & more
See \`holdfast status\`
`,
  )
})
