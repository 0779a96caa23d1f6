import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { createRepository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { CHEAP_KDF, PASSWORD, POLYNOMIAL } from './test-repository.ts'

/** What no backup may hold in the clear. */
export const SECRET = 'MARKED-SECRET-7f3a'

export interface ScratchApplication {
  /** The application's folder, with `config/`, `data/app.db`, `secrets/.env` and `src/` in it. */
  readonly root: string
  readonly config: string
  readonly repository: string
  readonly passwordFile: string
  /** Holds an age identity; `recipient` is its public side. */
  readonly identity: string
  readonly recipient: string
  readonly state: string
}

/** A small application in a folder; nothing protects it yet. */
export async function scratchApplication(base: string): Promise<ScratchApplication> {
  const root = join(base, 'app')
  for (const folder of ['config', 'data', 'secrets', 'src']) mkdirSync(join(root, folder), { recursive: true })
  writeFileSync(join(root, 'package.json'), '{"name":"scratch"}\n')
  writeFileSync(join(root, 'config', 'app.json'), '{"port":3000}\n')
  writeFileSync(join(root, 'src', 'main.js'), '// code\n')
  writeFileSync(join(root, 'secrets', '.env'), `TOKEN=${SECRET}\n`, { mode: 0o600 })
  const database = new DatabaseSync(join(root, 'data', 'app.db'))
  database.exec('CREATE TABLE rows (id INTEGER PRIMARY KEY); INSERT INTO rows VALUES (1), (2), (3)')
  database.close()
  const secret = await generateIdentity()
  const identity = join(base, 'identity.txt')
  writeFileSync(identity, `${secret}\n`, { mode: 0o600 })
  return {
    root,
    config: join(root, 'holdfast.yaml'),
    repository: join(base, 'repository'),
    passwordFile: join(base, 'password'),
    identity,
    recipient: await identityToRecipient(secret),
    state: join(base, 'state'),
  }
}

/** The same with config, password file and an empty repository whose key costs nothing to derive. */
export async function protectedApplication(
  base: string,
  { sealed = true }: { readonly sealed?: boolean } = {},
): Promise<ScratchApplication> {
  const app = await scratchApplication(base)
  await cheapRepository(app.repository)
  writeFileSync(app.passwordFile, `${PASSWORD}\n`, { mode: 0o600 })
  writeFileSync(
    app.config,
    `app: scratch
root: ${app.root}
repository: ${app.repository}
password-file: ${app.passwordFile}
state-dir: ${app.state}
log: ${join(app.state, 'log')}
components:
  config: config/
  data: data/
  secrets: secrets/
${sealed ? `seal: [age:${app.recipient}]\n` : ''}`,
    { mode: 0o640 },
  )
  return app
}

/** An empty repository on disk, opened by `PASSWORD`. */
export async function cheapRepository(folder: string): Promise<void> {
  await createRepository(localStorage(folder), { password: PASSWORD, kdf: CHEAP_KDF, polynomial: POLYNOMIAL })
}
