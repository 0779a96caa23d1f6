import { basename, dirname, join, resolve } from 'node:path'
import type { ComponentConfig, ComponentKind, Config, NotifyChannel, Schedule } from './config.ts'
import { duration } from './duration.ts'
import type { Location } from './location.ts'
import type { Recipient } from './recipient.ts'
import type { Reference } from './reference.ts'
import type { WrittenConfig } from './schema.ts'

/** What the defaults depend on. */
export interface ConfigHost {
  readonly isRoot: boolean
  readonly home: string
  /** `XDG_STATE_HOME`; only an absolute path counts (XDG Base Directory Specification). */
  readonly stateHome: string | undefined
}

/**
 * Fills in the defaults and makes every path absolute: those of components count from `root`, all others from the folder
 * of the config file.
 */
export function normaliseConfig(written: WrittenConfig, file: string, text: string, host: ConfigHost): Config {
  const folder = dirname(file)
  const root = resolve(folder, written.root)
  const environment = written.environment ?? 'production'
  const state =
    written['state-dir'] === undefined ? defaultState(written.app, host) : resolve(folder, written['state-dir'])
  const log = host.isRoot ? `/var/log/holdfast/${written.app}.log` : join(state, 'holdfast.log')
  const components = Object.entries(written.components).map(([name, value]) => normaliseComponent(name, value, root))
  const sealed = Object.values(written.components).flatMap((value) =>
    typeof value === 'object' && 'seal' in value ? list(value.seal) : [],
  )
  const recipients = [...list(written.seal), ...sealed].map((each) => spellRecipient(each, folder))
  const objectives = written.objectives ?? {}
  const defaults = environmentDefaults[environment]
  return {
    file,
    text,
    app: written.app,
    environment,
    root,
    owner: written.owner,
    repository: spellLocation(written.repository, folder),
    passwordFile: optionalPath(written['password-file'], folder),
    components: components.map((component) => ({ ...component, elsewhere: pathsInside(component, components) })),
    exclude: list(written.exclude),
    seal: [...new Set(recipients)],
    unsealIdentities: list(written.unseal).map((path) => resolve(folder, path)),
    sign: written.sign?.startsWith('ssh:') ? `ssh:${resolve(folder, written.sign.slice(4))}` : written.sign,
    schedule: normaliseSchedule(written.schedule, defaults.backup),
    retention: {
      daily: kept(written.retention?.daily, '30d'),
      weekly: kept(written.retention?.weekly, '90d'),
      monthly: kept(written.retention?.monthly, '1y'),
      yearly: kept(written.retention?.yearly, '7y'),
    },
    objectives: {
      rpo: objectives.rpo ?? (defaults.rpo === undefined ? undefined : duration(defaults.rpo)),
      rto: objectives.rto ?? (defaults.rto === undefined ? undefined : duration(defaults.rto)),
    },
    offSite: (written['off-site'] ?? []).map((copy) => ({
      to: spellLocation(copy.to, folder),
      storageClass: copy['storage-class'],
      objectLock: copy['object-lock'],
      passwordFile: optionalPath(copy['password-file'], folder),
    })),
    service:
      written.service === undefined
        ? undefined
        : {
            manager: written.service.manager,
            name: written.service.name,
            start: written.service.start,
            stop: written.service.stop,
            install: written.service.install,
            build: written.service.build,
            health: written.service.health,
            metrics: written.service.metrics,
            expectLog: list(written.service['expect-log']),
          },
    drill: normaliseDrill(written.drill, environment === 'production'),
    notify: (written.notify ?? []).map((channel) => normaliseChannel(channel, folder)),
    contacts: new Map(Object.entries(written.contacts ?? {})),
    log: optionalPath(written.log, folder) ?? log,
    workDirectory: optionalPath(written['work-dir'], folder) ?? join(state, 'work'),
    stateDirectory: state,
  }
}

/** The frequencies and objectives of the runbook that this replaces: daily, weekly, by hand. */
const environmentDefaults = {
  production: { backup: '0 2 * * *', rpo: '24h', rto: '4h' },
  staging: { backup: '0 2 * * 0', rpo: '7d', rto: undefined },
  development: { backup: undefined, rpo: undefined, rto: undefined },
}

/** Components that need no `kind`. */
export const NAMED_KINDS: Readonly<Record<string, ComponentKind>> = {
  secrets: 'secrets',
  pm2: 'pm2',
  systemd: 'systemd',
  nginx: 'nginx',
}

