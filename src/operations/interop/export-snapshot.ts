import { createHash, randomBytes } from 'node:crypto'
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import { signerFor } from '../../application/sources/signature.ts'
import { CodedError } from '../../engine/error.ts'
import { synchronizeFolder } from '../../engine/os/write-file-durably.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { OperationError } from '../error.ts'
import type { Observer, Outcome } from '../event.ts'
import { countFindings, gapsIn } from '../restore/restore-to-target.ts'
import { type ChosenSnapshot, chooseSnapshot, type SnapshotChoice } from '../restore/snapshot-choice.ts'
import { runOperation } from '../run-operation.ts'
import { findNode, readContent } from '../snapshot-files.ts'
import { exportNotes, sumsOf, type WrittenFile } from './export-notes.ts'
import { type ExportedFile, type ExportPlan, planExport } from './export-plan.ts'
import { treeArchive } from './tree-archive.ts'

export interface ExportOptions {
  readonly choice: SnapshotChoice
  readonly directory: string
  /** Put the export in the place of an earlier one. */
  readonly replace?: boolean
  /** Says who signs, `gpg:KEY` or `ssh:PATH`. */
  readonly config?: Pick<Config, 'sign'> | undefined
  readonly observe: Observer
  readonly signal: AbortSignal
}

export interface ExportReport {
  readonly outcome: Extract<Outcome, 'succeeded' | 'incomplete'>
  readonly snapshot: string
  readonly directory: string
  readonly files: readonly WrittenFile[]
  readonly bytes: number
  /** Whose signature SHA256SUMS has. */
  readonly signedBy: string | undefined
  readonly findings: readonly Finding[]
}

/**
 * Writes a snapshot into a folder as the hand-made procedure lays it out, for tar, gpg and sha256sum alone: see `planExport`.
 * Folder 0700, files 0600. The folder gets its name when all of it is on the disk, and nothing is left of one that failed.
 * One that is there is refused with `EXISTS`, unless it is empty, or an earlier export and `replace` says so.
 */
export async function exportSnapshot(access: RepositoryAccess, options: ExportOptions): Promise<ExportReport> {
  const { observe, signal } = options
  return runOperation(
    { operation: 'export', subject: options.directory, observe, signal },
    () =>
      withRepository(access, { lock: 'shared', signal }, async (plain, lockSignal) => {
        const inner = { ...options, signal: lockSignal ?? signal }
        return new Export(inner, await chooseSnapshot(plain, options.choice, inner.signal)).run()
      }),
    ({ snapshot, directory, files, bytes, signedBy, findings }) => ({
      snapshot_id: snapshot,
      directory,
      files: files.map(({ name }) => name),
      bytes,
      signed_by: signedBy ?? null,
      ...countFindings(findings),
    }),
  )
}

class Export {
  readonly #options: ExportOptions
  readonly #chosen: ChosenSnapshot
  readonly #findings: Finding[] = []
  readonly #written: WrittenFile[] = []

  constructor(options: ExportOptions, chosen: ChosenSnapshot) {
    this.#options = options
    this.#chosen = chosen
  }

  async run(): Promise<ExportReport> {
    const { signal, replace = false } = this.#options
    const directory = resolve(this.#options.directory)
    const present = await whatIsThere(directory)
    refuseOthers(directory, present, replace)
    const { manifestProblem } = this.#chosen
    if (manifestProblem) throw manifestProblem // says what is where
    for (const gap of gapsIn(this.#chosen, undefined, {})) this.#find(gap)
    const plan = await planExport(this.#chosen, signal)
    // The parents of a folder that is named may be missing; ours is made beside it, on the same file system.
    await mkdir(resolve(directory, '..'), { recursive: true })
    const staging = `${directory}.partial-${randomBytes(4).toString('hex')}`
    await mkdir(staging, { mode: 0o700 })
    let signedBy: string | undefined
    try {
      for (const file of plan.files) await this.#write(staging, file)
      signedBy = await this.#describe(staging, plan)
      await synchronizeFolder(staging)
      signal.throwIfAborted()
      await putInPlace(staging, directory, present)
    } catch (error) {
      await rm(staging, { recursive: true, force: true })
      throw error
    }
    return {
      outcome: this.#findings.some(({ severity }) => severity === 'error') ? 'incomplete' : 'succeeded',
      snapshot: this.#chosen.stored.id,
      directory,
      files: this.#written,
      bytes: this.#written.reduce((sum, { bytes }) => sum + bytes, 0),
      signedBy,
      findings: this.#findings,
    }
  }

  #find(finding: Finding): void {
    this.#findings.push(finding)
    this.#options.observe({ type: 'finding', finding })
  }

  async #write(staging: string, file: ExportedFile): Promise<void> {
    const { signal, observe } = this.#options
    observe({ type: 'phase', phase: 'export', ...(file.component === undefined ? {} : { component: file.component }) })
    if (file.kind === 'archive') {
      const archive = treeArchive(this.#chosen, {
        paths: file.paths,
        base: file.base,
        omitted: file.omitted,
        onFinding: (finding) =>
          this.#find({ ...finding, ...(file.component === undefined ? {} : { component: file.component }) }),
        signal,
      })
      await this.#writeStream(staging, file.name, archive)
      return
    }
    const { repository, stored } = this.#chosen
    const node = await findNode(repository, stored.snapshot.tree, file.path, signal)
    await this.#writeStream(staging, file.name, readContent(repository, node!, signal))
  }

  async #writeStream(staging: string, name: string, content: AsyncIterable<Buffer>): Promise<void> {
    const hash = createHash('sha256')
    let bytes = 0
    await using handle = await open(join(staging, name), 'wx', 0o600)
    for await (const piece of content) {
      this.#options.signal.throwIfAborted()
      hash.update(piece)
      bytes += piece.length
      await handle.writeFile(piece)
    }
    await handle.sync()
    this.#written.push({ name, bytes, sha256: hash.digest('hex') })
  }

