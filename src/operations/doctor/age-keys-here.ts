import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { identityToRecipient } from 'age-encryption'
import type { DoctorContext } from './doctor-check.ts'

/** Files where private keys of age and SSH usually lie on this machine, and that belong to one of the recipients. */
export async function privateKeysHere(
  recipients: readonly string[],
  { home, env, hostRoot }: Pick<DoctorContext, 'home' | 'env' | 'hostRoot'>,
): Promise<string[]> {
  const settings = env.XDG_CONFIG_HOME || join(home, '.config')
  const found: string[] = []
  for (const folder of [join(settings, 'age'), join(settings, 'sops/age'), join(home, '.age')]) {
    for (const path of await filesIn(folder)) if (await holdsIdentity(path, recipients)) found.push(path)
  }
  for (const folder of [join(home, '.ssh'), join(hostRoot, 'etc/ssh')]) {
    const paths = await filesIn(folder)
    for (const path of paths.filter((path) => path.endsWith('.pub') && paths.includes(path.slice(0, -4)))) {
      const [type, blob] = (await textOf(path)).split(/\s+/)
      if (recipients.includes(`${type} ${blob}`)) found.push(path.slice(0, -4))
    }
  }
  return found
}

async function holdsIdentity(path: string, recipients: readonly string[]): Promise<boolean> {
  for (const identity of (await textOf(path)).match(/^AGE-SECRET-KEY-1[0-9A-Z]+$/gm) ?? []) {
    const recipient = await identityToRecipient(identity).catch(() => undefined) // mistyped: it opens nothing
    if (recipient !== undefined && recipients.includes(recipient)) return true
  }
  return false
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []) // not there, or closed to us
  return entries.filter((entry) => entry.isFile()).map(({ name }) => join(folder, name))
}

/** Empty where it cannot be read: then it opens nothing for us either. */
async function textOf(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '')
}
