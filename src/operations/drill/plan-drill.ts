import { join, posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import type { ApplicationService } from '../../application/host/application-service.ts'
import { hasProgram } from '../../application/host/requirements.ts'
import type { IsolatedRootOptions, Placed } from '../../engine/os/isolated-root.ts'
import { listeningSockets } from '../../engine/os/isolated-root.ts'
import { applicationHere } from '../application-here.ts'
import { OperationError } from '../error.ts'
import type { Manifest } from '../manifest.ts'
import { presence } from '../restore/plan-in-place.ts'
import { isBelow } from '../restore/restore-to-target.ts'
import { outermost } from '../restore/unit-paths.ts'
import type { InsidePlan } from './inside-protocol.ts'

/** What the application prints in the isolated place, and other things of the drill there. */
const INSIDE = '/run/holdfast-drill'
const WITHIN_MS = 60_000

/** The folders of one drill. */
export interface DrillFolders {
  /** Where the snapshot is restored to: everything at its absolute path below it. */
  readonly restored: string
  /** Empty, for mounts. */
  readonly mounts: string
  /** What the application writes beside what was restored. */
  readonly written: string
}

export function drillFolders(work: string): DrillFolders {
  return { restored: join(work, 'restored'), mounts: join(work, 'mounts'), written: join(work, 'written') }
}

/**
 * What is to be done in the isolated place: which of the restored files stand there in place of the machine's, and how the
 * application is started. Undefined when the config does not say how it runs. Throws `DRILL` without the user that it names.
 *
 * @param secrets `restored`, or `machine`: those of the machine stand in for those that stay sealed
 */
export async function planInside(
  config: Config,
  manifest: Manifest,
  folders: DrillFolders,
  secrets: 'restored' | 'machine',
): Promise<InsidePlan | undefined> {
  const { service, root } = config
  const here = applicationHere(config)
  if (service === undefined || here === undefined) return undefined
  if (config.owner !== undefined && here.account === undefined) throw noSuchUser(config.owner.user)
  const application: ApplicationService = { ...here, outputFile: `${INSIDE}/output.log` }
  const placed = await placedIn(manifest, folders.restored, secrets)
  return {
    root: {
      folder: folders.mounts,
      // What lies in the root itself cannot be the layer above it.
      onDisk: isBelow(folders.written, root) ? [] : [{ path: root, upper: join(folders.written, 'root') }],
      placed,
      empty: emptyFolders(application),
      sockets: listeningSockets(),
    },
    application,
    unit: service.manager === 'systemd' ? unitFile(manifest, service.name!) : undefined,
    install: service.install,
    build: service.build,
    health: service.health,
    metrics: service.metrics,
    expectLog: service.expectLog,
    checks: [...(config.drill?.checks ?? []), ...(await webServerCheck(manifest))],
    withinMs: WITHIN_MS,
  }
}

function noSuchUser(user: string): OperationError {
  return new OperationError('DRILL', `Cannot run the application: there is no user ${user} on this machine`, {
    facts: { user },
    hint: `Make it, \`useradd --system ${user}\`, or correct \`owner\` in the config`,
  })
}

/** pm2 keeps the live processes in its home: in the isolated place it begins with none. */
function emptyFolders({ manager, account }: ApplicationService): IsolatedRootOptions['empty'] {
  if (manager !== 'pm2') return []
  const { home, uid, gid } = account ?? { home: process.env.HOME ?? '/root', uid: 0, gid: 0 }
  return [{ path: join(home, '.pm2'), uid, gid }]
}

function unitFile(manifest: Manifest, name: string): string {
  const wanted = name.includes('.') ? name : `${name}.service`
  const paths = manifest.components.flatMap((component) => (component.kind === 'systemd' ? component.paths : []))
  return paths.find(({ path }) => posix.basename(path) === wanted)?.path ?? `/etc/systemd/system/${wanted}`
}

async function placedIn(manifest: Manifest, restored: string, secrets: 'restored' | 'machine'): Promise<Placed[]> {
  const sealed = manifest.secrets?.files.map(({ path }) => path) ?? []
  const captured = manifest.components.flatMap(({ paths }) => paths.map(({ path }) => path))
  const placed: Placed[] = []
  for (const path of outermost(secrets === 'restored' ? [...captured, ...sealed] : captured)) {
    if ((await presence(restored + path)) !== 'nothing') placed.push({ path, source: restored + path, how: 'mount' })
  }
  if (secrets === 'restored') return placed
  // Copies: the machine's own secrets are not for an application that is being tried out to write to.
  for (const path of outermost(sealed))
    if ((await presence(path)) !== 'nothing') placed.push({ path, source: path, how: 'copy' })
  return placed
}

async function webServerCheck(manifest: Manifest) {
  if (!manifest.components.some(({ kind }) => kind === 'nginx') || !(await hasProgram('nginx'))) return []
  return [{ name: 'nginx -t', run: 'nginx -t 2>&1', asRoot: true }]
}
