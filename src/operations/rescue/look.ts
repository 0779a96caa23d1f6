import { lstat, stat, statfs } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import type { ApplicationService } from '../../application/host/application-service.ts'
import { checkApplication, isHere } from '../../application/host/health.ts'
import { lastDeploy } from '../../application/host/last-deploy.ts'
import { portUser } from '../../application/host/requirements.ts'
import type { ServiceState } from '../../application/host/service.ts'
import { readServiceLog } from '../../application/host/service-log.ts'
import { isWebServerRunning, testWebServer } from '../../application/host/web-server.ts'
import { openSqliteProcess } from '../../application/sources/sqlite-process.ts'
import { CodedError } from '../../engine/error.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { applicationHere } from '../application-here.ts'
import { wordsOfRun } from '../recovery/begun-recovery.ts'
import { nameOfService, stateOf } from '../steps/application-steps.ts'
import { openWorkFolder } from '../work-folder.ts'
import { applicationDatabases } from './application-databases.ts'
import { examineDatabase } from './examine-database.ts'
import { lookAtRepository, type RepositoryView } from './look-at-repository.ts'
import type { Situation } from './situation.ts'
import { lastStartInVain, unfinishedRun } from './unfinished-run.ts'

export interface LookOptions {
  readonly config: Config
  readonly configFrom: Situation['config']['from']
  /** Absolute paths of age identity files; gpg finds its keys itself. */
  readonly identities: readonly string[]
  readonly now: Date
  readonly signal: AbortSignal
}

/** With less room than this nothing can be restored, and little be written. */
const FULL_BYTES = 16 * 1024 * 1024
/** A copy of a larger database takes too long for a first look. */
const DATABASE_BYTES = 1024 * 1024 * 1024
/** After this long, what a restart did not help may be another trouble. */
const IN_VAIN_MS = 60 * 60_000
const LOG_LINES = 3
const LOG_LINES_SEARCHED = 100
/** What a program says when it gives up; what follows is mostly where in its code that was. */
const COMPLAINT = /error|exception|fatal|cannot|failed|denied|refused|no such|panic/i
const LOG_LINE_LENGTH = 200

/**
 * Looks at an application that may be in trouble, and at what could help it. Changes nothing. What cannot be looked at is in
 * the answer, not an error: an emergency has several troubles.
 */
export async function look(access: RepositoryAccess, options: LookOptions): Promise<Situation> {
  return new Look(access, options).all()
}

class Look {
  readonly #access: RepositoryAccess
  readonly #options: LookOptions
  readonly #config: Config
  readonly #unseen: string[] = []

  constructor(access: RepositoryAccess, options: LookOptions) {
    this.#access = access
    this.#options = options
    this.#config = options.config
  }

  async all(): Promise<Situation> {
    const { configFrom, signal } = this.#options
    const config = this.#config
    const application = applicationHere(config)
    const isThere = (path: string) =>
      this.#try(path, async () => (await stat(path).catch(ignoreMissing)) !== undefined, true)
    const root = { path: config.root, isThere: await isThere(config.root) }
    const state = application && (await this.#try('the service', () => stateOf(application, signal), undefined))
    const checks = await this.#checks()
    const isWell = checks.every(({ passed }) => passed) && (state === undefined || state === 'running')
    const view = await this.#repository()
    return {
      app: config.app,
      config: { file: config.file, from: configFrom, isThere: await isThere(config.file) },
      root,
      service: application && {
        name: nameOfService(application),
        state,
        ...(isWell ? { said: [], keepsFailing: false } : await this.#log(application, state)),
      },
      checks,
      portTakenBy: isUp(state) || isWell ? undefined : await this.#portUser(application),
      webServer: await this.#webServer(),
      space: await this.#try('the disks', () => this.#space(), []),
      databases: await this.#databases(view),
      repository: { location: this.#access.location, problem: typeof view === 'string' ? view : undefined },
      newest: typeof view === 'string' ? undefined : view.newest,
      proven: typeof view === 'string' ? undefined : view.proven,
      changes: typeof view === 'string' ? undefined : view.changes,
      older: typeof view === 'string' ? undefined : view.older,
      secrets: typeof view === 'string' ? undefined : view.secrets,
      deploy: await this.#try('the last deploy', () => lastDeploy(config.root), undefined),
      unfinished: await this.#unfinished(),
      restartedInVain: await this.#restartedInVain(),
      unseen: this.#unseen,
    }
  }

  async #try<Value>(what: string, look: () => Promise<Value>, otherwise: Value): Promise<Value> {
    try {
      return await look()
    } catch (error) {
      this.#options.signal.throwIfAborted()
      const isOfOutside = error instanceof CodedError || (error as NodeJS.ErrnoException).syscall !== undefined
      if (!isOfOutside) throw error
      this.#unseen.push(`${what}: ${(error as Error).message}`)
      return otherwise
    }
  }

  async #checks(): Promise<Situation['checks']> {
    const { health, metrics } = this.#config.service ?? {}
    return checkApplication({ health, metrics, withinMs: 0, signal: this.#options.signal })
  }

  async #log(
    application: ApplicationService,
    state: ServiceState | undefined,
  ): Promise<{ readonly said: readonly string[]; readonly keepsFailing: boolean }> {
    const read = () => readServiceLog(application, new Map(), this.#options.signal)
    const text = await this.#try('the log', read, '')
    const lines = text
      .split('\n')
      .filter((line) => line.trim() !== '')
      .slice(-LOG_LINES_SEARCHED)
    const complaints = lines.filter((line) => COMPLAINT.test(line))
    const last = (complaints.length > 0 ? complaints : lines).slice(-LOG_LINES)
    return {
      said: last.map((line) => line.slice(0, LOG_LINE_LENGTH)),
      keepsFailing: state === 'failed' || (state === 'changing' && complaints.length > 0),
    }
  }

  /** Of a command nobody can tell whose process it is. */
  async #portUser(application: ApplicationService | undefined): Promise<Situation['portTakenBy']> {
    const health = this.#config.service?.health
    if (health === undefined || application === undefined || application.manager === 'command' || !isHere(health)) {
      return undefined
    }
    const { port, protocol } = new URL(health)
    const number = Number(port || (protocol === 'https:' ? 443 : 80))
    const user = await this.#try('who has the port', () => portUser(number), undefined)
    return user === undefined || user.command === 'nginx' ? undefined : { port: number, ...user }
  }

  async #webServer(): Promise<Situation['webServer']> {
    const { signal } = this.#options
    if (!this.#config.components.some(({ kind }) => kind === 'nginx')) return undefined
    return this.#try(
      'nginx',
      async () => {
        const isRunning = await isWebServerRunning(signal)
        // What is not run by systemd here is nobody's to judge.
        if (isRunning === undefined) return undefined
        const problem = await testWebServer(signal).then(
          () => undefined,
          (error: CodedError) => {
            if (error.code !== 'SERVICE') throw error
            return String(error.facts.said ?? error.message)
          },
        )
        return { isRunning, problem }
      },
      undefined,
    )
  }

  async #space(): Promise<Situation['space']> {
    const { root, components, stateDirectory, workDirectory, log } = this.#config
    const wanted = [root, ...components.flatMap(({ paths }) => paths.filter(posix.isAbsolute)), stateDirectory]
    const found = new Map<number, Situation['space'][number]>()
    for (const path of [...wanted, workDirectory, posix.dirname(log)]) {
      const folder = await existing(path)
      const { dev } = await lstat(folder)
      if (found.has(dev)) continue
      const { bavail, blocks, bsize, files, ffree } = await statfs(folder)
      if (blocks === 0) continue // one that does not count
      const free = bavail * bsize
      const isFull = free < FULL_BYTES || (files > 0 && ffree < 16)
      found.set(dev, { path: folder, free, total: blocks * bsize, isFull })
    }
    return [...found.values()]
  }

