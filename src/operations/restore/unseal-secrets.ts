import type { Finding } from '../../application/finding.ts'
import { unseal } from '../../application/sources/seal.ts'
import { extractSecrets } from '../../application/sources/secrets.ts'
import { CodedError } from '../../engine/error.ts'
import type { RenamedOwners } from '../../engine/os/accounts.ts'
import { SECRETS, SELF } from '../manifest.ts'
import { findNode, readContent } from '../snapshot-files.ts'
import type { ChosenSnapshot } from './snapshot-choice.ts'

export interface UnsealOptions {
  /** Absolute paths of age identity files; gpg finds its keys itself. */
  readonly identities: readonly string[]
  /** Whether a secret with this absolute path is wanted. */
  readonly select: (path: string) => boolean
  readonly renamedOwners?: RenamedOwners | undefined
  readonly signal: AbortSignal
}

export type UnsealResult = { readonly files: number } | { readonly finding: Finding }

/**
 * Opens the sealed archive of a snapshot and writes the wanted secrets below `target`, each at its absolute path there. The
 * plaintext goes nowhere else. Without a key that opens any of the archives: a finding that says how to open it by hand.
 */
export async function unsealSecrets(
  chosen: ChosenSnapshot,
  target: string,
  options: UnsealOptions,
): Promise<UnsealResult> {
  const { select, renamedOwners, signal } = options
  const base = chosen.manifest?.secrets?.base
  const opened = await withUnsealed(chosen, options, async (plaintext) => {
    return (await extractSecrets(plaintext, target, { base, select, renamedOwners, signal })).length
  })
  return 'value' in opened ? { files: opened.value } : opened
}

/**
 * Hands the plaintext of a snapshot's sealed archive to `use`: of the first one that opens, from its beginning to its end.
 * Where none does, `use` may have seen the beginning of some.
 */
export async function withUnsealed<Value>(
  { repository, stored, manifest }: ChosenSnapshot,
  { identities, signal }: Pick<UnsealOptions, 'identities' | 'signal'>,
  use: (plaintext: AsyncIterable<Buffer>) => Promise<Value>,
): Promise<{ readonly value: Value } | { readonly finding: Finding }> {
  const archives = manifest?.secrets?.archives ?? []
  const failures: CodedError[] = []
  for (const name of archives) {
    try {
      const node = await findNode(repository, stored.snapshot.tree, `/${SELF}/${name}`, signal)
      if (!node) continue
      const sealed = readContent(repository, node, signal)
      return { value: await use(unseal(kindOf(name), sealed, { identities, signal })) }
    } catch (error) {
      if (!(error instanceof CodedError) || !KEEPS_IT_SEALED.has(error.code)) throw error
      failures.push(error)
    }
  }
  // Of two archives the one that only lacks a key is the one to open.
  const failure = failures.find(({ code }) => code === 'NO_KEY') ?? failures[0]
  return {
    finding: {
      severity: 'error',
      code: 'secrets-sealed',
      message: `The secrets stay sealed: ${failure?.message ?? 'the snapshot does not hold the sealed archive that its manifest names'}`,
      hint: failure?.hint ?? byHand(stored.id, archives[0] ?? `${SECRETS}.gpg`),
    },
  }
}

/** The next archive may open where this one does not. A full disk or an interruption would hit that one too. */
const KEEPS_IT_SEALED: ReadonlySet<string> = new Set(['SEAL', 'NO_KEY', 'TOOL_MISSING', 'CORRUPT', 'NOT_FOUND'])

function kindOf(archive: string): 'age' | 'gpg' {
  return archive === `${SECRETS}.age` ? 'age' : 'gpg'
}

function byHand(snapshot: string, archive: string): string {
  const decrypt = kindOf(archive) === 'age' ? 'age --decrypt --identity FILE' : 'gpg --decrypt'
  const dump = `holdfast dump ${snapshot.slice(0, 8)} /${SELF}/${archive}`
  return `Import the private key, then restore again; or by hand: \`${dump} | ${decrypt} | tar -xz -C /\``
}
