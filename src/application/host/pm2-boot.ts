import { lstat, readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ApplicationError } from '../error.ts'
import { minimalEnvironment, programFailure, runProgram } from '../program.ts'
import { asAccount, environmentOf } from './run-as.ts'
import { pm2Home, type ServiceOptions } from './service.ts'
import { parseUnitFile, splitWords, valuesOf } from './unit-file.ts'

/** Where `pm2 startup` puts its units. */
const UNITS = '/etc/systemd/system'

/** Whose pm2 it is, and where that keeps its list. */
export interface Pm2Owner {
  readonly user: string
  /** Absolute; `.pm2` in a home unless the environment says otherwise. */
  readonly pm2Home: string
}

/** What `pm2 startup` calls the unit of a user, and what makes it. */
export function pm2UnitOf({ user, pm2Home }: Pm2Owner): {
  readonly name: string
  readonly path: string
  readonly command: readonly string[]
} {
  const name = `pm2-${user}.service`
  return { name, path: join(UNITS, name), command: ['pm2', 'startup', 'systemd', '-u', user, '--hp', dirname(pm2Home)] }
}

/** The unit that brings back what this pm2 had saved, whatever it is called; undefined when there is none. */
export async function findPm2Unit({ user, pm2Home }: Pm2Owner, folder = UNITS): Promise<string | undefined> {
  for (const name of (await readdir(folder)).sort()) {
    if (!name.endsWith('.service')) continue
    const text = await readFile(join(folder, name), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (['ENOENT', 'EISDIR', 'EACCES', 'ELOOP'].includes(error.code ?? '')) return undefined // a link to nowhere, say
      throw error
    })
    const found = text === undefined ? undefined : pm2OwnerIn(text)
    if (found?.user === user && found.pm2Home === pm2Home) return name
  }
  return undefined
}

/** Whose list a unit has pm2 bring back at boot; undefined for a unit that does something else. */
export function pm2OwnerIn(text: string): { readonly user: string; readonly pm2Home: string | undefined } | undefined {
  const settings = parseUnitFile(text)
  const value = (key: string) => valuesOf(settings, 'Service', key)
  if (!value('ExecStart').some((command) => splitWords(command).includes('resurrect'))) return undefined
  const home = value('Environment')
    .flatMap(splitWords)
    .findLast((word) => word.startsWith('PM2_HOME='))
  return { user: value('User').at(-1) ?? 'root', pm2Home: home?.slice('PM2_HOME='.length) }
}

/** Makes the unit that `pm2 startup` makes, and has it start at boot. Rejects with `SERVICE`, `TOOL_MISSING`. */
export async function makePm2Unit(owner: Pm2Owner, signal?: AbortSignal): Promise<void> {
  const { path, command } = pm2UnitOf(owner)
  for (const [program, ...args] of [command, ['sync', '--', path, UNITS]]) {
    const result = await runProgram(program!, args, { env: minimalEnvironment({ PM2_HOME: owner.pm2Home }), signal })
    if (result.exitCode === 0) continue
    throw new ApplicationError('SERVICE', `Cannot have pm2 started at boot: ${programFailure(result).message}`, {
      hint: `Run \`${command.join(' ')}\``,
      cause: programFailure(result),
    })
  }
}

/** The file in its home in which pm2 keeps what it is to bring back at boot. */
export function pm2ListFile(home: string): string {
  return join(home, 'dump.pm2')
}

/** pm2 notes what it has in its list now as what it is to bring back, also when that is nothing. Rejects with `SERVICE`, `TOOL_MISSING`. */
export async function savePm2List({ account, signal }: ServiceOptions): Promise<void> {
  const file = pm2ListFile(pm2Home({ account }))
  await runAs({ account, signal }, 'pm2', ['save', '--force', '--silent'])
  await runAs({ account, signal }, 'sync', ['--', file, dirname(file)])
}

/** Copies the list beside itself, with its owner's rights: the folder is theirs, so a link in it leads us nowhere. */
export async function copyPm2List(options: ServiceOptions, to: string): Promise<void> {
  await runAs(options, 'cp', ['-p', '--', pm2ListFile(pm2Home(options)), to])
}

/** Puts the copy back, unless an earlier attempt has; null: there was no list. */
export async function putBackPm2List(options: ServiceOptions, copy: string | null): Promise<void> {
  const file = pm2ListFile(pm2Home(options))
  if (copy === null) await runAs(options, 'rm', ['-f', '--', file])
  else if (await isThere(copy)) await runAs(options, 'mv', ['-f', '--', copy, file])
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false
      throw error
    },
  )
}

async function runAs({ account, signal }: ServiceOptions, program: string, args: readonly string[]): Promise<void> {
  const [command, ...rest] = asAccount(account, program, args)
  const env = { ...environmentOf(account), PM2_HOME: pm2Home({ account }) }
  const result = await runProgram(command, rest, { env, cwd: pm2Home({ account }), signal })
  if (result.exitCode === 0) return
  const { message } = programFailure(result)
  throw new ApplicationError('SERVICE', `Cannot keep the list of pm2: ${message}`, {
    hint: `Run \`pm2 save\` as ${account?.name ?? 'yourself'}`,
    cause: programFailure(result),
  })
}
