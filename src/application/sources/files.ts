import { lstat, realpath, rm, stat } from 'node:fs/promises'
import { ApplicationError } from '../error.ts'
import type { Finding } from '../finding.ts'
import type { Capture, DatabaseRecord, Substitute } from './capture.ts'
import { provesUnchanged, readDatabaseState } from './database-state.ts'
import { makePrivateFolder } from './private-folder.ts'
import { captureDatabase, type DatabaseCapture } from './sqlite.ts'
import { SIDECAR_SUFFIXES } from './sqlite-header.ts'
import { openSqliteProcess, type SqliteProcess } from './sqlite-process.ts'
import { type Survey, surveyFiles } from './survey.ts'

export interface FilesComponent {
  readonly name: string
  /** Of kind `sqlite` every path is a database, and it is an error when it is none. */
  readonly kind: string
  /** Absolute, normalised. */
  readonly paths: readonly string[]
}

export interface CaptureFilesOptions {
  /** What stays out, as for the archiver: a database in there is not captured, a secret not sealed. */
  readonly excluded: (path: Buffer, isDirectory: boolean) => boolean
  readonly isTaggedCache?: (directory: Buffer) => Promise<boolean>
  /** Whether another component holds this path, so that a link to it leads to nothing that is missing. */
  readonly isCovered?: (path: Buffer) => boolean
  /** Where databases are copied to. */
  readonly workDirectory: string
  /** What the previous snapshot holds: these need not be copied again when they are unchanged. */
  readonly previousDatabases: readonly DatabaseRecord[]
  readonly signal?: AbortSignal | undefined
  /** How long an application may keep a database locked. */
  readonly patienceMs?: number
}

/**
 * Captures files and folders: databases as consistent copies, secrets set aside to be sealed, everything else as it
 * lies there. The copies live until the capture is disposed.
 *
 * Whatever cannot be captured is left out with a finding of severity `error`. Throws `ApplicationError` `SOURCE` when none
 * of the paths exists, and the signal's reason.
 */
export async function captureFiles(component: FilesComponent, options: CaptureFilesOptions): Promise<Capture> {
  const { signal } = options
  signal?.throwIfAborted()
  const capture = new Draft(component.name)
  const { targets, surveys } = await surveyComponent(component, capture, options)

  let folder: string | undefined
  const sqlite = openSqliteProcess()
  try {
    for (const survey of surveys) {
      noteSurvey(survey, targets.surveyed, capture, options)
      for (const path of survey.databases) {
        if (capture.substitutes.has(key(path))) continue // listed twice by overlapping paths
        folder ??= await makePrivateFolder(options.workDirectory, 'capture')
        await captureOne(path, folder, sqlite, capture, options)
      }
    }
    if (component.kind === 'sqlite') expectDatabases(targets.surveyed, surveys, capture)
  } catch (error) {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
    throw error
  } finally {
    await sqlite[Symbol.asyncDispose]()
  }

  return {
    targets: targets.stored,
    substitutes: capture.substitutes,
    secrets: [...capture.secrets.values()],
    databases: capture.databases,
    findings: capture.findings,
    async [Symbol.asyncDispose]() {
      if (folder !== undefined) await rm(folder, { recursive: true, force: true })
    },
  }
}

/** What a capture of files would find, with every database named instead of copied. */
export interface FilesPlan extends Pick<Capture, 'targets' | 'substitutes' | 'secrets' | 'findings'> {
  readonly databases: readonly PlannedDatabase[]
}

export interface PlannedDatabase {
  readonly path: string
  /** With its log: no copy is larger. */
  readonly bytes: number
  readonly change: 'new' | 'changed' | 'unchanged'
}

/** Looks at what `captureFiles` would capture. Opens no database with SQLite, copies nothing and throws as it does. */
export async function planFiles(
  component: FilesComponent,
  options: Omit<CaptureFilesOptions, 'workDirectory' | 'patienceMs'>,
): Promise<FilesPlan> {
  options.signal?.throwIfAborted()
  const plan = new Draft(component.name)
  const { targets, surveys } = await surveyComponent(component, plan, options)
  const databases: PlannedDatabase[] = []
  for (const survey of surveys) {
    noteSurvey(survey, targets.surveyed, plan, options)
    for (const path of survey.databases) {
      if (plan.substitutes.has(key(path))) continue // listed twice by overlapping paths
      for (const suffix of SIDECAR_SUFFIXES) leaveOutSidecar(Buffer.concat([path, Buffer.from(suffix)]), plan)
      plan.substitutes.set(key(path), { kind: 'left-out', reason: 'a database: counted by itself' })
      const database = await lookAtDatabase(path, options.previousDatabases, plan)
      if (database !== undefined) databases.push(database)
    }
  }
  if (component.kind === 'sqlite') expectDatabases(targets.surveyed, surveys, plan)
  return {
    targets: targets.stored,
    substitutes: plan.substitutes,
    secrets: [...plan.secrets.values()],
    findings: plan.findings,
    databases,
  }
}

