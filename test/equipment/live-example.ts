import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../../src/application/config/config.ts'
import { parseConfig } from '../../src/application/config/load-config.ts'
import { createRepository } from '../../src/engine/repository/repository.ts'
import { storageFor } from '../../src/engine/storage/open-storage.ts'
import type { RepositoryAccess } from '../../src/operations/access.ts'
import { backupApplication } from '../../src/operations/backup/backup-application.ts'
import { makeAgeIdentity } from './age-identity.ts'
import { temporaryFolder } from './temporary-folder.ts'
import { CHEAP_KDF, PASSWORD, POLYNOMIAL } from './test-repository.ts'

const EXAMPLE = join(dirname(dirname(import.meta.dirname)), 'examples/devrel-integration')

/** The bundled example, running, writing, and backed up as often as wanted. */
export interface LiveExample extends AsyncDisposable {
  readonly base: string
  readonly root: string
  readonly port: number
  readonly access: RepositoryAccess
  readonly identity: string
  /** Whom its secrets are sealed for. */
  readonly recipient: string
  config(changes?: Record<string, unknown>): Config
  backUp(changes?: Record<string, unknown>): Promise<string>
  /** Writes the config and the password for the command line, and answers with the arguments that name them. */
  commandLine(changes?: Record<string, unknown>): string[]
  /** What `/metrics` says of the live one. */
  lastCommittedId(): Promise<number>
  readonly server: ChildProcess
}

export async function liveExample(components: Record<string, unknown> = {}): Promise<LiveExample> {
  const folder = temporaryFolder()
  const base = folder.path
  const root = join(base, 'opt/devrel-integration')
  cpSync(EXAMPLE, root, { recursive: true, verbatimSymlinks: true })
  const { status, stderr } = spawnSync(process.execPath, ['src/setup.js'], { cwd: root, encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  const port = await freePort()
  const bot = join(root, 'config/bot.json')
  writeFileSync(bot, JSON.stringify({ ...JSON.parse(readFileSync(bot, 'utf8')), port }))
  const server = spawn(process.execPath, ['src/server.js'], {
    cwd: root,
    env: { PATH: process.env.PATH, WRITE_INTERVAL_MS: '5' },
    stdio: 'ignore',
  })
  const { recipient, file } = await makeAgeIdentity(base)
  const access = { location: join(base, 'repository'), password: async () => PASSWORD }
  await createRepository(storageFor(access.location), { password: PASSWORD, kdf: CHEAP_KDF, polynomial: POLYNOMIAL })
  const quiet = { observe: () => {}, signal: new AbortController().signal }
  const example: LiveExample = {
    base,
    root,
    port,
    access,
    identity: file,
    recipient,
    server,
    config(changes = {}) {
      const written = {
        app: 'devrel',
        root,
        repository: access.location,
        components: { config: 'config', data: 'data', secrets: { path: 'secrets', seal: [recipient] }, ...components },
        'state-dir': join(base, 'state'),
        'work-dir': join(base, 'work'),
        log: join(base, 'log/holdfast.log'),
        service: {
          manager: 'command',
          // Ends while the server goes on, as a start command may.
          start: 'node src/server.js & sleep 0.5',
          stop: 'true',
          health: `http://127.0.0.1:${port}/health`,
          metrics: `http://127.0.0.1:${port}/metrics`,
          'expect-log': ['discord connected', 'linear'],
        },
        drill: { every: '90d', pick: 'latest' },
        ...changes,
      }
      return parseConfig(JSON.stringify(written, null, 2), join(base, 'etc/holdfast.yaml'))
    },
    async backUp(changes) {
      const report = await backupApplication(example.config(changes), access, quiet)
      return report.snapshot
    },
    commandLine(changes) {
      const { file, text } = example.config(changes)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, text)
      const password = join(base, 'password')
      writeFileSync(password, `${PASSWORD}\n`, { mode: 0o600 })
      return ['--config', file, '--password-file', password]
    },
    async lastCommittedId() {
      const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
      return Number(/^devrel_last_committed_id (\d+)$/m.exec(metrics)?.[1])
    },
    async [Symbol.asyncDispose]() {
      if (server.exitCode === null && server.signalCode === null) {
        server.kill('SIGKILL')
        await once(server, 'exit')
      }
      folder[Symbol.dispose]()
    },
  }
  for (let attempt = 0; ; attempt++) {
    try {
      if ((await example.lastCommittedId()) > 20) return example
    } catch (error) {
      if (attempt > 400) throw error
    }
    await sleep(25)
  }
}

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as { port: number }
  await new Promise((resolve) => probe.close(resolve))
  return port
}
