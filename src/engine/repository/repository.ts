import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { EngineError } from '../error.ts'
import { hashId, type KeyId, parseId } from '../format/id.ts'
import { createKeyFile, openKeyFile, type ScryptParameters } from '../format/key-file.ts'
import { generateMasterKey, type MasterKey, seal, unseal } from '../format/master-key.ts'
import {
  encodeRepositoryConfig,
  parseRepositoryConfig,
  type RepositoryConfig,
  type RepositoryVersion,
} from '../format/repository-config.ts'
import { now } from '../format/timestamp.ts'
import { randomPolynomial } from '../kernels/polynomial.ts'
import { currentUser } from '../os/current-user.ts'
import { pathOf } from '../storage/layout.ts'
import type { FileName, Storage, StoredFile } from '../storage/storage.ts'
import type { BlobIndex } from './blob-index.ts'
import { isDamage } from './file-problem.ts'
import { writeVerified } from './write-verified.ts'

/** An opened repository: its storage and the keys to what lies there. Nothing of its index is loaded yet. */
export interface Repository {
  readonly storage: Storage
  readonly config: RepositoryConfig
  readonly masterKey: MasterKey
  /** The key file that the password opened. */
  readonly keyId: KeyId
}

/** A repository whose blobs can be found. */
export interface IndexedRepository extends Repository {
  readonly index: BlobIndex
}

const CONFIG: FileName = { type: 'config', id: '' }

/** As many key files as restic tries before it gives up. */
const MAX_KEYS_TRIED = 20

/** A key file has about 500 bytes. What is far longer is not even read. */
const MAX_KEY_FILE = 64 * 1024

export interface CreateRepositoryOptions {
  /** Its bytes are used as they are. */
  readonly password: Buffer
  readonly version?: RepositoryVersion
  readonly polynomial?: bigint
  /** Cost of the key derivation; the default is restic's on an ordinary machine (format reference 2.2). */
  readonly kdf?: ScryptParameters
  readonly signal?: AbortSignal | undefined
}

/**
 * Makes a repository in empty storage: key file first, then config, so that an interrupted creation leaves
 * nothing that opens. Rejects with `REPOSITORY_EXISTS` when a config, a key or a snapshot is there already.
 */
export async function createRepository(storage: Storage, options: CreateRepositoryOptions): Promise<Repository> {
  const { signal } = options
  await storage.create()
  await rejectExisting(storage, signal)
  const masterKey = generateMasterKey()
  const config: RepositoryConfig = {
    version: options.version ?? 2,
    id: randomBytes(32).toString('hex'),
    polynomial: options.polynomial ?? randomPolynomial(),
  }
  const content = seal(masterKey, encodeRepositoryConfig(config))
  const keyId = await writeKey(storage, masterKey, options)
  try {
    await storage.write(CONFIG, content, signal)
  } catch (error) {
    if (!(error instanceof EngineError && error.code === 'EXISTS')) throw error
    // Somebody else was quicker. Our key opens nothing of theirs, and would stand in the way of whoever lists it first.
    await storage.remove({ type: 'key', id: keyId }, signal)
    throw existsAlready(storage, error)
  }
  return { storage, config, masterKey, keyId }
}

async function rejectExisting(storage: Storage, signal: AbortSignal | undefined): Promise<void> {
  if (await hasConfig(storage, signal)) throw existsAlready(storage)
  for (const type of ['key', 'snapshot'] as const) {
    for await (const { name } of storage.list(type, signal)) {
      throw new EngineError(
        'REPOSITORY_EXISTS',
        `Cannot create a repository at ${storage.location}: ${pathOf(name)} of another one is there, though no config`,
        {
          facts: { location: storage.location, file: pathOf(name) },
          hint: 'If an interrupted creation left it and no snapshot is there, remove it; otherwise bring the file `config` back from a copy',
        },
      )
    }
  }
}

async function hasConfig(storage: Storage, signal: AbortSignal | undefined): Promise<boolean> {
  try {
    await storage.size(CONFIG, signal)
    return true
  } catch (error) {
    if (error instanceof EngineError && error.code === 'NOT_FOUND') return false
    throw error
  }
}

function existsAlready(storage: Storage, cause?: EngineError): EngineError {
  return new EngineError(
    'REPOSITORY_EXISTS',
    `Cannot create a repository at ${storage.location}: one is there already`,
    { facts: { location: storage.location }, hint: 'Use it with its password, or choose another place', cause },
  )
}

