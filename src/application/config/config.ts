import type { Duration } from './duration.ts'
import type { Reference } from './reference.ts'

export type Environment = 'production' | 'staging' | 'development'

export type ComponentKind = 'files' | 'sqlite' | 'secrets' | 'pm2' | 'systemd' | 'nginx' | 'command'

export interface ComponentConfig {
  readonly name: string
  readonly kind: ComponentKind
  /**
   * Absolute paths, normalised, without a slash at the end. Of `systemd` and `nginx` also names as given (a unit, a
   * site), which `application/host` resolves: a name holds no slash. Empty only for `command`.
   */
  readonly paths: readonly string[]
  /** Patterns in the syntax of `.gitignore`, relative to each path of the component. */
  readonly exclude: readonly string[]
  /** Absolute paths inside of this component that belong to another one: every file is in the innermost only. */
  readonly elsewhere: readonly string[]
  /** Of kind `command`, always: a shell command whose output is what is stored. */
  readonly command?: string
}

export interface Owner {
  readonly user: string
  readonly group: string
}

export interface Schedule {
  /** Five cron fields; absent: started by hand. */
  readonly backup: string | undefined
  readonly verify: string | undefined
  /** IANA name. */
  readonly timezone: string
}

/** How long the first snapshot of each day, week, month and year is kept; absent: no snapshot is kept for that reason. */
export interface Retention {
  readonly daily: Duration | undefined
  readonly weekly: Duration | undefined
  readonly monthly: Duration | undefined
  readonly yearly: Duration | undefined
}

export interface Objectives {
  readonly rpo: Duration | undefined
  readonly rto: Duration | undefined
}

export interface OffSite {
  /** A location: absolute local path, or `s3:…`, `sftp:…`, `rest:…`, `rclone:…`. */
  readonly to: string
  readonly storageClass: string | undefined
  readonly objectLock: Duration | undefined
  /** Absent: the password of the repository itself. */
  readonly passwordFile: string | undefined
}

export interface ServiceConfig {
  readonly manager: 'pm2' | 'systemd' | 'command'
  /** Of the process or unit; absent only for `command`. */
  readonly name: string | undefined
  /** Of `command`, both always. */
  readonly start: string | undefined
  readonly stop: string | undefined
  readonly install: string | undefined
  readonly build: string | undefined
  readonly health: string | undefined
  readonly metrics: string | undefined
  readonly expectLog: readonly string[]
}

/** A shell command that ends with 0 when all is well. */
export interface DrillCheckConfig {
  readonly name: string
  readonly run: string
}

export interface Drill {
  readonly every: Duration
  /** The age of the snapshot that is rehearsed, between two bounds, or simply the latest. */
  readonly pick: 'latest' | { readonly youngest: Duration; readonly oldest: Duration }
  /** Of the operator's own, run beside the restored application as its owner, in `root`. */
  readonly checks: readonly DrillCheckConfig[]
}

export type ChannelKind = 'discord' | 'slack' | 'webhook' | 'mail' | 'ping' | 'command'
export type NotifiedOutcome = 'succeeded' | 'incomplete' | 'failed' | 'overdue'

export interface NotifyChannel {
  readonly kind: ChannelKind
  readonly target: Reference
  /** Of `mail`: an SMTP server as a URL; absent: the system's own mailer. */
  readonly smtp: Reference | undefined
  readonly on: readonly NotifiedOutcome[]
}

/** `holdfast.yaml`, checked, with its defaults filled in. Relative paths in it became absolute; see `parseConfig`. */
export interface Config {
  /** Absolute path of the file that this was read from. */
  readonly file: string
  /** The file as it was read, for the snapshot. Holds no secret: secrets stand in it as references only. */
  readonly text: string
  readonly app: string
  readonly environment: Environment
  readonly root: string
  readonly owner: Owner | undefined
  /** A location: absolute local path, or `s3:…`, `sftp:…`, `rest:…`, `rclone:…`. */
  readonly repository: string
  readonly passwordFile: string | undefined
  /** In the order of the file. */
  readonly components: readonly ComponentConfig[]
  /** Patterns in the syntax of `.gitignore`, relative to `root`, for all components. */
  readonly exclude: readonly string[]
  /** Recipients, each once: `gpg:…` or `age:…`; a key file in one has an absolute path. */
  readonly seal: readonly string[]
  /** Absolute paths of age identity files. */
  readonly unsealIdentities: readonly string[]
  /** `gpg:KEY` or `ssh:/path/to/private/key`. */
  readonly sign: string | undefined
  readonly schedule: Schedule
  readonly retention: Retention
  readonly objectives: Objectives
  readonly offSite: readonly OffSite[]
  readonly service: ServiceConfig | undefined
  readonly drill: Drill | undefined
  readonly notify: readonly NotifyChannel[]
  readonly contacts: ReadonlyMap<string, string>
  readonly log: string
  readonly workDirectory: string
  readonly stateDirectory: string
}