async function lookAtDatabase(
  path: Buffer,
  previousDatabases: readonly DatabaseRecord[],
  plan: Draft,
): Promise<PlannedDatabase | undefined> {
  try {
    const { bytes, fingerprint } = await readDatabaseState(path)
    const previous = previousDatabases.find((record) => record.path === path.toString())
    const change = previous === undefined ? 'new' : provesUnchanged(previous, fingerprint) ? 'unchanged' : 'changed'
    return { path: path.toString(), bytes, change }
  } catch (error) {
    plan.leaveOut(path, 'database-not-captured', `Cannot read ${path}: ${systemMessage(error)}`)
    return undefined
  }
}

/** The paths of a component, and what lies there. What cannot be read is noted in the draft. */
async function surveyComponent(
  component: FilesComponent,
  capture: Draft,
  options: Pick<CaptureFilesOptions, 'excluded' | 'isTaggedCache' | 'signal'>,
) {
  const { signal } = options
  const targets = await resolveTargets(component, capture)
  const surveys: Survey[] = []
  for (const target of targets.surveyed) {
    try {
      surveys.push(await surveyFiles(target, options))
    } catch (error) {
      signal?.throwIfAborted()
      capture.leaveOut(target, 'unreadable', `Cannot read ${target}: ${systemMessage(error)}`)
    }
  }
  return { targets, surveys }
}

/** All of a survey but its databases. */
function noteSurvey(
  survey: Survey,
  surveyed: readonly Buffer[],
  capture: Draft,
  options: Pick<CaptureFilesOptions, 'isCovered'>,
): void {
  noteUnreadable(survey, capture)
  noteLinks(survey, surveyed, capture, options)
  for (const path of survey.secrets) {
    capture.secrets.set(key(path), path)
    capture.substitutes.set(key(path), { kind: 'left-out', reason: 'looks like a secret: sealed instead' })
  }
  for (const path of survey.databaseSidecars) leaveOutSidecar(path, capture)
}

class Draft {
  readonly substitutes = new Map<string, Substitute>()
  readonly secrets = new Map<string, Buffer>()
  readonly databases: DatabaseRecord[] = []
  readonly findings: Finding[] = []
  readonly #component: string

  constructor(component: string) {
    this.#component = component
  }

