import { createHash } from 'node:crypto'
import { lstat } from 'node:fs/promises'
import type { Config } from '../../application/config/config.ts'
import { ApplicationError } from '../../application/error.ts'
import type { Finding } from '../../application/finding.ts'
import { prepareSealers, type Sealer } from '../../application/sources/seal.ts'
import { digestSecrets, loadSealDigestKey, secretsArchive } from '../../application/sources/secrets.ts'
import type { ContentStore, StoredContent } from '../../engine/archiver/store-content.ts'
import { CodedError } from '../../engine/error.ts'
import { type Manifest, SECRETS } from '../manifest.ts'

export interface SecretFile {
  readonly path: Buffer
  readonly component: string
}

export interface SealedArchive extends StoredContent {
  /** Its name in `/.holdfast`. */
  readonly name: string
  readonly sha256: string
}

/** What the secrets of one component come to, for its line in the manifest. */
export interface SealedAmount {
  readonly files: number
  readonly bytes: number
}

export interface SealResult {
  readonly archives: readonly SealedArchive[]
  readonly manifest: Manifest['secrets']
  /** By component; only what was sealed. */
  readonly amounts: ReadonlyMap<string, SealedAmount>
  readonly findings: readonly Finding[]
}

export interface PreviousSeal {
  readonly manifest: NonNullable<Manifest['secrets']>
  /** What the previous snapshot holds, by name; absent archives are not in it. */
  readonly archives: ReadonlyMap<string, SealedArchive>
}

export interface SealOptions {
  readonly config: Pick<Config, 'seal' | 'stateDirectory'>
  readonly store: ContentStore
  readonly previous: PreviousSeal | undefined
  readonly signal: AbortSignal
}

/** A large secret that shrinks while it is sealed spoils the archive; the second time it has its new size. */
const ATTEMPTS = 2

/**
 * Seals all secrets of a snapshot into one archive for each kind of recipient. Without a usable key for every recipient
 * nothing is sealed: those files stay out and the findings say so, as they do of single files that cannot be read. An
 * unchanged set for the same recipients is not sealed again, for a new seal has new bytes: the previous archive is kept
 * and deduplicates.
 *
 * Rejects only when interrupted, or when the repository cannot take what is sealed.
 */
export async function sealSecrets(files: readonly SecretFile[], options: SealOptions): Promise<SealResult> {
  if (files.length === 0) return nothingSealed([])
  const { config, signal } = options
  const sealers = await usableSealers(files, config, signal)
  if ('findings' in sealers) return nothingSealed(sealers.findings)
  return new Sealing(files, sealers, options).run()
}

function nothingSealed(findings: readonly Finding[]): SealResult {
  return { archives: [], manifest: undefined, amounts: new Map(), findings }
}

class Sealing {
  readonly #files: readonly SecretFile[]
  readonly #paths: readonly Buffer[]
  readonly #sealers: readonly Sealer[]
  readonly #recipients: readonly string[]
  readonly #options: SealOptions
  readonly #findings: Finding[] = []

  constructor(files: readonly SecretFile[], sealers: readonly Sealer[], options: SealOptions) {
    this.#files = files
    this.#paths = files.map(({ path }) => path)
    this.#sealers = sealers
    this.#recipients = sealers.flatMap(({ recipients }) => recipients)
    this.#options = options
  }

  async run(): Promise<SealResult> {
    const { previous } = this.#options
    const names = this.#sealers.map(({ extension }) => `${SECRETS}.${extension}`)
    const before = await this.#digest()
    const same = before.digest !== '' && before.digest === previous?.manifest.digest
    const kept = same ? names.flatMap((name) => previous.archives.get(name) ?? []) : []
    if (kept.length === names.length) return this.#result(kept, before.digest, before.missing)
    const missing = new Set<string>()
    const archives: SealedArchive[] = []
    for (const [i, sealer] of this.#sealers.entries()) {
      const sealed = await this.#seal(names[i]!, sealer)
      if ('error' in sealed)
        return nothingSealed(notSealed(this.#files, sealed.error.message, sealed.error.hint).findings)
      archives.push(sealed.archive)
      for (const path of sealed.missing) missing.add(path)
    }
    // A secret that changed between digest and seal must not be taken for the sealed one next time.
    const after = await this.#digest()
    return this.#result(archives, after.digest === before.digest ? before.digest : '', missing)
  }

  /** An empty digest is equal to none: then everything is sealed anew. */
  async #digest(): Promise<{ readonly digest: string; readonly missing: ReadonlySet<string> }> {
    const { config, signal } = this.#options
    const missing = new Set<string>()
    try {
      const key = await loadSealDigestKey(config.stateDirectory)
      const digest = await digestSecrets(this.#paths, key, this.#recipients, signal, this.#report(missing))
      return { digest, missing }
    } catch (error) {
      signal.throwIfAborted()
      const { message } = failureOfTheOutside(error)
      this.#find({
        severity: 'warning',
        code: 'secrets-not-compared',
        message: `Cannot tell whether the secrets changed, they are sealed anew: ${message}`,
        hint: `Nothing is missing; see that ${config.stateDirectory} can be written to, or every backup stores them again`,
      })
      return { digest: '', missing }
    }
  }