type WrittenComponent = WrittenConfig['components'][string]

function normaliseComponent(name: string, value: WrittenComponent, root: string): ComponentConfig {
  const { kind, path, paths, exclude, command } =
    typeof value === 'string'
      ? { path: value }
      : Array.isArray(value)
        ? { paths: value }
        : (value as Exclude<WrittenComponent, string | string[]>)
  const implied = command === undefined ? (NAMED_KINDS[name] ?? 'files') : 'command'
  const used = kind ?? implied
  return {
    name,
    kind: used,
    paths: (path === undefined ? (paths ?? []) : [path]).map((each) =>
      isName(each, used) ? each : resolve(root, each),
    ),
    exclude: list(exclude),
    elsewhere: [],
    ...(command === undefined ? {} : { command }),
  }
}

/** Whether `path` is the name of a unit or site, which the host resolves. */
function isName(path: string, kind: ComponentKind): boolean {
  return (kind === 'systemd' || kind === 'nginx') && basename(path) === path
}

function pathsInside(component: ComponentConfig, all: readonly ComponentConfig[]): string[] {
  const others = all.filter((other) => other !== component).flatMap(({ paths }) => paths)
  return [...new Set(others.filter((path) => component.paths.some((own) => isInside(path, own))))]
}

/** Whether `path` lies below `folder`; both absolute and normalised. */
export function isInside(path: string, folder: string): boolean {
  return path !== folder && path.startsWith(folder === '/' ? '/' : `${folder}/`)
}

function defaultState(app: string, host: ConfigHost): string {
  return join(defaultStates(host), app)
}

/** The folder that holds the state folders of all applications whose configs name no other. */
export function defaultStates({ isRoot, home, stateHome }: ConfigHost): string {
  if (isRoot) return '/var/lib/holdfast'
  return join(stateHome?.startsWith('/') ? stateHome : join(home, '.local/state'), 'holdfast')
}

function normaliseSchedule(written: WrittenConfig['schedule'], backup: string | undefined): Schedule {
  const given = written?.backup ?? backup
  return {
    backup: given === 'manual' ? undefined : given,
    verify: written?.verify === 'manual' ? undefined : written?.verify,
    timezone: written?.timezone ?? 'UTC',
  }
}

function normaliseDrill(written: WrittenConfig['drill'], isProduction: boolean): Config['drill'] {
  const pick = { youngest: duration('14d'), oldest: duration('21d') }
  if (written === undefined) return isProduction ? { every: duration('90d'), pick, checks: [] } : undefined
  if (written === 'none') return undefined
  return { every: written.every, pick: written.pick ?? pick, checks: written.checks ?? [] }
}

type WrittenChannel = NonNullable<WrittenConfig['notify']>[number]

function normaliseChannel(written: WrittenChannel, folder: string): NotifyChannel {
  const { on, smtp, ...targets } = written
  // The schema lets exactly one through.
  const [kind, target] = Object.entries(targets)[0] as [NotifyChannel['kind'], Reference]
  return {
    kind,
    target: resolveReference(target, folder),
    smtp: smtp === undefined ? undefined : resolveReference(smtp, folder),
    on: on === undefined ? toldOf(kind) : list(on),
  }
}

/** A dead man's switch is there for what does not happen: it must hear of what does. */
function toldOf(kind: NotifyChannel['kind']): NotifyChannel['on'] {
  return kind === 'ping' ? ['succeeded', 'incomplete', 'failed'] : ['incomplete', 'failed', 'overdue']
}

function resolveReference(reference: Reference, folder: string): Reference {
  return reference.kind === 'file' ? { kind: 'file', path: resolve(folder, reference.path) } : reference
}

function kept<Kept>(written: Kept | 'none' | undefined, otherwise: string) {
  if (written === 'none') return undefined
  return written ?? duration(otherwise)
}

function list<Entry>(written: Entry | readonly Entry[] | undefined): readonly Entry[] {
  if (written === undefined) return []
  return Array.isArray(written) ? written : [written as Entry]
}

function optionalPath(path: string | undefined, folder: string): string | undefined {
  return path === undefined ? undefined : resolve(folder, path)
}

function spellLocation({ kind, text }: Location, folder: string): string {
  return kind === 'local' ? resolve(folder, text) : text
}

function spellRecipient({ tool, by, value }: Recipient, folder: string): string {
  return `${tool}:${by === 'file' ? resolve(folder, value) : value}`
}
