import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import type { Readable } from 'node:stream'
import { after, beforeEach, test } from 'node:test'

const example = join(dirname(import.meta.dirname), 'examples/devrel-integration')
const scratch = mkdtempSync(join(tmpdir(), 'holdfast-example-'))
after(() => rmSync(scratch, { recursive: true }))

let root = ''
beforeEach(() => {
  const host = mkdtempSync(join(scratch, 'host-'))
  root = join(host, 'srv/devrel')
  cpSync(example, root, { recursive: true, verbatimSymlinks: true })
  // As in a package of npm, which holds no links.
  rmSync(join(root, 'etc/nginx/sites-enabled'), { recursive: true, force: true })
  for (let run = 1; run <= 2; run++) {
    const { status, stderr } = spawnSync(process.execPath, ['src/setup.js', '--host', host], {
      cwd: root,
      encoding: 'utf8',
    })
    assert.deepEqual([status, stderr], [0, ''], `run ${run} of the set-up`)
  }
})

type Server = ChildProcessByStdio<null, Readable, null>

async function start(): Promise<{ server: Server; address: string }> {
  const env = { PATH: process.env.PATH, PORT: '0', WRITE_INTERVAL_MS: '1' }
  const server = spawn(process.execPath, ['src/server.js'], { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of createInterface(server.stdout)) {
    const address = /listening on (\S+)/.exec(line)?.[1]
    if (address !== undefined) {
      server.stdout.resume()
      return { server, address }
    }
  }
  throw new Error('the server ended before it listened')
}

/** For a server that must not start: waits for its end. */
function runServer() {
  const options = { cwd: root, env: { PORT: '0' }, encoding: 'utf8', timeout: 20_000 } as const
  return spawnSync(process.execPath, ['src/server.js'], options)
}

async function stop(server: Server): Promise<number | null> {
  server.kill('SIGTERM')
  const [code]: (number | null)[] = await once(server, 'exit')
  return code ?? null
}

async function lastCommittedId(address: string): Promise<number> {
  const metrics = await (await fetch(`${address}/metrics`)).text()
  return Number(/^devrel_last_committed_id (\d+)$/m.exec(metrics)?.[1])
}

test('the server is healthy, writes rows that last, and ends in order', async () => {
  const { server, address } = await start()
  while ((await lastCommittedId(address)) < 20) await new Promise((resolve) => setTimeout(resolve, 10))
  const health = (await (await fetch(`${address}/health`)).json()) as Record<string, unknown>
  assert.equal(health.status, 'healthy')
  assert.equal(health.database, 'ok')
  assert.ok(Number(health.rows) >= 20 && Number(health.uptime) > 0)
  assert.ok(statSync(join(root, 'data/auth.db-wal')).size > 0, 'the database is in WAL mode')
  const committed = await lastCommittedId(address)
  assert.equal(await stop(server), 0)

  const database = new DatabaseSync(join(root, 'data/auth.db'), { readOnly: true })
  assert.deepEqual(
    { ...database.prepare('SELECT count(*) = max(id) AS whole, max(id) >= ? AS kept FROM events').get(committed) },
    { whole: 1, kept: 1 },
  )
  database.close()
  assert.match(readFileSync(join(root, 'logs/app.log'), 'utf8'), /discord connected.*stopped\n$/s)

  const again = await start()
  assert.ok((await lastCommittedId(again.address)) > committed, 'a second start goes on with the rows of the first')
  await stop(again.server)
})

test('with a damaged database the server never says that it is healthy', async () => {
  const { server, address } = await start()
  while ((await lastCommittedId(address)) < 300) await new Promise((resolve) => setTimeout(resolve, 10))
  await stop(server)
  const file = join(root, 'data/auth.db')
  const bytes = readFileSync(file)
  bytes.fill(0xee, 5 * 4096, 5 * 4096 + 200) // a page of rows, behind those of the schema
  writeFileSync(file, bytes)
  const { status, stdout, stderr } = runServer()
  assert.deepEqual([status, stdout], [1, ''])
  assert.match(stderr, /database disk image is malformed/)
})

test('without its secrets the server does not start', () => {
  rmSync(join(root, 'secrets/.env.production'))
  const { status, stderr } = runServer()
  assert.equal(status, 1)
  assert.match(stderr, /secrets\/\.env\.production/)
})

test('every secret carries the mark by which it can be searched for', () => {
  const values = readFileSync(join(root, 'secrets/.env.production'), 'utf8').match(/^\w+=.*$/gm) ?? []
  assert.equal(values.length, 4)
  for (const value of values) assert.match(value, /=EXAMPLE-SECRET-/)
})

test('the set-up makes a valid certificate with its key, and enables the site', () => {
  const nginx = join(dirname(dirname(root)), 'etc/nginx')
  const certificate = new X509Certificate(readFileSync(join(nginx, 'ssl/devrel-integration.crt')))
  const key = createPrivateKey(readFileSync(join(nginx, 'ssl/devrel-integration.key')))
  assert.ok(certificate.checkPrivateKey(key))
  assert.ok(certificate.verify(certificate.publicKey))
  assert.equal(certificate.checkHost('devrel.example.com'), 'devrel.example.com')
  assert.ok(certificate.validToDate.getTime() > Date.now() + 9 * 365 * 86_400_000)
  assert.equal(statSync(join(nginx, 'ssl/devrel-integration.key')).mode & 0o777, 0o600)
  assert.equal(readlinkSync(join(nginx, 'sites-enabled/devrel-integration')), '../sites-available/devrel-integration')
})

test('the installed unit names the folder as the server sees it', () => {
  const unit = readFileSync(join(dirname(dirname(root)), 'etc/systemd/system/devrel-integration.service'), 'utf8')
  assert.match(unit, /^WorkingDirectory=\/srv\/devrel$/m)
  assert.doesNotMatch(unit, /\/opt\//)
})
