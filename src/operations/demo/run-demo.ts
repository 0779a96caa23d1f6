import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { loadConfig, parseConfig } from '../../application/config/load-config.ts'
import { minimalEnvironment, programFailure, runProgram } from '../../application/program.ts'
import type { RepositoryAccess } from '../access.ts'
import { backupApplication } from '../backup/backup-application.ts'
import { dumpFile } from '../browse/dump-file.ts'
import { OperationError } from '../error.ts'
import type { Observer } from '../event.ts'
import { CONFIG, SELF } from '../manifest.ts'
import { planProtection } from '../protect/plan-protection.ts'
import { setUp } from '../protect/set-up.ts'
import { restoreInPlace } from '../restore/restore-in-place.ts'
import { check } from '../verify/check.ts'

const EXAMPLE = fileURLToPath(new URL('../../../examples/devrel-integration', import.meta.url))
const APP = 'devrel-integration'
/** How long the example may take to answer. */
const START_MILLISECONDS = 15_000
/** How long it writes before the first backup, so that there is something to lose. */
const WRITE_MILLISECONDS = 1500

export interface DemoStep {
  readonly step: string
  readonly result: string
  readonly milliseconds: number
}

export interface DemoReport {
  readonly outcome: 'succeeded' | 'failed'
  readonly steps: readonly DemoStep[]
  /** Highest row that was committed when the last backup began, and the highest after the restore. */
  readonly committedBefore: number
  readonly rowsAfter: number
  /** Rows up to `committedBefore` that did not come back. */
  readonly missing: number
  readonly health: string
  /** Undefined when it was removed at the end. */
  readonly folder: string | undefined
}

export interface DemoOptions {
  /** Leave the demo's folder for a look around. */
  readonly keep: boolean
  readonly onBegin?: (step: string) => void
  readonly onStep: (step: DemoStep) => void
  readonly observe: Observer
  readonly signal: AbortSignal
}

/**
 * The main job on the bundled example, for real and in a temporary folder: runs the application, protects it while it
 * writes, kills it, removes it with its config and service files, brings it back from the repository and starts it again.
 */
export async function runDemo(options: DemoOptions): Promise<DemoReport> {
  const base = await mkdtemp(join(tmpdir(), 'holdfast-demo-'))
  await using cleanup = new AsyncDisposableStack()
  if (!options.keep) cleanup.defer(() => rm(base, { recursive: true, force: true }))
  return await new Demo(base, options, cleanup).run()
}

/** What a step hands on, and what it says about itself. */
type StepEnd<R> = readonly [value: R, result: string]

class Demo {
  readonly #base: string
  readonly #app: string
  readonly #options: DemoOptions
  readonly #cleanup: AsyncDisposableStack
  readonly #steps: DemoStep[] = []

  constructor(base: string, options: DemoOptions, cleanup: AsyncDisposableStack) {
    this.#base = base
    this.#app = join(base, 'opt', APP)
    this.#options = options
    this.#cleanup = cleanup
  }

