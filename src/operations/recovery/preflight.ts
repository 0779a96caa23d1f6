import { lstat } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import { ApplicationError } from '../../application/error.ts'
import type { Finding } from '../../application/finding.ts'
import type { ApplicationService } from '../../application/host/application-service.ts'
import { isHere } from '../../application/host/health.ts'
import { accountCommands } from '../../application/host/make-account.ts'
import { allDirectives, parseNginxConfig } from '../../application/host/nginx-config.ts'
import { hasProgram, installCommand, portUser } from '../../application/host/requirements.ts'
import { parseUnitFile, splitWords, valuesOf } from '../../application/host/unit-file.ts'
import { isSystemdRunning } from '../../application/host/unit-state.ts'
import { findAccount, groupId } from '../../engine/os/accounts.ts'
import type { Manifest } from '../manifest.ts'
import { rewriteText } from '../restore/relocation.ts'
import { isBelow } from '../restore/restore-to-target.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { readSmall } from './read-small.ts'
import type { RecoveryPart } from './recovery-part.ts'
import type { RecoveryPlan } from './recovery-plan.ts'

export interface PreflightOptions {
  readonly config: Config
  readonly withoutSecrets: boolean
  readonly createUser: boolean
  readonly part: RecoveryPart | undefined
  readonly signal: AbortSignal
  readonly application: ApplicationService | undefined
  readonly manifest: Manifest
  /** Why the secrets cannot be unsealed. */
  readonly sealed: readonly Finding[]
}

type Draft = Omit<RecoveryPlan, 'steps' | 'preflight' | 'others' | 'prediction'>

/**
 * What a recovery will need and this machine lacks, each with the command that helps: rights, programs, the owner's account,
 * ports, room, and a key that opens the secrets. Changes nothing.
 */
export async function preflight(chosen: ChosenSnapshot, plan: Draft, options: PreflightOptions): Promise<Finding[]> {
  const findings: Finding[] = []
  const missing = (code: string, message: string, hint: string, severity: Finding['severity'] = 'error') =>
    findings.push({ severity, code, message, hint })

  await rights(plan, missing)
  await programs(chosen, plan, options, missing)
  account(plan, options, missing)
  await ports(plan, options, missing)
  await webPorts(chosen, plan, options, missing)
  for (const { path, needed, free } of plan.space) {
    if (needed > free) {
      const amounts = `${sizeText(needed)} are needed at ${path}, ${sizeText(free)} are free`
      missing('no-room', amounts, `Free some room there: du -xh ${path} | sort -h | tail`)
    }
  }
  for (const { message, hint = 'Import the private key' } of options.sealed) {
    if (options.withoutSecrets) missing('secrets-sealed', message, 'They are left out, as asked for', 'warning')
    else if (options.part?.kind === 'secrets') missing('secrets-sealed', message, hint)
    else missing('secrets-sealed', message, `${hint}. With --without-secrets all but the secrets is restored`)
  }
  return findings
}

function sizeText(bytes: number): string {
  return bytes < MEBIBYTE ? `${Math.ceil(bytes / 1024)} KiB` : `${Math.ceil(bytes / MEBIBYTE)} MiB`
}

const MEBIBYTE = 1024 * 1024

type Missing = (code: string, message: string, hint: string, severity?: Finding['severity']) => void

async function rights(plan: Pick<RecoveryPlan, 'owner' | 'units' | 'webServer'>, missing: Missing): Promise<void> {
  if (process.geteuid?.() === 0) return
  const own = plan.owner === undefined || findAccount(plan.owner.user)?.uid === process.geteuid?.()
  if (own && !plan.units && !plan.webServer) return
  missing('not-root', 'A recovery changes what belongs to the system and to other accounts', 'Run it as root: sudo …')
}

async function programs(
  chosen: ChosenSnapshot,
  plan: Draft,
  { application, manifest, withoutSecrets }: PreflightOptions,
  missing: Missing,
): Promise<void> {
  const wanted = new Map<string, string>()
  const want = (program: string, why: string) => wanted.set(program, wanted.get(program) ?? why)
  want('sync', 'to write what was restored to disk')
  const archives = manifest.secrets?.archives ?? []
  const onlyGpg = archives.length > 0 && archives.every((name) => name.endsWith('.gpg'))
  if (onlyGpg && !withoutSecrets) want('gpg', 'to unseal the secrets')
  if (plan.accountCommands.length > 0) want('useradd', 'to make the account')
  if (plan.owner !== undefined && plan.commands.length > 0) want('setpriv', 'to run commands as the owner')
  if (plan.starts && application?.manager === 'pm2') want('pm2', 'to start the application')
  if (plan.starts && application?.manager === 'systemd') {
    want('systemctl', 'to start the application')
    want('journalctl', 'to read its log')
  }
  if (plan.webServer) want('nginx', 'the web server of the application')
  for (const { what, command } of plan.commands) {
    // A plain command's first word is a program; of others the shell will tell.
    const word = /^[A-Za-z0-9_+-]+(?=\s|$)/.exec(command)?.[0]
    if (word !== undefined && !BUILT_IN.has(word)) want(word, `the ${what} command begins with it`)
  }
  for (const { program, unit } of await startedByUnits(chosen, manifest)) want(program, `${unit} starts it`)
  for (const [program, why] of wanted) {
    if (program.startsWith('/')) {
      const isRestored = plan.components.some(({ plan: inPlace }) =>
        inPlace?.units.some(({ path }) => isBelow(program, path)),
      )
      if (isRestored || isBelow(program, plan.root) || (await isThere(program))) continue
      missing(
        'no-program',
        `${program} is missing: ${why}`,
        `Install it: ${await installCommand(posix.basename(program))}`,
      )
    } else if (!(await hasProgram(program))) {
      missing('no-program', `${program} is not installed: ${why}`, `Install it: ${await installCommand(program)}`)
    }
  }
  if (plan.starts && application?.manager === 'systemd' && !(await isSystemdRunning())) {
    missing(
      'no-systemd',
      'systemd does not run this machine, and the application is started by it',
      'Recover on a machine with systemd',
    )
  }
}