export interface OpenRepositoryOptions {
  /** A function is called once it is certain that there is a repository: nobody is asked for a password in vain. */
  readonly password: Buffer | (() => Promise<Buffer>)
  /**
   * Called each time another thread has begun to derive a key: now there are some hundred milliseconds to do something else, until
   * the promise resolves, which never rejects.
   */
  readonly onDerivation?: ((derived: Promise<void>) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Opens a repository with the first key file that the password fits.
 *
 * Restic gives up at the first malformed key file, so that one damaged file locks everybody out; here it is passed over,
 * and named only when no other key opens. Rejects with `NO_REPOSITORY`; `WRONG_PASSWORD`; `CORRUPT` when config or every
 * key file is damaged; `UNSUPPORTED` for another version; and as the storage does.
 */
export async function openRepository(storage: Storage, options: OpenRepositoryOptions): Promise<Repository> {
  const { signal } = options
  const sealedConfig = await readConfig(storage, signal)
  const password = typeof options.password === 'function' ? await options.password() : options.password
  const { keyId, masterKey } = await findKey(storage, password, options)
  let plaintext: Buffer
  try {
    plaintext = unseal(masterKey, sealedConfig)
  } catch (cause) {
    if (!isDamage(cause)) throw cause
    throw new EngineError(
      'CORRUPT',
      `Cannot open the repository at ${storage.location}: its config was altered, or belongs to another one than its keys`,
      {
        facts: { location: storage.location, file: 'config', key: keyId },
        hint: 'Bring the file `config` back from a copy of the repository; no other file is affected',
        cause,
      },
    )
  }
  return { storage, config: parseRepositoryConfig(plaintext), masterKey, keyId }
}

async function readConfig(storage: Storage, signal: AbortSignal | undefined): Promise<Buffer> {
  try {
    return await storage.read(CONFIG, undefined, signal)
  } catch (cause) {
    if (!(cause instanceof EngineError && cause.code === 'NOT_FOUND')) throw cause
    throw new EngineError('NO_REPOSITORY', `No repository at ${storage.location}: there is no file named config`, {
      facts: { location: storage.location },
      hint: 'Check the location, and that what it lies on is mounted. Where there never was one, make it with `holdfast -r LOCATION init`',
      cause,
    })
  }
}

interface FoundKey {
  readonly keyId: KeyId
  readonly masterKey: MasterKey
}

type TryOptions = Pick<OpenRepositoryOptions, 'onDerivation' | 'signal'>

async function findKey(storage: Storage, password: Buffer, options: TryOptions): Promise<FoundKey> {
  const { signal } = options
  const damaged: EngineError[] = []
  let refused = 0
  for await (const file of storage.list('key', signal)) {
    if (refused + damaged.length === MAX_KEYS_TRIED) break
    try {
      const masterKey = await tryKey(storage, file, password, options)
      if (masterKey) return { keyId: parseId<KeyId>(file.name.id), masterKey }
      refused += 1
    } catch (error) {
      if (!isDamage(error)) throw error
      damaged.push(error)
    }
  }
  throw noKeyFits(storage, refused, damaged)
}

/** Null when the password is not the one of this key. */
async function tryKey(
  storage: Storage,
  { name, size }: StoredFile,
  password: Buffer,
  { onDerivation, signal }: TryOptions,
): Promise<MasterKey | null> {
  const altered = (found: string) =>
    new EngineError('CORRUPT', `${pathOf(name)} was altered: ${found}`, { facts: { file: pathOf(name) } })
  if (size > MAX_KEY_FILE) throw altered(`it has ${size} bytes, expected at most ${MAX_KEY_FILE}`)
  const bytes = await storage.read(name, undefined, signal)
  if (hashId(bytes) !== name.id) throw altered('its content does not match its name')
  const opened = openKeyFile(bytes, password)
  const over = () => {}
  onDerivation?.(opened.then(over, over))
  return opened
}

function noKeyFits(storage: Storage, refused: number, damaged: readonly EngineError[]): EngineError {
  const { location } = storage
  const facts = { location, keysTried: refused + damaged.length, keysDamaged: damaged.length }
  const passedOver = damaged.length === 0 ? '' : `; ${keyFiles(damaged.length)} could not be tried`
  const cause = damaged[0]
  if (refused > 0) {
    return new EngineError(
      'WRONG_PASSWORD',
      `Wrong password for the repository at ${location}: it opens none of ${keyFiles(refused)}${passedOver}`,
      {
        facts,
        cause,
        hint:
          damaged.length === 0
            ? 'Check the password file or variable in use; the password is compared byte for byte'
            : 'Check the password; if it is right, bring the folder `keys` back from a copy of the repository',
      },
    )
  }
  const found = cause ? `none of ${keyFiles(damaged.length)} can be used: ${cause.message}` : 'it holds no key file'
  return new EngineError('CORRUPT', `Cannot open the repository at ${location}: ${found}`, {
    facts,
    cause,
    hint: 'Bring the folder `keys` back from a copy of the repository; without a key nothing in it can be read',
  })
}

function keyFiles(count: number): string {
  return count === 1 ? '1 key file' : `${count} key files`
}

export interface AddKeyOptions {
  readonly password: Buffer
  /** Whom the key file names, for people: by default who runs this, and where. */
  readonly username?: string | undefined
  readonly hostname?: string | undefined
  readonly kdf?: ScryptParameters
  readonly signal?: AbortSignal | undefined
}

/** Adds a key file for another password; the repository stays readable with every key it has. */
export async function addKey(repository: Repository, options: AddKeyOptions): Promise<KeyId> {
  return writeKey(repository.storage, repository.masterKey, options)
}

async function writeKey(storage: Storage, masterKey: MasterKey, options: AddKeyOptions): Promise<KeyId> {
  const bytes = await createKeyFile({
    password: options.password,
    masterKey,
    username: options.username ?? currentUser().username,
    hostname: options.hostname ?? hostname(),
    created: now(),
    ...(options.kdf ? { kdf: options.kdf } : {}),
  })
  const keyId = hashId<KeyId>(bytes)
  await writeVerified(storage, { type: 'key', id: keyId }, bytes, options.signal)
  return keyId
}
