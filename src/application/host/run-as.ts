import type { Account } from '../../engine/os/accounts.ts'
import { minimalEnvironment } from '../program.ts'

/** Whether an account is another one than that we run as. */
export function isForeign(account: Account | undefined): account is Account {
  return account !== undefined && account.uid !== process.geteuid?.()
}

/**
 * Program and arguments that run a program as an account. `setpriv` (util-linux) rather than Node's own `uid` and `gid`: those
 * leave the account without its supplementary groups, with which it reads a certificate's key, say.
 */
export function asAccount(
  account: Account | undefined,
  program: string,
  args: readonly string[],
): [program: string, ...args: string[]] {
  if (!isForeign(account)) return [program, ...args]
  const identity = [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--init-groups']
  return ['setpriv', ...identity, '--', program, ...args]
}

/** What tells a program whose home is its own. */
export function homeOf(account: Account): NodeJS.ProcessEnv {
  // A folder for temporary files or keys of ours is none of theirs.
  const notOurs = isForeign(account) ? { GNUPGHOME: undefined, TMPDIR: undefined } : {}
  return { HOME: account.home, USER: account.name, LOGNAME: account.name, ...notOurs }
}

/** The whole environment of a command that runs as an account: of ours, the search path and the language. */
export function environmentOf(account: Account | undefined): NodeJS.ProcessEnv {
  const language = { LANG: process.env.LANG ?? 'C.UTF-8', LC_ALL: process.env.LC_ALL }
  return minimalEnvironment({ ...language, ...(account === undefined ? {} : homeOf(account)) })
}
