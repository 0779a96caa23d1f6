import { findAccount, forgetAccounts, groupId, groupName, userName } from '../../engine/os/accounts.ts'
import { ApplicationError } from '../error.ts'
import { minimalEnvironment, programFailure, runProgram } from '../program.ts'

export interface WantedAccount {
  readonly user: string
  readonly group: string
  /** The numbers that it had, taken where nobody has them here. */
  readonly uid?: number | undefined
  readonly gid?: number | undefined
}

/** Command lines that make what is missing of an account: a system user that cannot log in, with a home of its own. */
export function accountCommands({ user, group, uid, gid }: WantedAccount): readonly (readonly string[])[] {
  const isFree = (id: number | undefined, nameOf: (id: number) => string) =>
    id !== undefined && id > 0 && id < 65534 && nameOf(id) === ''
  const commands: (readonly string[])[] = []
  if (groupId(group) === undefined) {
    const number = isFree(gid, groupName) ? ['--gid', String(gid)] : []
    commands.push(['groupadd', '--system', ...number, group])
  }
  if (findAccount(user) === undefined) {
    const number = isFree(uid, userName) ? ['--uid', String(uid)] : []
    const kind = ['--system', '--create-home', '--home-dir', `/home/${user}`, '--shell', '/usr/sbin/nologin']
    commands.push(['useradd', ...kind, ...number, '--gid', group, user])
  }
  return commands
}

/** Runs them. Rejects with `SOURCE`, `TOOL_MISSING`. */
export async function makeAccount(wanted: WantedAccount, signal?: AbortSignal): Promise<void> {
  forgetAccounts()
  for (const [program, ...args] of accountCommands(wanted)) {
    const result = await runProgram(program!, args, { env: minimalEnvironment(), signal })
    if (result.exitCode === 0) continue
    const cause = programFailure(result)
    throw new ApplicationError('SOURCE', `Cannot make the account ${wanted.user}: ${cause.message}`, { cause })
  }
  forgetAccounts()
}
