import { createHash, type Hash } from 'node:crypto'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import { checkSeal } from '../../application/sources/seal.ts'
import { CodedError } from '../../engine/error.ts'
import { checkRepository } from '../../engine/repository/check.ts'
import type { IndexedRepository, Repository } from '../../engine/repository/repository.ts'
import type { StoredSnapshot } from '../../engine/repository/snapshots.ts'
import type { Manifest } from '../manifest.ts'
import { MANIFEST, SECRETS, SELF } from '../manifest.ts'
import { findNode, readContent, readManifest } from '../snapshot-files.ts'

/** The size of a snapshot is compared with the median of as many before it. */
const COMPARED_SNAPSHOTS = 7
/** Share by which it may differ without a warning. */
const TOLERANCE = 0.2
/** Growth by less than a block of the disk is no warning: one line more doubles a small config. A loss is one however small. */
const TOLERATED_GROWTH = 4096

export interface InspectOptions {
  readonly config: Pick<Config, 'unsealIdentities'>
  /** Snapshots of the application before this one, oldest first. */
  readonly older: readonly StoredSnapshot[]
  /** A key was at hand for this sealed archive, and it was read to its end. */
  readonly onSealOpened?: (name: string) => void
  readonly signal: AbortSignal
}

/**
 * Inspects a snapshot as it lies in the repository, with a fresh index: its structure, the captured databases' checks,
 * its seals and its size. Whatever is wrong is a finding.
 */
export async function inspectSnapshot(
  repository: Repository,
  stored: StoredSnapshot,
  options: InspectOptions,
): Promise<Finding[]> {
  const findings: Finding[] = []
  const report = await checkRepository(repository, { snapshots: [stored.id], signal: options.signal })
  for (const { severity, code, message } of report.findings) {
    if (severity !== 'error') continue
    const hint = 'Run `holdfast check --read-data`; the repository needs repair before it can be relied on'
    findings.push({ severity, code, message, hint })
  }
  const indexed = { ...repository, index: report.index }
  const manifest = await readManifest(indexed, stored, options.signal).catch((error: unknown) =>
    damagedManifest(error, findings),
  )
  if (!manifest) return findings
  findings.push(...inspectDatabases(manifest))
  findings.push(...(await inspectSeals(indexed, stored, manifest, options)))
  findings.push(...(await inspectSize(indexed, stored, manifest, options)))
  return findings
}

function damagedManifest(error: unknown, findings: Finding[]): undefined {
  if (!(error instanceof CodedError) || error.code === 'INTERRUPTED') throw error
  findings.push({
    severity: 'error',
    code: 'manifest-damaged',
    path: `/${SELF}/${MANIFEST}`,
    message: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  })
}

/** What `integrity_check` said of the captured copies. The capture keeps corrupt ones apart; here it is held against the manifest. */
function inspectDatabases(manifest: Manifest): Finding[] {
  return manifest.databases
    .filter(
      ({ integrity, path }) =>
        integrity !== 'ok' &&
        !manifest.findings.some((finding) => finding.path === path && finding.severity === 'error'),
    )
    .map(({ path, integrity }) => ({
      severity: 'error',
      code: 'database-corrupt',
      path,
      message: `The captured copy of ${path} fails its integrity check: ${integrity}`,
    }))
}

