import { randomBytes } from 'node:crypto'
import { constants, copyFile, mkdir, readFile, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { assertPrivate, parseConfig } from '../../application/config/load-config.ts'
import { type ConfigChoices, renderConfig } from '../../application/config/write-config.ts'
import { EngineError } from '../../engine/error.ts'
import { RANDOM_PASSWORD_KDF } from '../../engine/format/key-file.ts'
import { writeFileDurably } from '../../engine/os/write-file-durably.ts'
import { createRepository, openRepository } from '../../engine/repository/repository.ts'
import { storageAt } from '../access.ts'
import { OperationError } from '../error.ts'
import { placeRecoveryProgram } from '../interop/place-recovery-program.ts'
import { stamp } from '../restore/restore-in-place.ts'
import { exists, type ProtectionPlan } from './plan-protection.ts'

export interface SetUpReport {
  readonly configFile: string
  /** Where the config file that was there is now. */
  readonly keptConfig: string | undefined
  readonly passwordFile: string
  /** False when the file was there: it is used as it is. */
  readonly passwordCreated: boolean
  readonly repository: string
  /** False when a repository was there that the password opens. */
  readonly repositoryCreated: boolean
}

/** 256 bits: nobody types it, it is kept in a file and in a safe. */
const PASSWORD_BYTES = 32

/**
 * Carries out a plan: password file (0600, random, unless one is there), repository (unless one is there that the
 * password opens), and the config file last, so that a config never names what is not there.
 */
export async function setUp(plan: ProtectionPlan, choices: ConfigChoices, signal: AbortSignal): Promise<SetUpReport> {
  const text = renderConfig(plan.detection, choices)
  parseConfig(text, plan.configFile) // what is written must load again
  const passwordCreated = await ensurePassword(choices.passwordFile)
  let repositoryCreated: boolean
  try {
    repositoryCreated = await ensureRepository(choices, passwordCreated, signal)
  } catch (error) {
    // A password that opens nothing must not be found, and trusted, by the next attempt.
    if (passwordCreated) await unlink(choices.passwordFile)
    throw error
  }
  const keptConfig = plan.replacesConfig ? `${plan.configFile}.before-${stamp(new Date())}` : undefined
  if (keptConfig !== undefined) await copyFile(plan.configFile, keptConfig, constants.COPYFILE_EXCL)
  await mkdir(dirname(plan.configFile), { recursive: true })
  await writeFileDurably(plan.configFile, Buffer.from(text), { mode: 0o640, replace: true, signal })
  return {
    configFile: plan.configFile,
    keptConfig,
    passwordFile: choices.passwordFile,
    passwordCreated,
    repository: choices.repository,
    repositoryCreated,
  }
}

async function ensurePassword(file: string): Promise<boolean> {
  if (await exists(file)) {
    await assertPrivate(file)
    return false
  }
  await makeFolder(dirname(file))
  await writeFileDurably(file, Buffer.from(`${randomBytes(PASSWORD_BYTES).toString('base64url')}\n`), {
    mode: 0o600,
    replace: false,
  })
  return true
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.syscall === undefined) throw cause
    throw new OperationError('USAGE', `Cannot make the folder ${folder} for the password file: ${cause.message}`, {
      facts: { folder },
      hint: 'Name a file in another folder with --password-file, or work as root',
      cause,
    })
  })
}

async function ensureRepository(
  { repository: location, passwordFile }: ConfigChoices,
  isNewPassword: boolean,
  signal: AbortSignal,
): Promise<boolean> {
  const password = Buffer.from((await readFile(passwordFile, 'utf8')).trim())
  if (password.length === 0) {
    throw new OperationError('USAGE', `Cannot use the password file ${passwordFile}: it is empty`, {
      facts: { file: passwordFile },
      hint: 'Write a password into it, or remove it: then a random one is made',
    })
  }
  const storage = storageAt({ location })
  try {
    await createRepository(storage, { password, signal, ...(isNewPassword ? { kdf: RANDOM_PASSWORD_KDF } : {}) })
    await placeRecoveryProgram(storage, signal) // where it cannot be, the first backup says so
    return true
  } catch (error) {
    if (!(error instanceof EngineError && error.code === 'REPOSITORY_EXISTS')) throw error
    if (isNewPassword) {
      throw new OperationError('EXISTS', `Cannot create a repository at ${location}: one is there already`, {
        facts: { location },
        hint: 'Name the file with its password with --password-file, or choose another place',
        cause: error,
      })
    }
    await openRepository(storage, { password, signal })
    return false
  }
}
