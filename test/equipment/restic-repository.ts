import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { addKey, openRepository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { type Restic, resticPath, runRestic } from './restic.ts'
import { CHEAP_KDF, PASSWORD } from './test-repository.ts'

/** Beside the programs of restic. */
const MADE = join(import.meta.dirname, '../../.tools/repositories')

/**
 * A repository that restic's own `init` made, with a key that costs nothing in place of the one that restic made: otherwise each
 * restic that opens it takes half a second. `init` itself takes three seconds, so it is done once on a machine and copied.
 */
export async function makeResticRepository(
  location: string,
  { program = 'restic', version = 2 }: { readonly program?: Restic; readonly version?: 1 | 2 } = {},
): Promise<void> {
  const { size, mtimeMs } = statSync(resticPath(program))
  const made = join(MADE, `${basename(resticPath(program))}-${size}-${mtimeMs}-version-${version}`)
  if (!existsSync(made)) await makeOnce(made, program, version)
  mkdirSync(dirname(location), { recursive: true })
  cpSync(made, location, { recursive: true, errorOnExist: true, force: false })
}

async function makeOnce(made: string, program: Restic, version: 1 | 2): Promise<void> {
  mkdirSync(MADE, { recursive: true })
  const making = mkdtempSync(join(MADE, '.making-'))
  try {
    const repository = join(making, 'repository')
    const run = runRestic(['init', '--repository-version', String(version)], {
      program,
      repository,
      password: PASSWORD,
    })
    assert.equal(run.status, 0, run.stderr)
    const opened = await openRepository(localStorage(repository), { password: PASSWORD })
    await addKey(opened, { password: PASSWORD, kdf: CHEAP_KDF })
    rmSync(join(repository, 'keys', opened.keyId))
    try {
      renameSync(repository, made)
    } catch (error) {
      // Another test file has been faster, and its repository is as good.
      if (!existsSync(made)) throw error
    }
  } finally {
    rmSync(making, { recursive: true, force: true })
  }
}