  report(finding: Omit<Finding, 'component'>): void {
    this.findings.push({ ...finding, component: this.#component })
  }

  leaveOut(path: Buffer, code: string, message: string, hint?: string): void {
    this.substitutes.set(key(path), { kind: 'left-out', reason: message })
    this.report({ severity: 'error', code, message, path: path.toString(), ...(hint === undefined ? {} : { hint }) })
  }
}

/**
 * What is stored, and what of it is looked through. A path of the config that is a symbolic link stands for what it
 * leads to: both are stored, since a snapshot of the link alone would hold nothing.
 */
async function resolveTargets(
  component: FilesComponent,
  capture: Draft,
): Promise<{ stored: Buffer[]; surveyed: Buffer[] }> {
  const stored = new Map<string, Buffer>()
  const surveyed = new Map<string, Buffer>()
  const missing: string[] = []
  for (const text of component.paths) {
    const path = Buffer.from(text)
    try {
      const isLink = (await lstat(path)).isSymbolicLink()
      const real = isLink ? await realpath(path, { encoding: 'buffer' }) : path
      await stat(real)
      stored.set(key(path), path)
      stored.set(key(real), real)
      surveyed.set(key(real), real)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT' || code === 'ENOTDIR') {
        missing.push(text)
      } else {
        capture.leaveOut(path, 'unreadable', `Cannot read ${text}: ${systemMessage(error)}`)
      }
    }
  }
  if (missing.length === component.paths.length) {
    throw new ApplicationError('SOURCE', `Cannot capture ${component.name}: found nothing at ${missing.join(', ')}`, {
      facts: { component: component.name, paths: missing },
      hint: 'Correct the paths of the component, or remove it from the config file',
    })
  }
  for (const path of missing) {
    capture.report({
      severity: 'error',
      code: 'missing',
      message: `Cannot capture ${path}: found nothing there`,
      path,
      hint: 'Correct the path in the config file, or remove it',
    })
  }
  const outermost = (paths: Map<string, Buffer>): Buffer[] =>
    [...paths.values()].filter((path) => ![...paths.values()].some((other) => isBelow(path, other)))
  return { stored: outermost(stored), surveyed: outermost(surveyed) }
}

async function captureOne(
  path: Buffer,
  folder: string,
  sqlite: SqliteProcess,
  capture: Draft,
  options: CaptureFilesOptions,
): Promise<void> {
  const { signal, patienceMs } = options
  // Also those that are not there now: a `-journal` that appears until the archiver comes by, restored beside the copy,
  // would be rolled back into it.
  for (const suffix of SIDECAR_SUFFIXES) leaveOutSidecar(Buffer.concat([path, Buffer.from(suffix)]), capture)
  let result: DatabaseCapture
  try {
    const previous = options.previousDatabases.find((record) => record.path === path.toString())
    result = await captureDatabase(path, {
      workDirectory: folder,
      previous,
      sqlite,
      signal,
      ...(patienceMs === undefined ? {} : { patienceMs }),
    })
  } catch (error) {
    if (!(error instanceof ApplicationError)) throw error
    noteFailure(path, error, capture)
    return
  }
  capture.databases.push(result.record)
  for (const finding of result.findings) capture.report(finding)
  switch (result.kind) {
    case 'copied':
      capture.substitutes.set(key(path), { kind: 'copy', copy: result.copy })
      break
    case 'unchanged':
      capture.substitutes.set(key(path), { kind: 'unchanged' })
      break
    case 'corrupt':
      for (const { path: live, copy, storedAs } of result.rawCopies) {
        capture.substitutes.set(key(live), { kind: 'copy', copy, storedAs })
      }
  }
}

function noteFailure(path: Buffer, error: ApplicationError, capture: Draft): void {
  if (error.facts.reason === 'vanished') {
    capture.substitutes.set(key(path), { kind: 'left-out', reason: 'deleted while it was captured' })
    capture.report({
      severity: 'note',
      code: 'vanished',
      message: `${path} was deleted during the backup`,
      path: path.toString(),
    })
    return
  }
  const code = error.code === 'DATABASE_IN_USE' ? 'database-in-use' : 'database-not-captured'
  capture.leaveOut(path, code, error.message, error.hint)
}

function leaveOutSidecar(path: Buffer, capture: Draft): void {
  capture.substitutes.set(key(path), { kind: 'left-out', reason: 'part of a database: its content is in the copy' })
}

function noteUnreadable(survey: Survey, capture: Draft): void {
  for (const { path, reason } of survey.unreadable) {
    const hint = reason === 'permission denied' ? 'Run the backup as root, or exclude it' : undefined
    capture.leaveOut(path, 'unreadable', `Cannot read ${path}: ${reason}`, hint)
  }
  for (const path of survey.opaqueDatabases) {
    capture.report({
      severity: 'error',
      code: 'database-opaque',
      message: `${path} is stored as it lies there and may be torn: found a database log beside it, but no SQLite header`,
      path: path.toString(),
      hint: 'If it is an encrypted database, exclude it and let the application write a copy into a folder of the component',
    })
  }
}

function noteLinks(
  survey: Survey,
  targets: readonly Buffer[],
  capture: Draft,
  options: Pick<CaptureFilesOptions, 'isCovered'>,
): void {
  for (const { path, target, to } of survey.links) {
    if (targets.some((other) => other.equals(target) || isBelow(target, other)) || options.isCovered?.(target)) continue
    capture.report({
      severity: 'warning',
      code: 'linked-outside',
      message: `${path} is stored as a symbolic link: the ${to} that it leads to, ${target}, is not in this component`,
      path: path.toString(),
      hint: `Add ${target} to the paths of a component`,
    })
  }
}

function expectDatabases(targets: readonly Buffer[], surveys: readonly Survey[], capture: Draft): void {
  for (const target of targets) {
    const found = surveys.some(({ databases }) =>
      databases.some((path) => path.equals(target) || isBelow(path, target)),
    )
    if (found || capture.substitutes.has(key(target))) continue
    capture.leaveOut(
      target,
      'database-not-captured',
      `Cannot capture ${target}: found no SQLite database there`,
      'If it is encrypted, let the application write a copy and back that up',
    )
  }
}

function isBelow(path: Buffer, folder: Buffer): boolean {
  return path.length > folder.length && path[folder.length] === 0x2f && path.subarray(0, folder.length).equals(folder)
}

function key(path: Buffer): string {
  return path.toString('latin1')
}

/** Errors of the system become findings; anything else is a defect and goes on. */
function systemMessage(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === undefined || !/^E[A-Z0-9]+$/.test(code)) throw error
  return message
}