  /** MANIFEST.txt, SHA256SUMS, and its signature. */
  async #describe(staging: string, plan: ExportPlan): Promise<string | undefined> {
    const { signal, config } = this.#options
    const { stored, manifest } = this.#chosen
    const signer =
      config?.sign === undefined
        ? undefined
        : await signerFor(config.sign, { signal }).catch((error: unknown) => this.#notSigned(error))
    if (config?.sign === undefined) {
      this.#find({
        severity: 'note',
        code: 'export-unsigned',
        message: 'The checksums are not signed: no key is configured',
        hint: 'Name one with `sign` in the config file',
      })
    }
    const extension = signer && (`SHA256SUMS.${signer.kind === 'gpg' ? 'asc' : 'sig'}` as const)
    const notes = exportNotes(plan, this.#written, {
      manifest,
      time: new Date(Number(stored.snapshot.time.ns / 1_000_000n)),
      host: stored.snapshot.hostname,
      signature: extension,
    })
    await this.#writeStream(staging, 'MANIFEST.txt', only(Buffer.from(notes)))
    const sums = sumsOf(this.#written)
    await this.#writeStream(staging, 'SHA256SUMS', only(sums))
    if (signer === undefined || extension === undefined) return undefined
    const signature = await signer.sign(sums, signal).catch((error: unknown) => this.#notSigned(error))
    if (signature === undefined) return undefined
    await this.#writeStream(staging, extension, only(signature))
    return signer.by
  }

  #notSigned(error: unknown): undefined {
    this.#options.signal.throwIfAborted()
    if (!(error instanceof CodedError)) throw error
    this.#find({
      severity: 'error',
      code: 'export-not-signed',
      message: `The checksums are not signed: ${error.message}`,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    })
  }
}

type Presence = 'nothing' | 'empty' | 'export' | 'other'

async function whatIsThere(directory: string): Promise<Presence> {
  try {
    const names = await readdir(directory)
    if (names.length === 0) return 'empty'
    return names.includes('MANIFEST.txt') && names.includes('SHA256SUMS') ? 'export' : 'other'
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return 'nothing'
    if (code === 'ENOTDIR') return 'other'
    throw error
  }
}

function refuseOthers(directory: string, present: Presence, replace: boolean): void {
  if (present === 'nothing' || present === 'empty' || (present === 'export' && replace)) return
  throw new OperationError('EXISTS', `Cannot export to ${directory}: something is there already`, {
    facts: { directory },
    hint:
      present === 'export'
        ? 'Name another folder, or replace this export with --replace'
        : 'Name a folder that is new or empty',
  })
}

/** An earlier export goes only when the new one is whole. */
async function putInPlace(staging: string, directory: string, present: Presence): Promise<void> {
  const parent = resolve(directory, '..')
  const before = `${staging}.before`
  if (present === 'export') await rename(directory, before)
  try {
    await rename(staging, directory)
  } catch (error) {
    if (present === 'export') await rename(before, directory)
    throw error
  }
  await synchronizeFolder(parent)
  if (present === 'export') await rm(before, { recursive: true, force: true })
}

async function* only(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}