/** What a shell knows by itself. */
const BUILT_IN = new Set(
  'alias case cd command echo eval exec exit export false for if printf pwd read return set shift test trap true ulimit umask unset until wait while'.split(
    ' ',
  ),
)

/** What the units of the snapshot start, where they are not sealed. */
async function startedByUnits(
  chosen: ChosenSnapshot,
  manifest: Manifest,
): Promise<{ readonly program: string; readonly unit: string }[]> {
  const started: { program: string; unit: string }[] = []
  const paths = manifest.components.filter(({ kind }) => kind === 'systemd').flatMap((component) => component.paths)
  for (const { path } of paths) {
    const text = await readSmall(chosen, path)
    const settings = text === undefined ? [] : parseUnitFile(text)
    for (const command of valuesOf(settings, 'Service', 'ExecStart')) {
      const [first = '', ...rest] = splitWords(command.replace(/^[-@:+!|]+/, ''))
      const isEnv = posix.basename(first) === 'env'
      const program = isEnv ? rest.find((word) => !word.includes('=') && !word.startsWith('-')) : first
      if (program !== undefined && program !== '') started.push({ program, unit: posix.basename(path) })
    }
  }
  return started
}

function account(plan: Pick<RecoveryPlan, 'owner'>, { createUser, part }: PreflightOptions, missing: Missing): void {
  if (plan.owner === undefined || createUser) return
  const { user, group } = plan.owner
  const commands = accountCommands(plan.owner).map((command) => command.join(' '))
  const hint = `${part === undefined ? 'Add --create-user, or run' : 'Run'}: ${commands.join(' && ')}`
  if (findAccount(user) === undefined)
    missing('no-user', `There is no user ${user}, to whom the application belongs`, hint)
  else if (groupId(group) === undefined)
    missing('no-group', `There is no group ${group}, to which the application belongs`, hint)
}

async function ports(plan: Draft, { config }: PreflightOptions, missing: Missing): Promise<void> {
  // The application itself may have it now, and is stopped first.
  if (!plan.starts || plan.service?.state === 'running' || plan.resumes !== undefined) return
  const { health, manager } = config.service ?? {}
  if (health === undefined) return
  if (manager === 'command' && (await isThere(config.root))) return // nobody can tell whose it is: likely its own
  if (!isHere(health)) return
  const { port, protocol } = new URL(health)
  const number = Number(port || (protocol === 'https:' ? 443 : 80))
  const user = await portUser(number)
  if (user === undefined) return
  const who = user.pid === undefined ? 'another process' : `process ${user.pid} (${user.command})`
  // Behind nginx, the port of the health check may be that of nginx.
  if (user.command === 'nginx') return
  missing(
    'port-taken',
    `Port ${number}, on which the application answers, is taken by ${who}`,
    `Stop it, or bring the application to another port: --map port=${number}:OTHER`,
  )
}

/** Ports of the web server that somebody else has: it would not start. */
async function webPorts(
  chosen: ChosenSnapshot,
  plan: Draft,
  { manifest }: PreflightOptions,
  missing: Missing,
): Promise<void> {
  const wanted = new Map<number, string>()
  const sites = manifest.components.filter(({ kind }) => kind === 'nginx').flatMap(({ paths }) => paths)
  for (const { path } of sites) {
    const text = await readSmall(chosen, path)
    if (text === undefined) continue
    for (const port of listenPorts(rewriteText(text, plan.relocation).text, path)) wanted.set(port, path)
  }
  for (const [port, path] of wanted) {
    const user = await portUser(port)
    if (user === undefined || user.command === 'nginx') continue
    const who = user.pid === undefined ? 'another process' : `process ${user.pid} (${user.command})`
    missing('port-taken', `Port ${port}, on which nginx is to listen (${path}), is taken by ${who}`, 'Stop it')
  }
}

function listenPorts(text: string, path: string): number[] {
  if (/-----BEGIN/.test(text)) return [] // a certificate
  try {
    const listens = [...allDirectives(parseNginxConfig(text, path))].filter(({ name }) => name === 'listen')
    return listens.flatMap(({ args: [address = ''] }) => {
      const port = /^(?:.*:)?(\d+)$/.exec(address)?.[1]
      return port === undefined || address.startsWith('unix:') ? [] : [Number(port)]
    })
  } catch (error) {
    if (error instanceof ApplicationError) return [] // nginx -t will say what is wrong with it
    throw error
  }
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false
      throw error
    },
  )
}
