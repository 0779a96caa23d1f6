import { createHash } from 'node:crypto'
import type { Finding } from '../../application/finding.ts'
import { verifySignature } from '../../application/sources/signature.ts'
import { CodedError } from '../../engine/error.ts'
import { hashId } from '../../engine/format/id.ts'
import { encodeTree } from '../../engine/format/tree.ts'
import { readTree } from '../../engine/repository/read-blob.ts'
import { appTag, PARTIAL } from '../app-snapshots.ts'
import { MANIFEST, MANIFEST_LIMIT, MANIFEST_SIGNATURE, type Manifest, SELF } from '../manifest.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { findNode, readContent, readWhole } from '../snapshot-files.ts'

/** `unchecked`: the key that it must be from is not here. */
export type SignatureState = 'valid' | 'invalid' | 'unchecked' | 'none'

const SIGNATURE_LIMIT = 1024 * 1024

type Find = (finding: Finding) => void

/**
 * Holds a snapshot against its own manifest: the tree of files, every other file in `/.holdfast`, and what the snapshot
 * says of itself. Together with the signature that covers every byte, and whom and when it was made for.
 */
export async function verifyManifest(chosen: ChosenSnapshot, find: Find, signal: AbortSignal): Promise<void> {
  const { repository, stored, manifest, manifestProblem } = chosen
  if (manifestProblem) {
    const { message, hint } = manifestProblem
    const path = `/${SELF}/${MANIFEST}`
    find({ severity: 'error', code: 'manifest-damaged', path, message, ...(hint === undefined ? {} : { hint }) })
    return
  }
  if (!manifest) {
    find({
      severity: 'error',
      code: 'manifest-missing',
      path: `/${SELF}/${MANIFEST}`,
      message: `Snapshot ${stored.id.slice(0, 8)} has no manifest`,
      hint: 'It was not made by `holdfast backup` with a config: check it with `holdfast check`',
    })
    return
  }
  const contradicts = (path: string, message: string) =>
    find({
      severity: 'error',
      code: 'manifest-contradicts',
      path,
      message,
      hint: 'Somebody changed the snapshot after it was made: find out who can write to the repository',
    })
  const root = await readTree(repository, stored.snapshot.tree, signal)
  const outer = hashId(encodeTree(root.filter(({ name }) => name.toString() !== SELF)))
  if (outer !== manifest.tree) contradicts('/', 'The manifest names another tree than the snapshot holds')
  for (const what of contradictions(manifest, stored)) {
    contradicts(`/${SELF}/${MANIFEST}`, `The manifest says ${what}`)
  }
  for (const [name, expected] of Object.entries(manifest.self)) {
    const found = await digestOf(chosen, name, signal)
    if (found === expected.sha256) continue
    contradicts(`/${SELF}/${name}`, `The manifest names another ${name} than the snapshot holds`)
  }
  const self = root.find(({ name }) => name.toString() === SELF)
  const known = new Set([...Object.keys(manifest.self), MANIFEST, MANIFEST_SIGNATURE])
  for (const { name } of self?.subtree === undefined ? [] : await readTree(repository, self.subtree, signal)) {
    if (!known.has(name.toString())) contradicts(`/${SELF}/${name}`, `The manifest does not know /${SELF}/${name}`)
  }
}

/** What is written in the snapshot file itself, which no hash in the manifest covers. */
function contradictions(manifest: Manifest, { snapshot }: ChosenSnapshot['stored']): string[] {
  const time = new Date(Number(snapshot.time.ns / 1_000_000n)).toISOString()
  const partial = snapshot.tags.includes(PARTIAL)
  return [
    ...(snapshot.tags.includes(appTag(manifest.app))
      ? []
      : [`it is of ${manifest.app}, the snapshot is tagged ${snapshot.tags.join(', ') || 'nothing'}`]),
    ...(manifest.time === time ? [] : [`it was made at ${manifest.time}, the snapshot ${time}`]),
    ...(manifest.host === snapshot.hostname ? [] : [`it is from ${manifest.host}, the snapshot ${snapshot.hostname}`]),
    ...((manifest.only !== undefined) === partial
      ? []
      : [`it is ${partial ? 'whole' : 'partial'}, the snapshot the contrary`]),
  ]
}

async function digestOf({ repository, stored }: ChosenSnapshot, name: string, signal: AbortSignal) {
  const node = await findNode(repository, stored.snapshot.tree, `/${SELF}/${name}`, signal)
  if (!node) return undefined
  const digest = createHash('sha256')
  for await (const bytes of readContent(repository, node, signal)) digest.update(bytes)
  return digest.digest('hex')
}

/** Holds the manifest against the key that signs it, if any is configured. Whatever is wrong is a finding. */
export async function verifyManifestSignature(
  { repository, stored, manifest }: ChosenSnapshot,
  sign: string | undefined,
  find: Find,
  signal: AbortSignal,
): Promise<SignatureState> {
  if (sign === undefined || !manifest) return 'none'
  const path = `/${SELF}/${MANIFEST_SIGNATURE}`
  const { tree } = stored.snapshot
  const signature = await findNode(repository, tree, path, signal)
  const signed = await findNode(repository, tree, `/${SELF}/${MANIFEST}`, signal)
  if (!signature || !signed) {
    find({
      severity: 'error',
      code: 'signature-missing',
      path,
      message: 'The manifest is not signed, though the config names a signing key',
      hint: 'Snapshots from before the key was configured are not; the next backup is',
    })
    return 'none'
  }
  try {
    const bytes = await readWhole(repository, signed, MANIFEST_LIMIT, signal)
    await verifySignature(bytes, await readWhole(repository, signature, SIGNATURE_LIMIT, signal), sign, { signal })
    return 'valid'
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof CodedError)) throw error
    const hint = error.hint === undefined ? {} : { hint: error.hint }
    // A key that is not here says nothing against the signature.
    if (error.code === 'NO_KEY' || error.code === 'TOOL_MISSING') {
      find({ severity: 'warning', code: 'signature-unchecked', path, message: error.message, ...hint })
      return 'unchecked'
    }
    find({ severity: 'error', code: 'signature-invalid', path, message: error.message, ...hint })
    return 'invalid'
  }
}
