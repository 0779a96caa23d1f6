import { spawn } from 'node:child_process'
import { chownSync, mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { ApplicationError } from '../../application/error.ts'
import { asAccount, environmentOf } from '../../application/host/run-as.ts'
import { readUnitProcess, type UnitCommand } from '../../application/host/unit-process.ts'
import { runProgram } from '../../application/program.ts'
import { type Account, findAccount } from '../../engine/os/accounts.ts'

export interface StartedUnit {
  /** Settings of the unit that have an effect with systemd alone. */
  readonly without: readonly string[]
  /** How the process ended; undefined while it runs. */
  readonly ended: () => string | undefined
}

/**
 * Starts what a service unit starts, where no systemd runs: `ExecStartPre=`, then `ExecStart=`, as its user, in its folder and
 * with its environment. What it prints goes to a file, from the beginning. Throws `SERVICE`.
 */
export async function startUnit(file: string, outputFile: string, signal: AbortSignal): Promise<StartedUnit> {
  const unit = await readUnitProcess(file)
  const account = accountOf(unit.user)
  for (const name of unit.runtimeFolders) {
    const folder = join('/run', name)
    mkdirSync(folder, { recursive: true, mode: 0o755 })
    if (account !== undefined) chownSync(folder, account.uid, account.gid)
  }
  const env = { ...environmentOf(account), ...unit.environment }
  const options = { env, ...(unit.cwd === undefined ? {} : { cwd: unit.cwd === '~' ? account?.home : unit.cwd }) }
  for (const command of unit.before) {
    const [program, ...args] = commandLine(command, account)
    const { exitCode, stderr } = await runProgram(program, args, { ...options, signal } as Parameters<
      typeof runProgram
    >[2])
    if (exitCode !== 0 && !command.mayFail) {
      throw new ApplicationError(
        'SERVICE',
        `Cannot start the unit: ${command.program} of ExecStartPre ended with ${exitCode}`,
        {
          hint: stderr.trim().split('\n').slice(-5).join('\n'),
        },
      )
    }
  }
  const [program, ...args] = commandLine(unit.start, account)
  const output = openSync(outputFile, 'w', 0o600)
  const child = spawn(program, args, { ...options, stdio: ['ignore', output, output], detached: true })
  let ended: string | undefined
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (cause) =>
      reject(new ApplicationError('SERVICE', `Cannot start the unit: ${program} cannot be run`, { cause })),
    )
  })
  child.once('exit', (code, how) => {
    ended = code === null ? `it was ended by ${how}` : `it ended with exit code ${code}`
  })
  return { without: unit.without, ended: () => ended }
}

function commandLine({ program, args }: UnitCommand, account: Account | undefined): [string, ...string[]] {
  return asAccount(account, program, args)
}

function accountOf(user: string | undefined): Account | undefined {
  if (user === undefined) return undefined
  const account = findAccount(user)
  if (account !== undefined) return account
  throw new ApplicationError('SERVICE', `Cannot start the unit: there is no user ${user}`, {
    facts: { user },
    hint: `Make it: \`useradd --system ${user}\``,
  })
}
