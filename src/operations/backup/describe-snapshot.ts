import { hostname } from 'node:os'
import type { Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import { type Signer, signerFor } from '../../application/sources/signature.ts'
import type { ArchiveResult } from '../../engine/archiver/archive.ts'
import type { BlobSink } from '../../engine/archiver/blob-sink.ts'
import type { ContentStore } from '../../engine/archiver/store-content.ts'
import { virtualFile, virtualFolder } from '../../engine/archiver/virtual-file.ts'
import { CodedError } from '../../engine/error.ts'
import { type BlobId, hashId } from '../../engine/format/id.ts'
import type { Timestamp } from '../../engine/format/timestamp.ts'
import { encodeTree } from '../../engine/format/tree.ts'
import type { TreeNode } from '../../engine/format/tree-node.ts'
import { currentUser } from '../../engine/os/current-user.ts'
import { OperationError } from '../error.ts'
import { JOURNAL } from '../journal/journal-of.ts'
import {
  CONFIG,
  encodeManifest,
  MANIFEST,
  MANIFEST_SIGNATURE,
  type Manifest,
  type ManifestComponent,
  SELF,
} from '../manifest.ts'
import { VERSION } from '../version.ts'
import type { ComponentCapture } from './capture-components.ts'
import { type JournalCopy, storePages } from './journal-copy.ts'
import { type SealedArchive, type SealResult, storeStream } from './seal-secrets.ts'

/** What a backup has stored by the time it describes itself. */
export interface StoredParts {
  readonly config: Config
  readonly time: Timestamp
  readonly reason: string | undefined
  /** Names of the components, when only some were asked for. */
  readonly only: readonly string[] | undefined
  readonly captures: readonly ComponentCapture[]
  readonly archived: ArchiveResult
  readonly seals: SealResult
  /** A copy of the journal; undefined when there is none to be had. */
  readonly journal: JournalCopy | undefined
  /** All findings until now. */
  readonly findings: readonly Finding[]
  /** Where and by whom the backup was made, if not here and by us. */
  readonly host?: string
  readonly user?: string | undefined
}

export interface DescribeOptions {
  readonly sink: BlobSink
  readonly store: ContentStore
  readonly onFinding: (finding: Finding) => void
  readonly signal: AbortSignal
}

/**
 * Stores `/.holdfast` (config, seals, manifest and its signature) and the root tree that holds it. Where the manifest cannot
 * be signed the finding says so, and the snapshot is as good without.
 */
export async function describeSnapshot(
  parts: StoredParts,
  { sink, store, onFinding, signal }: DescribeOptions,
): Promise<{ readonly tree: BlobId; readonly manifest: Manifest }> {
  const { config, archived, seals, time } = parts
  if (archived.nodes.some(({ name }) => name.toString() === SELF)) {
    throw new OperationError('USAGE', `Cannot back up /${SELF}: snapshots keep their own description under this name`, {
      facts: { path: `/${SELF}` },
    })
  }
  const findings = [...parts.findings]
  const notSigned = (error: unknown) => {
    signal.throwIfAborted()
    const finding = signatureFinding(config, error)
    findings.push(finding)
    onFinding(finding)
    return undefined
  }
  // The key is looked for first, so that a manifest without a signature says why.
  const signer = config.sign === undefined ? undefined : await signerFor(config.sign, { signal }).catch(notSigned)

  const { id: outerTree } = await sink.save('tree', encodeTree(archived.nodes))
  const files = new Map<string, SealedArchive>()
  const add = async (name: string, bytes: Buffer) => {
    const stored = await storeStream(store, only(bytes))
    files.set(name, { name, ...stored, sha256: hashId(bytes) })
  }
  await add(CONFIG, Buffer.from(config.text))
  for (const archive of seals.archives) files.set(archive.name, archive)
  if (parts.journal !== undefined) {
    const stored = await storePages(sink, parts.journal.bytes)
    files.set(JOURNAL, { name: JOURNAL, ...stored, sha256: hashId(parts.journal.bytes) })
  }
  const manifest = manifestOf(parts, outerTree, files, findings)
  const encoded = encodeManifest(manifest)
  await add(MANIFEST, encoded)
  const signature = await sign(signer, encoded, signal).catch(notSigned)
  if (signature) await add(MANIFEST_SIGNATURE, signature)

  const nodes = [...files.values()].map((file) => virtualFile(file.name, time, file)).sort(byName)
  const { id: self } = await sink.save('tree', encodeTree(nodes))
  const root = [...archived.nodes, virtualFolder(SELF, time, self)].sort(byName)
  const { id: tree } = await sink.save('tree', encodeTree(root))
  return { tree, manifest }
}

async function sign(signer: Signer | undefined, bytes: Buffer, signal: AbortSignal): Promise<Buffer | undefined> {
  return signer?.sign(bytes, signal)
}

function signatureFinding({ sign }: Config, error: unknown): Finding {
  if (!(error instanceof CodedError)) throw error
  return {
    severity: 'error',
    code: 'manifest-not-signed',
    message: `The manifest is not signed with ${sign}: ${error.message}`,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  }
}

function manifestOf(
  { config, time, reason, only, captures, archived, seals, journal, host, user }: StoredParts,
  tree: BlobId,
  files: ReadonlyMap<string, SealedArchive>,
  findings: readonly Finding[],
): Manifest {
  const { username, uid } = currentUser()
  const sudoUser = process.env.SUDO_USER
  return {
    format: 1,
    app: config.app,
    configFile: config.file,
    environment: config.environment,
    host: host ?? hostname(),
    time: new Date(Number(time.ns / 1_000_000n)).toISOString(),
    who: { user: user ?? username, uid, ...(sudoUser === undefined ? {} : { sudoUser }) },
    ...(reason === undefined ? {} : { reason }),
    versions: { holdfast: VERSION, node: process.versions.node, sqlite: process.versions.sqlite ?? '' },
    ...(only === undefined ? {} : { only: [...only] }),
    tree,
    self: Object.fromEntries([...files.values()].map(({ name, sha256, size }) => [name, { sha256, bytes: size }])),
    components: captures.map((captured) => describeComponent(captured, archived, seals, findings)),
    databases: captures.flatMap(({ capture }) => [...capture.databases]),
    ...(seals.manifest === undefined ? {} : { secrets: seals.manifest }),
    ...(journal === undefined ? {} : { proofs: [...journal.proofs] }),
    findings: findings.map((finding) => ({ ...finding })),
    outcome: findings.some(isError) ? 'incomplete' : 'succeeded',
  }
}

function describeComponent(
  { component, capture }: ComponentCapture,
  archived: ArchiveResult,
  seals: SealResult,
  findings: readonly Finding[],
): ManifestComponent {
  const own = new Set(capture.targets.map((target) => target.toString('latin1')))
  const paths = archived.targets
    .filter(({ path }) => own.has(path.toString('latin1')))
    .map(({ path, node, files, bytes }) => {
      const tree = treeOf(node)
      return { path: path.toString(), ...(tree === undefined ? {} : { tree }), files, bytes }
    })
  const sealed = seals.amounts.get(component.name) ?? { files: 0, bytes: 0 }
  const failed = findings.some((finding) => isError(finding) && finding.component === component.name)
  return {
    name: component.name,
    kind: component.kind,
    configured: [...component.paths],
    paths,
    files: paths.reduce((sum, { files }) => sum + files, sealed.files),
    bytes: paths.reduce((sum, { bytes }) => sum + bytes, sealed.bytes),
    ...(capture.needs === undefined ? {} : { needs: [...capture.needs] }),
    outcome: failed ? 'incomplete' : 'succeeded',
  }
}

function treeOf(node: TreeNode | undefined): string | undefined {
  if (!node) return undefined
  return node.subtree ?? (node.content ? hashId<BlobId>(Buffer.from(node.content.join(''))) : undefined)
}

function isError({ severity }: Finding): boolean {
  return severity === 'error'
}

function byName(a: { readonly name: Buffer }, b: { readonly name: Buffer }): number {
  return Buffer.compare(a.name, b.name)
}

async function* only(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}
