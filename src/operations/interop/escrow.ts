import { ageFraming } from '../../application/sources/age-framing.ts'
import { openPgpFraming } from '../../application/sources/openpgp-framing.ts'
import { prepareSealers, type SealKind, unseal } from '../../application/sources/seal.ts'
import type { FilesBeside, Storage } from '../../engine/storage/storage.ts'
import { type RepositoryAccess, storageAt } from '../access.ts'
import { OperationError } from '../error.ts'
import { runInRepository, type Surroundings } from '../run-in-repository.ts'

/** The files beside a repository that hold its password, sealed; plain gpg and age open them. A line feed stands at the end. */
export const ESCROW_FILES: Readonly<Record<SealKind, string>> = { gpg: 'password.gpg', age: 'password.age' }

const KINDS: readonly SealKind[] = ['gpg', 'age']
/** A password is a line. */
const PASSWORD_LIMIT = 64 * 1024

export interface EscrowReport {
  readonly outcome: 'succeeded'
  /** That lie beside the repository now. */
  readonly files: readonly string[]
  readonly recipients: readonly string[]
}

/**
 * Seals the password for the recipients (`gpg:…`, `age:…`), and puts it beside the repository, in the place of what lay
 * there: whoever has one of the private keys and the repository has everything. The password has opened the repository just now.
 * Rejects with `USAGE` without recipients, and with what `prepareSealers` says of keys.
 */
export async function placeEscrow(
  access: RepositoryAccess,
  options: Surroundings & { readonly recipients: readonly string[] },
): Promise<EscrowReport> {
  const { recipients } = options
  return runInRepository<EscrowReport>(
    access,
    { ...options, operation: 'key-escrow', lock: 'none', changes: false },
    async ({ storage }, signal) => {
      if (recipients.length === 0) {
        throw new OperationError('USAGE', 'Cannot seal the password: nobody is named to seal it for', {
          hint: 'Give --recipient, as in gpg:admin@example.com, or name recipients in the config file with `seal`',
        })
      }
      const beside = besideOf(storage)
      const sealers = await prepareSealers(recipients, { signal })
      const plaintext = Buffer.concat([await access.password(), Buffer.from('\n')])
      const sealed = new Map<SealKind, Buffer>()
      for (const sealer of sealers) {
        const pieces: Buffer[] = []
        for await (const piece of sealer.seal(only(plaintext), signal)) pieces.push(piece)
        sealed.set(sealer.extension, Buffer.concat(pieces))
      }
      for (const [kind, bytes] of sealed) await beside.write(ESCROW_FILES[kind], bytes, signal)
      // What is left of other recipients opens with keys that were not named.
      for (const kind of KINDS) if (!sealed.has(kind)) await beside.remove(ESCROW_FILES[kind], signal)
      return {
        outcome: 'succeeded',
        files: [...sealed.keys()].map((kind) => ESCROW_FILES[kind]),
        recipients: sealers.flatMap((sealer) => sealer.recipients),
      }
    },
    ({ files, recipients }) => ({ files, recipients }),
  )
}

/** Takes the sealed password away. Who has a copy of it and a private key keeps the password. */
export async function removeEscrow(access: RepositoryAccess, options: Surroundings): Promise<EscrowReport> {
  return runInRepository<EscrowReport>(
    access,
    { ...options, operation: 'key-escrow', lock: 'none', changes: false },
    async ({ storage }, signal) => {
      for (const kind of KINDS) await besideOf(storage).remove(ESCROW_FILES[kind], signal)
      return { outcome: 'succeeded', files: [], recipients: [] }
    },
    ({ files, recipients }) => ({ files, recipients }),
  )
}

export interface EscrowFile {
  readonly name: string
  readonly kind: SealKind
  /** Of the keys that it is sealed for, in hex; age does not say for whom, only how often. */
  readonly keyIds: readonly string[]
  readonly count: number
  /** Why it cannot be one. */
  readonly problem: string | undefined
}

/** What lies beside the repository; needs no password. */
export async function listEscrow(storage: Storage, signal?: AbortSignal): Promise<EscrowFile[]> {
  const found: EscrowFile[] = []
  for (const kind of KINDS) {
    const name = ESCROW_FILES[kind]
    const bytes = await storage.beside?.read(name, signal)
    if (bytes === undefined) continue
    try {
      if (kind === 'gpg') {
        const framing = openPgpFraming()
        framing.push(bytes)
        const { keyIds } = framing.end()
        found.push({ name, kind, keyIds, count: keyIds.length, problem: undefined })
      } else {
        const framing = ageFraming()
        framing.push(bytes)
        found.push({ name, kind, keyIds: [], count: framing.end().stanzas.length, problem: undefined })
      }
    } catch (error) {
      found.push({ name, kind, keyIds: [], count: 0, problem: (error as Error).message })
    }
  }
  return found
}

/**
 * The password that lies sealed beside a repository, opened with a private key of gpg, or with an age identity file. Rejects
 * with `NOTHING` where none lies there, `NO_KEY` where the key does not fit.
 *
 * It says nothing about the repository: anybody can seal some password for a public key, and put it beside another one.
 */
export async function escrowedPassword(
  access: Pick<RepositoryAccess, 'location'>,
  key: { readonly kind: 'gpg' } | { readonly kind: 'age'; readonly identity: string },
  signal?: AbortSignal,
): Promise<Buffer> {
  const storage = storageAt(access)
  const name = ESCROW_FILES[key.kind]
  const sealed = await storage.beside?.read(name, signal)
  if (sealed === undefined) {
    throw new OperationError('NOTHING', `No sealed password beside the repository at ${storage.location}: no ${name}`, {
      facts: { location: storage.location, file: name },
      hint: 'Where the password is known, holdfast key escrow puts one there',
    })
  }
  const identities = key.kind === 'age' ? [key.identity] : []
  const pieces: Buffer[] = []
  let length = 0
  for await (const piece of unseal(key.kind, only(sealed), { identities, signal })) {
    pieces.push(piece)
    length += piece.length
    if (length > PASSWORD_LIMIT) break
  }
  const password = Buffer.concat(pieces)
  if (length > PASSWORD_LIMIT || password.length < 2) {
    throw new OperationError('NOTHING', `${name} beside the repository holds no password: found ${length} bytes`, {
      facts: { file: name },
    })
  }
  return password.at(-1) === 0x0a ? password.subarray(0, -1) : password
}

function besideOf({ beside, location }: Storage): FilesBeside {
  if (beside !== undefined) return beside
  throw new OperationError('USAGE', `Cannot put the password beside the repository at ${location}`, {
    facts: { location },
    hint: 'This kind of storage takes nothing but the files of a repository. Keep the sealed password elsewhere: gpg --encrypt',
  })
}

async function* only(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}
