import type { KeyId } from '../../engine/format/id.ts'
import type { ScryptParameters } from '../../engine/format/key-file.ts'
import { changePassword, findKey, type KeyList, listKeys, removeKey } from '../../engine/repository/keys.ts'
import { addKey } from '../../engine/repository/repository.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { listEscrow } from '../interop/escrow.ts'
import { runInRepository, type Surroundings } from '../run-in-repository.ts'

export interface NewKey {
  /** Asked for once the repository is open. */
  readonly newPassword: () => Promise<Buffer>
  /** Whom the key names, for people. */
  readonly username?: string | undefined
  readonly hostname?: string | undefined
  /** Cost of the key derivation, for tests. */
  readonly kdf?: ScryptParameters
}

export interface KeyRunReport {
  readonly outcome: 'succeeded'
  /** That was added or removed. */
  readonly key: KeyId
}

const summary = ({ key }: KeyRunReport) => ({ key })

export async function keyList(access: RepositoryAccess, signal: AbortSignal): Promise<KeyList> {
  return withRepository(access, { lock: 'shared', early: true, signal }, (repository) => listKeys(repository, signal))
}

/** Adds a password: the repository opens with it as well. */
export async function keyAdd(access: RepositoryAccess, options: NewKey & Surroundings): Promise<KeyRunReport> {
  return runInRepository<KeyRunReport>(
    access,
    { ...options, operation: 'key-add', lock: 'shared', changes: true },
    async (repository, signal) => ({
      outcome: 'succeeded',
      key: await addKey(repository, await keyOptions(options, signal)),
    }),
    summary,
  )
}

/** Removes a password: the repository does not open with it any more. Rejects with `REFUSED` for the one in use. */
export async function keyRemove(
  access: RepositoryAccess,
  options: Surroundings & { readonly name: string },
): Promise<KeyRunReport> {
  return runInRepository<KeyRunReport>(
    access,
    { ...options, operation: 'key-remove', lock: 'exclusive', changes: true },
    async (repository, signal) => {
      const key = await findKey(repository, options.name, signal)
      await removeKey(repository, key, signal)
      return { outcome: 'succeeded', key }
    },
    summary,
  )
}

/** Puts a new password in the place of the one in use. */
export async function keyPasswd(access: RepositoryAccess, options: NewKey & Surroundings): Promise<KeyRunReport> {
  return runInRepository<KeyRunReport>(
    access,
    { ...options, operation: 'key-passwd', lock: 'exclusive', changes: true },
    async (repository, signal) => {
      const { keyId } = await changePassword(repository, await keyOptions(options, signal))
      for (const { name } of await listEscrow(repository.storage, signal)) {
        options.observe({
          type: 'finding',
          finding: {
            severity: 'warning',
            code: 'escrow-outdated',
            message: `${name} beside the repository holds the old password, sealed: it opens nothing any more`,
            hint: 'Run holdfast key escrow again, with the new password',
          },
        })
      }
      return { outcome: 'succeeded', key: keyId }
    },
    summary,
  )
}

async function keyOptions({ newPassword, username, hostname, kdf }: NewKey, signal: AbortSignal) {
  return { password: await newPassword(), username, hostname, signal, ...(kdf ? { kdf } : {}) }
}