  /** Through private copies. A large one is left to `rescue database`. */
  async #databases(view: RepositoryView | string): Promise<Situation['databases']> {
    const { signal } = this.#options
    const stored = typeof view === 'string' ? [] : view.databases
    const looked: Situation['databases'][number][] = []
    await this.#try(
      'the databases',
      async () => {
        const paths = await applicationDatabases(this.#config, stored, signal)
        if (paths.length === 0) return
        await using work = await openWorkFolder(this.#config.workDirectory, 'rescue')
        await using sqlite = openSqliteProcess()
        for (const path of paths) {
          const size = (await stat(path).catch(ignoreMissing))?.size ?? 0
          const { bavail, bsize } = await statfs(work.path)
          if (size > DATABASE_BYTES || size * 2 > bavail * bsize) {
            this.#unseen.push(`${path}: too large for a first look; \`rescue database ${path} --dry-run\` looks`)
            continue
          }
          const examine = () => examineDatabase(path, { folder: work.path, sqlite, signal })
          const examined = await this.#try(path, examine, undefined)
          if (examined !== undefined) looked.push({ path, trouble: examined.trouble, seen: examined.seen })
        }
      },
      undefined,
    )
    return looked
  }

  /** Or why it cannot be asked. */
  async #repository(): Promise<RepositoryView | string> {
    const { config, identities, signal } = this.#options
    try {
      return await withRepository(this.#access, { lock: 'none', signal }, (repository) =>
        lookAtRepository(repository, { config, identities, unseen: (line) => this.#unseen.push(line), signal }),
      )
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      return error.message
    }
  }

  async #unfinished(): Promise<Situation['unfinished']> {
    return this.#try('what was begun', () => this.#lookForUnfinished(), undefined)
  }

  async #lookForUnfinished(): Promise<Situation['unfinished']> {
    const record = await unfinishedRun(this.#config)
    if (record === undefined) return undefined
    const { operation, begun, steps, state } = record
    const failed = state === 'running' ? steps.find((step) => step.state === 'failed')?.title : undefined
    const { repository } = record.surroundings
    const isElsewhere = typeof repository === 'string' && repository !== this.#access.location
    return {
      operation,
      begun,
      failed,
      isGoingBack: state === 'undoing',
      words: wordsOfRun(record),
      elsewhere: isElsewhere ? repository : undefined,
    }
  }

  async #restartedInVain(): Promise<Situation['restartedInVain']> {
    const last = await this.#try('the last restart', () => lastStartInVain(this.#config), undefined)
    if (last === undefined || this.#options.now.getTime() - new Date(last.at).getTime() > IN_VAIN_MS) return undefined
    return last
  }
}

function isUp(state: NonNullable<Situation['service']>['state']): boolean {
  return state === 'running' || state === 'changing'
}

/** The path, or the innermost folder on the way to it that is there. */
async function existing(path: string): Promise<string> {
  return (await lstat(path).catch(ignoreMissing)) === undefined ? existing(posix.dirname(path)) : path
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
  throw error
}
