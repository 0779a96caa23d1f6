import assert from 'node:assert/strict'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { checkApplication } from './health.ts'

const { signal } = new AbortController()

async function serve(listener: RequestListener) {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: (path: string) => `http://127.0.0.1:${port}${path}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test('an application is asked until it is healthy, then for its log and its metrics', async () => {
  let asked = 0
  await using server = await serve(({ url }, response) => {
    if (url === '/metrics') {
      response.end('# HELP rows\nrows 3\n')
      return
    }
    asked += 1
    response.statusCode = asked < 3 ? 503 : 200
    response.end(JSON.stringify({ status: asked < 4 ? 'starting' : 'healthy' }))
  })
  const checks = await checkApplication({
    health: server.url('/health'),
    metrics: server.url('/metrics'),
    expectLog: ['Discord Connected'],
    readLog: async () => 'first\ndiscord connected as bot\n',
    signal,
  })
  assert.deepEqual(
    checks.map(({ check, passed, detail, attempts }) => [check, passed, detail, attempts]),
    [
      ['health', true, 'status "healthy"', 4],
      ['log', true, 'discord connected as bot', 1],
      ['metrics', true, '1 line', 1],
    ],
  )
})

test('what is not well is said, and the asking ends with the time', async () => {
  await using server = await serve((request, response) => {
    assert.match(request.headers.host!, /^(localhost|127\.0\.0\.1):/)
    response.end(request.url === '/metrics' ? '# nothing\n' : '{"status":"unhealthy"}')
  })
  const [health, log, metrics] = await checkApplication({
    health: server.url('/'),
    metrics: server.url('/metrics').replace('127.0.0.1', 'localhost'),
    expectLog: ['ready'],
    readLog: async () => 'error: no token\n',
    withinMs: 300,
    signal,
  })
  assert.deepEqual([health?.passed, health?.detail], [false, 'status "unhealthy"'])
  assert.ok(health!.attempts > 1)
  assert.deepEqual([log?.passed, log?.detail], [false, 'the log ends with: error: no token'])
  assert.deepEqual([metrics?.passed, metrics?.detail], [false, 'an empty answer'])
})

test('nobody who listens, a redirection and a huge answer are told apart; an answer is read to a bound only', async () => {
  await using server = await serve((request, response) => {
    if (request.url === '/moved') {
      response.writeHead(302, { location: '/' }).end()
      return
    }
    const more = () => {
      while (response.write(Buffer.alloc(65536, 'x')));
    }
    response.on('drain', more).on('error', () => {})
    more()
  })
  const once = (health: string) => checkApplication({ health, withinMs: 0, signal })
  assert.match((await once(server.url('/moved')))[0]!.detail, /^status 302/)
  const [huge] = await once(server.url('/'))
  assert.deepEqual([huge?.passed, huge!.detail.length < 300], [true, true])
  assert.match((await once('http://127.0.0.1:9/'))[0]!.detail, /ECONNREFUSED|bad port/)
})

test('a service that has failed is not waited for', async () => {
  const [health] = await checkApplication({
    health: 'http://127.0.0.1:11/',
    givenUp: async () => 'the unit has failed',
    signal,
  })
  assert.deepEqual([health?.passed, health?.attempts], [false, 1])
  assert.match(health!.detail, /; the unit has failed$/)
})

test('asking ends at once when it is interrupted', async () => {
  const reason = new Error('stop')
  const interrupted = AbortSignal.timeout(50)
  const asking = checkApplication({ health: 'http://127.0.0.1:11/', signal: interrupted })
  await assert.rejects(asking, { name: /^(Abort|Timeout)Error$/ })
  await assert.rejects(checkApplication({ health: 'http://127.0.0.1:11/', signal: AbortSignal.abort(reason) }), reason)
})