  async run(): Promise<DemoReport> {
    const { signal, observe } = this.#options
    const hostRoot = this.#base
    const identity = join(this.#base, 'operator', 'age-identity.txt')

    await this.#step('install the example application', async () => {
      await cp(EXAMPLE, this.#app, { recursive: true, verbatimSymlinks: true })
      await this.#node(['src/setup.js', '--host', hostRoot])
      return [undefined, this.#app]
    })
    const first = await this.#step('start it: it writes to its database all the time', () => this.#start())
    const plan = await this.#step('look at what it is made of', async () => {
      const found = await planProtection(this.#app, { hostRoot, signal })
      return [found, found.detection.components.map(({ name }) => name).join(', ')]
    })
    const config = await this.#step('write the config, make the repository', async () => {
      const recipient = await makeIdentity(identity)
      const choices = {
        repository: join(this.#base, 'backups', APP),
        passwordFile: join(this.#base, 'operator', `${APP}.key`),
        seal: [`age:${recipient}`],
        stateDirectory: join(this.#base, 'state'),
      }
      const done = await setUp(plan, choices, signal)
      return [await loadConfig(done.configFile), done.repository]
    })
    const access: RepositoryAccess = {
      location: config.repository,
      password: async () => Buffer.from((await readFile(config.passwordFile!, 'utf8')).trim()),
    }
    await sleep(WRITE_MILLISECONDS, undefined, { signal })
    await this.#step('back it up while it writes', async () => {
      const report = await backupApplication(config, access, { hostRoot, reason: 'demo: first', observe, signal })
      requireComplete(report)
      return [report, `${report.files} files, ${report.bytes} bytes, ${report.addedPacked} stored`]
    })
    await sleep(WRITE_MILLISECONDS / 3, undefined, { signal })
    const committedBefore = (await this.#metrics(first.port)).lastId
    await this.#step('back it up again', async () => {
      const report = await backupApplication(config, access, { hostRoot, reason: 'demo: second', observe, signal })
      requireComplete(report)
      return [report, `${report.addedPacked} bytes stored: only what changed`]
    })
    await this.#step('check the repository, every byte', async () => {
      const report = await check(access, { readData: true, observe, signal })
      if (report.errors > 0) throw new OperationError('DEMO', `The check found ${report.errors} errors`)
      return [report, `${report.packs} packs, ${report.blobs} blobs: no errors`]
    })
    await this.#step('disaster: kill -9, remove the application and its files in etc/', async () => {
      await first.kill()
      await rm(this.#app, { recursive: true })
      await rm(join(hostRoot, 'etc'), { recursive: true })
      return [undefined, 'nothing is left but repository, password and key']
    })
    await this.#step('restore from the repository alone', async () => {
      const text: Buffer[] = []
      await dumpFile(
        access,
        { choice: { name: 'latest', app: APP }, path: `/${SELF}/${CONFIG}`, signal },
        async (bytes) => {
          text.push(bytes)
        },
      )
      const restored = parseConfig(Buffer.concat(text).toString(), config.file)
      const report = await restoreInPlace(access, {
        choice: { name: 'latest', app: APP },
        config: restored,
        hostRoot,
        identities: [identity],
        verify: true,
        confirm: async () => true,
        observe,
        signal,
      })
      if (report.outcome !== 'succeeded')
        throw new OperationError('DEMO', `The restore ended as ${report.outcome}`, {
          hint: 'The findings above say why',
        })
      // The application's own code comes from Git in real life; backups leave it out.
      await cp(join(EXAMPLE, 'src'), join(this.#app, 'src'), { recursive: true })
      await cp(join(EXAMPLE, 'package.json'), join(this.#app, 'package.json'))
      await mkdir(join(this.#app, 'logs'), { recursive: true })
      return [report, `${report.files} files and ${report.secrets} secrets, read again and compared`]
    })
    const second = await this.#step('start it again, ask for its health', () => this.#start())
    const after = await this.#metrics(second.port)
    const missing = await this.#step('count the rows', async () => {
      const lost = await this.#missingRows(committedBefore)
      return [
        lost,
        `rows 1 to ${committedBefore} were committed before the last backup: ${lost === 0 ? 'every one is back' : `${lost} are missing`}`,
      ]
    })
    await second.kill()
    return {
      outcome: second.health === 'healthy' && missing === 0 ? 'succeeded' : 'failed',
      steps: this.#steps,
      committedBefore,
      rowsAfter: after.lastId,
      missing: missing,
      health: second.health,
      folder: this.#options.keep ? this.#base : undefined,
    }
  }

  async #step<R>(step: string, task: () => Promise<StepEnd<R>>): Promise<R> {
    this.#options.signal.throwIfAborted()
    this.#options.onBegin?.(step)
    const begun = performance.now()
    const [value, result] = await task()
    const done = { step, result, milliseconds: Math.round(performance.now() - begun) }
    this.#steps.push(done)
    this.#options.onStep(done)
    return value
  }

  async #node(args: readonly string[]): Promise<Buffer> {
    const end = await runProgram(process.execPath, ['--disable-warning=ExperimentalWarning', ...args], {
      cwd: this.#app,
      signal: this.#options.signal,
    })
    if (end.exitCode !== 0)
      throw new OperationError('DEMO', `The example's ${args[0]} failed`, { cause: programFailure(end) })
    return end.stdout
  }

  async #start(): Promise<StepEnd<{ readonly port: number; readonly health: string; kill(): Promise<void> }>> {
    const output = await open(join(this.#base, 'server.log'), 'w')
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', 'src/server.js'], {
      cwd: this.#app,
      env: minimalEnvironment({ PORT: '0', WRITE_INTERVAL_MS: '5', NODE_ENV: 'production' }),
      stdio: ['ignore', output.fd, output.fd],
    })
    await output.close()
    const kill = () => killAndWait(child)
    this.#cleanup.defer(kill)
    const { port, health } = await this.#healthy(child)
    return [{ port, health, kill }, `GET /health: ${health}`]
  }

  async #healthy(child: ChildProcess): Promise<{ port: number; health: string }> {
    const deadline = Date.now() + START_MILLISECONDS
    for (;;) {
      this.#options.signal.throwIfAborted()
      const log = await readFile(join(this.#base, 'server.log'), 'utf8')
      const port = Number(/listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(log)?.[1] ?? 0)
      if (port > 0) {
        const response = await fetch(`http://127.0.0.1:${port}/health`, { signal: this.#options.signal })
        const { status } = (await response.json()) as { status: string }
        if (response.ok) return { port, health: status }
      }
      if (child.exitCode !== null || Date.now() > deadline) {
        throw new OperationError('DEMO', 'The example application does not start', {
          facts: { log },
          hint: `It said: ${log.trim().split('\n').at(-1)}`,
        })
      }
      await sleep(50, undefined, { signal: this.#options.signal })
    }
  }

  async #metrics(port: number): Promise<{ lastId: number }> {
    const response = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: this.#options.signal })
    const lastId = Number(/^devrel_last_committed_id (\d+)$/m.exec(await response.text())?.[1] ?? Number.NaN)
    if (!Number.isInteger(lastId))
      throw new OperationError('DEMO', 'The example application does not say which rows it committed')
    return { lastId }
  }

  async #missingRows(upTo: number): Promise<number> {
    const { DatabaseSync } = await import('node:sqlite')
    const database = new DatabaseSync(join(this.#app, 'data', 'auth.db'), { readOnly: true })
    try {
      const { count } = database.prepare('SELECT count(*) AS count FROM events WHERE id BETWEEN 1 AND ?').get(upTo) as {
        count: number
      }
      return upTo - count
    } finally {
      database.close()
    }
  }
}

function requireComplete(report: {
  readonly outcome: string
  readonly findings: readonly { readonly severity: string; readonly message: string }[]
}): void {
  if (report.outcome === 'succeeded') return
  throw new OperationError(
    'DEMO',
    `The backup is incomplete: ${report.findings.find(({ severity }) => severity === 'error')?.message}`,
  )
}

async function makeIdentity(file: string): Promise<string> {
  const { generateIdentity, identityToRecipient } = await import('age-encryption')
  const identity = await generateIdentity()
  await mkdir(join(file, '..'), { recursive: true, mode: 0o700 })
  await writeFile(file, `${identity}\n`, { mode: 0o600 })
  return identityToRecipient(identity)
}

async function killAndWait(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}