async function inspectSeals(
  repository: IndexedRepository,
  { snapshot }: StoredSnapshot,
  manifest: Manifest,
  { config, onSealOpened, signal }: InspectOptions,
): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const name of manifest.secrets?.archives ?? []) {
    const path = `/${SELF}/${name}`
    const broken = (message: string, hint?: string) =>
      findings.push({ severity: 'error', code: 'seal-broken', path, message, ...(hint === undefined ? {} : { hint }) })
    try {
      const node = await findNode(repository, snapshot.tree, path, signal)
      if (!node) {
        broken(`The sealed archive ${name} is not in the snapshot, though its manifest names it`)
        continue
      }
      const kind = name === `${SECRETS}.age` ? 'age' : 'gpg'
      const digest = createHash('sha256')
      const content = hashed(readContent(repository, node, signal), digest)
      const { files } = await checkSeal(kind, content, { identities: config.unsealIdentities, signal })
      if (digest.digest('hex') !== manifest.self[name]?.sha256) {
        broken(`The sealed archive ${name} is not the one that the manifest names`)
        continue
      }
      if (files !== undefined) onSealOpened?.(name)
      const base = manifest.secrets?.base ?? '/'
      const sealed = new Set(files?.map((file) => posix.join(base, file)))
      const missing = (manifest.secrets?.files ?? []).filter((file) => !sealed.has(file.path))
      if (files !== undefined && missing.length > 0) {
        broken(
          `The sealed archive ${name} does not hold ${missing.length} of the files that it should: ${missing[0]?.path}`,
        )
      }
    } catch (error) {
      if (!(error instanceof CodedError) || error.code === 'INTERRUPTED') throw error
      if (error.code === 'TOOL_MISSING') findings.push(notInspected(name, path, error))
      else broken(`The sealed archive ${name} cannot be relied on: ${error.message}`, error.hint)
    }
  }
  return findings
}

async function* hashed(content: AsyncIterable<Buffer>, digest: Hash): AsyncGenerator<Buffer> {
  for await (const bytes of content) {
    digest.update(bytes)
    yield bytes
  }
}

/** Nothing is known against the seal, only its program is not here: on another machine it opens. */
function notInspected(name: string, path: string, { message, hint }: CodedError): Finding {
  return {
    severity: 'warning',
    code: 'seal-not-inspected',
    path,
    message: `The sealed archive ${name} is not inspected: ${message}`,
    ...(hint === undefined ? {} : { hint }),
  }
}

/** Holds the size of each component against the median of what it was in the last snapshots of this host. */
async function inspectSize(
  repository: IndexedRepository,
  { snapshot }: StoredSnapshot,
  manifest: Manifest,
  { older, signal }: InspectOptions,
): Promise<Finding[]> {
  const sizes = new Map<string, number[]>()
  const ofThisHost = older.filter(({ snapshot: { hostname } }) => hostname === snapshot.hostname)
  // Twice as many, for some may hold other components only.
  for (const candidate of ofThisHost.slice(-2 * COMPARED_SNAPSHOTS)) {
    for (const { name, bytes } of (await manifestOrNothing(repository, candidate, signal))?.components ?? []) {
      sizes.set(name, [...(sizes.get(name) ?? []), bytes].slice(-COMPARED_SNAPSHOTS))
    }
  }
  return manifest.components.flatMap(({ name, bytes }) => {
    const compared = sizes.get(name) ?? []
    const finding = sizeFinding(bytes, compared)
    return finding ? [{ ...finding, component: name, message: `Component ${name} ${finding.message}` }] : []
  })
}

/** Undefined when the size is usual, or nothing is known to compare it with. */
export function sizeFinding(bytes: number, compared: readonly number[]): Finding | undefined {
  const before = median(compared)
  if (before === undefined || Math.abs(bytes - before) <= before * TOLERANCE) return undefined
  const grew = bytes > before
  if (grew && bytes - before < TOLERATED_GROWTH) return undefined
  const share =
    before === 0 ? 'from nothing' : `${grew ? '+' : '−'}${Math.round((Math.abs(bytes - before) / before) * 100)} %`
  const last = compared.length === 1 ? 'the backup before had' : `the median of the last ${compared.length} backups is`
  return {
    severity: 'warning',
    code: 'size-unusual',
    message: `has ${bytes} bytes, ${last} ${before} (${share})`,
    hint: grew
      ? 'Look what grew; a log or cache may belong into `exclude`'
      : 'Look whether data was lost before older snapshots expire',
  }
}

/** An older manifest that cannot be read is reported where it is asked for; here it is only left out of the comparison. */
async function manifestOrNothing(
  repository: IndexedRepository,
  stored: StoredSnapshot,
  signal: AbortSignal,
): Promise<Manifest | undefined> {
  try {
    return await readManifest(repository, stored, signal)
  } catch (error) {
    if (!(error instanceof CodedError) || error.code === 'INTERRUPTED') throw error
    return undefined
  }
}

export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1
    ? sorted[middle]
    : sorted.length === 0
      ? undefined
      : (sorted[middle - 1]! + sorted[middle]!) / 2
}