  async #seal(name: string, sealer: Sealer) {
    const { signal, store } = this.#options
    for (let attempt = 1; ; attempt++) {
      const missing = new Set<string>()
      const sha256 = createHash('sha256')
      const plaintext = secretsArchive(this.#paths, signal, this.#report(missing))
      try {
        const sealed = sealer.seal(plaintext, signal)
        const stored = await storeStream(store, sealed, (bytes) => sha256.update(bytes))
        return { archive: { name, ...stored, sha256: sha256.digest('hex') }, missing }
      } catch (error) {
        signal.throwIfAborted()
        // The repository's failures end the backup; those of sealing keep the secrets out.
        if (!(error instanceof ApplicationError)) throw error
        if (error.code !== 'SOURCE' || attempt === ATTEMPTS) return { error }
      }
    }
  }

  #report(missing: Set<string>): (finding: Finding) => void {
    return (finding) => {
      const of = this.#files.find(({ path }) => path.toString() === finding.path)
      if (finding.code === 'secret-not-sealed' && finding.path !== undefined) missing.add(finding.path)
      const hint = 'Run the backup as a user who may read it, or exclude it'
      this.#find({ hint, ...finding, ...(of === undefined ? {} : { component: of.component }) })
    }
  }

  /** The same files are read several times, and the same is wrong with them. */
  #find(finding: Finding): void {
    if (this.#findings.some(({ code, path }) => code === finding.code && path === finding.path)) return
    this.#findings.push(finding)
  }

  async #result(archives: readonly SealedArchive[], digest: string, missing: ReadonlySet<string>): Promise<SealResult> {
    const sealed = this.#files.filter(({ path }) => !missing.has(path.toString()))
    const files = sealed.map(({ path, component }) => ({ path: path.toString(), component }))
    return {
      archives,
      manifest: { archives: archives.map(({ name }) => name), recipients: [...this.#recipients], digest, files },
      amounts: await amountsOf(sealed),
      findings: this.#findings,
    }
  }
}

async function amountsOf(files: readonly SecretFile[]): Promise<ReadonlyMap<string, SealedAmount>> {
  const amounts = new Map<string, SealedAmount>()
  for (const { path, component } of files) {
    const stats = await lstat(path).catch((error: unknown) => {
      failureOfTheOutside(error)
      return undefined // removed since it was sealed
    })
    if (stats?.isDirectory()) continue
    const { files, bytes } = amounts.get(component) ?? { files: 0, bytes: 0 }
    amounts.set(component, { files: files + 1, bytes: bytes + (stats?.isFile() ? stats.size : 0) })
  }
  return amounts
}

/** Ours, or the system's; anything else is a defect and thrown on. */
function failureOfTheOutside(error: unknown): Error {
  if (error instanceof CodedError || typeof (error as NodeJS.ErrnoException).errno === 'number') return error as Error
  throw error
}

/** The sealers for the recipients of a config, or why the files cannot be sealed: a finding for each of them. */
export async function usableSealers(
  files: readonly SecretFile[],
  config: Pick<Config, 'seal'>,
  signal: AbortSignal,
): Promise<readonly Sealer[] | { readonly findings: readonly Finding[] }> {
  if (config.seal.length === 0) {
    return notSealed(
      files,
      'no recipient is configured to seal them for',
      'Name one in the config file, for example `seal: [gpg:admin@example.com]`, then run the backup again',
    )
  }
  try {
    return await prepareSealers(config.seal, { signal })
  } catch (error) {
    if (!(error instanceof CodedError) || error.code === 'INTERRUPTED') throw error
    return notSealed(files, error.message, error.hint)
  }
}

/**
 * Stores a stream as the content of a file. The stream is released however that ends: a program behind it would otherwise
 * wait for ever to be read.
 */
export async function storeStream(
  store: ContentStore,
  stream: AsyncIterable<Buffer>,
  onBytes?: (bytes: Buffer) => void,
): Promise<StoredContent> {
  const iterator = stream[Symbol.asyncIterator]()
  let piece: Buffer = Buffer.alloc(0)
  try {
    return await store.store(async (into) => {
      while (piece.length === 0) {
        const next = await iterator.next()
        if (next.done) return 0
        piece = next.value
      }
      const count = piece.copy(into)
      onBytes?.(piece.subarray(0, count))
      piece = piece.subarray(count)
      return count
    })
  } finally {
    await iterator.return?.()
  }
}

function notSealed(
  files: readonly SecretFile[],
  why: string,
  hint: string | undefined,
): { readonly findings: readonly Finding[] } {
  const findings = files.map(
    ({ path, component }): Finding => ({
      severity: 'error',
      code: 'secret-not-sealed',
      component,
      path: path.toString(),
      message: `${path} is secret and not in the snapshot: ${why}`,
      ...(hint === undefined ? {} : { hint }),
    }),
  )
  return { findings }
}
