import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateIdentity, identityToRecipient } from 'age-encryption'

export interface AgeIdentity {
  /** As the config names it. */
  readonly recipient: string
  /** The file with the private key. */
  readonly file: string
}

export async function makeAgeIdentity(folder: string, name = 'identity'): Promise<AgeIdentity> {
  const identity = await generateIdentity()
  const file = join(folder, `${name}.txt`)
  writeFileSync(file, `${identity}\n`, { mode: 0o600 })
  return { recipient: `age:${await identityToRecipient(identity)}`, file }
}
