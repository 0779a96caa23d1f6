import { EngineError } from '../error.ts'
import { hashId, type KeyId } from '../format/id.ts'
import { openKeyFile, parseKeyFile } from '../format/key-file.ts'
import type { Timestamp } from '../format/timestamp.ts'
import { isDamage, isFileProblem } from './file-problem.ts'
import { listIds } from './list-ids.ts'
import { type AddKeyOptions, addKey, type Repository } from './repository.ts'
import { isSameKey } from './reseal-blob.ts'

export interface StoredKey {
  readonly id: KeyId
  /** The one that the repository was opened with. */
  readonly isCurrent: boolean
  readonly username: string
  readonly hostname: string
  readonly created: Timestamp
}

export interface KeyList {
  /** Oldest first. */
  readonly keys: readonly StoredKey[]
  readonly damaged: readonly { readonly id: KeyId; readonly error: EngineError }[]
}

export async function listKeys(repository: Repository, signal?: AbortSignal): Promise<KeyList> {
  const keys: StoredKey[] = []
  const damaged: { id: KeyId; error: EngineError }[] = []
  for (const id of await listIds<KeyId>(repository, 'key', signal)) {
    try {
      const { username, hostname, created } = parseKeyFile(await readKeyFile(repository, id, signal))
      keys.push({ id, isCurrent: id === repository.keyId, username, hostname, created })
    } catch (error) {
      if (!isFileProblem(error)) throw error
      damaged.push({ id, error })
    }
  }
  return {
    keys: keys.sort((a, b) => (a.created.ns < b.created.ns ? -1 : a.created.ns > b.created.ns ? 1 : 0)),
    damaged,
  }
}

/** The content of a key file, held against its name: JSON in the clear, with the master key sealed in it. Rejects with `CORRUPT`. */
export async function readKeyFile(repository: Repository, id: KeyId, signal: AbortSignal | undefined): Promise<Buffer> {
  const bytes = await repository.storage.read({ type: 'key', id }, undefined, signal)
  if (hashId<KeyId>(bytes) === id) return bytes
  throw new EngineError(
    'CORRUPT',
    `Cannot read keys/${id}: its content does not match its name, so it was altered or cut short`,
    {
      facts: { file: `keys/${id}` },
    },
  )
}

/** @param name the ID or its beginning. Rejects with `NOT_FOUND` or `AMBIGUOUS`. */
export async function findKey(repository: Repository, name: string, signal?: AbortSignal): Promise<KeyId> {
  const ids = await listIds<KeyId>(repository, 'key', signal)
  const fitting = name === '' ? [] : ids.filter((id) => id.startsWith(name))
  const [id] = fitting
  if (id !== undefined && fitting.length === 1) return id
  throw new EngineError(
    fitting.length === 0 ? 'NOT_FOUND' : 'AMBIGUOUS',
    fitting.length === 0
      ? `No key "${name}" in the repository at ${repository.storage.location}`
      : `Key "${name}" is ambiguous: ${fitting.length} IDs begin so`,
    { facts: { key: name }, hint: 'See `holdfast key list`' },
  )
}

/**
 * Removes a key file: its password opens the repository no longer. Rejects with `REFUSED` for the key in use, so that one is always
 * left that is known to open. The master key stays the same: who has it from a copy of the key file keeps it. Needs the exclusive lock.
 */
export async function removeKey(repository: Repository, id: KeyId, signal?: AbortSignal): Promise<void> {
  if (id === repository.keyId) {
    throw new EngineError('REFUSED', `Cannot remove key ${id.slice(0, 8)}: the repository was opened with it`, {
      facts: { key: id },
      hint: 'Open the repository with the password of another key, or change this one with `holdfast key passwd`',
    })
  }
  await repository.storage.remove({ type: 'key', id }, signal)
}

/**
 * Adds a key for the new password and, once that was read back and opens, removes the one in use. Resolves with the repository as
 * it is opened now. Needs the exclusive lock.
 */
export async function changePassword(repository: Repository, options: AddKeyOptions): Promise<Repository> {
  const { signal, password } = options
  const keyId = await addKey(repository, options)
  const masterKey = await openKeyFile(await readKeyFile(repository, keyId, signal), password).catch(
    (error: unknown) => {
      if (!isDamage(error)) throw error
      return null
    },
  )
  if (!masterKey || !isSameKey(masterKey, repository.masterKey)) {
    throw new EngineError(
      'SELF_CHECK',
      `Cannot change the password: the new key ${keyId.slice(0, 8)} does not open the repository`,
      {
        facts: { key: keyId },
        hint: 'The old password still does; remove the new key with `holdfast key remove`',
      },
    )
  }
  const changed = { ...repository, keyId }
  await removeKey(changed, repository.keyId, signal)
  return changed
}
