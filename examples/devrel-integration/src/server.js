/**
 * A stand-in for a bot's server: keeps a database that changes all the time, needs its configuration and its secrets to
 * start, and tells how it is.
 *
 *   PORT               where to listen on 127.0.0.1; 0 takes any free port (default: config/bot.json)
 *   WRITE_INTERVAL_MS  pause between two rows (default: 50; 0 writes as fast as it can)
 */
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { dirname, join } from 'node:path'
import { parseEnv } from 'node:util'
import { openDatabase } from './database.js'

const root = dirname(import.meta.dirname)
const startedAt = Date.now()

mkdirSync(join(root, 'logs'), { recursive: true })
const log = (line) => {
  const stamped = `${new Date().toISOString()} ${line}\n`
  process.stdout.write(stamped)
  appendFileSync(join(root, 'logs/app.log'), stamped)
}

const readJson = (name) => JSON.parse(readFileSync(join(root, 'config', `${name}.json`), 'utf8'))
const bot = readJson('bot')
const integrations = readJson('integrations')
const flags = readJson('feature-flags')

// Parsed rather than loaded into process.env, where every child process and crash report could see them.
const secrets = parseEnv(readFileSync(join(root, 'secrets/.env.production'), 'utf8'))
for (const name of ['DISCORD_BOT_TOKEN', 'LINEAR_API_KEY', 'LINEAR_WEBHOOK_SECRET', 'SESSION_SECRET']) {
  if (!secrets[name]) throw new Error(`Cannot start: secrets/.env.production has no ${name}`)
}

const database = openDatabase(join(root, 'data/auth.db'))
log(`database open: ${database.rows()} rows, last committed id ${database.lastCommittedId()}`)

const pause = Number(process.env.WRITE_INTERVAL_MS ?? 50)
let writer
let writes = 0
const write = () => {
  database.record(`message ${writes++}`)
  // Between two rows the event loop answers requests, also at full speed.
  writer = pause > 0 ? setTimeout(write, pause) : setImmediate(write)
}
write()

const uptime = () => (Date.now() - startedAt) / 1000

function health() {
  const found = database.check()
  if (found !== 'ok') throw new Error(`data/auth.db is damaged: ${found}`)
  return { status: 'healthy', uptime: uptime(), rows: database.rows(), database: found }
}

function metrics() {
  const values = [
    ['devrel_uptime_seconds', 'gauge', 'Seconds since the server started', uptime()],
    ['devrel_rows', 'gauge', 'Rows in the table of events', database.rows()],
    [
      'devrel_last_committed_id',
      'counter',
      'Highest id of an event that is committed and on disk',
      database.lastCommittedId(),
    ],
    ['devrel_writes_total', 'counter', 'Rows written since the server started', writes],
    ['devrel_users', 'gauge', 'Users with stored preferences', database.users()],
  ]
  return values
    .map(([name, type, help, value]) => `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${value}\n`)
    .join('')
}

const server = createServer((request, response) => {
  const send = (status, type, body) => {
    response.writeHead(status, { 'content-type': type })
    response.end(body)
  }
  try {
    if (request.method !== 'GET') send(405, 'text/plain', 'GET only\n')
    else if (request.url === '/health') send(200, 'application/json', `${JSON.stringify(health())}\n`)
    else if (request.url === '/metrics' && flags['usage-metrics']) send(200, 'text/plain; version=0.0.4', metrics())
    else send(404, 'text/plain', 'There are /health and /metrics\n')
  } catch (error) {
    log(`error: ${error.message}`)
    send(
      503,
      'application/json',
      `${JSON.stringify({ status: 'unhealthy', uptime: uptime(), error: error.message })}\n`,
    )
  }
})

server.listen(Number(process.env.PORT ?? bot.port), '127.0.0.1', () => {
  // Said without connecting anywhere: an example must run on a machine without network.
  if (integrations.discord.enabled) log(`discord connected as ${bot.name} (simulated)`)
  if (integrations.linear.enabled) log(`linear webhook ready at ${integrations.linear.webhook} (simulated)`)
  log(`listening on http://127.0.0.1:${server.address().port}`)
})

function stop(signal) {
  log(`${signal}: stopping after ${writes} rows, last committed id ${database.lastCommittedId()}`)
  clearTimeout(writer)
  clearImmediate(writer)
  server.close(() => {
    database.close()
    log('stopped')
  })
  server.closeAllConnections()
}
process.once('SIGTERM', stop)
process.once('SIGINT', stop)
