import type { Finding } from '../finding.ts'
import type { ComponentKind, Owner } from './config.ts'

/** A component as it would stand in the config file. */
export interface FoundComponent {
  readonly name: string
  readonly kind: ComponentKind
  /** As written: relative to the root (a folder with a slash at the end), absolute elsewhere, or the name of a unit or site. */
  readonly paths: readonly string[]
  /** Why it is one, a line each: "SQLite database auth.db", "proxies to port 3000". */
  readonly reasons: readonly string[]
}

/** What no component holds. */
export interface LeftOut {
  /** Names in the root; a folder with a slash at the end. */
  readonly names: readonly string[]
  readonly reason: string
}

export interface FoundService {
  readonly manager: 'pm2' | 'systemd'
  readonly name: string
  readonly install: string | undefined
  readonly build: string | undefined
}

/** What an application was found to be made of: plain data, from which `renderConfig` writes a config file. */
export interface Detection {
  readonly app: string
  readonly root: string
  readonly owner: Owner | undefined
  readonly components: readonly FoundComponent[]
  readonly leftOut: readonly LeftOut[]
  readonly service: FoundService | undefined
  readonly port: number | undefined
  /** What could not be looked at, or needs a decision. */
  readonly findings: readonly Finding[]
}
