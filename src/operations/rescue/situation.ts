import type { ApplicationCheck } from '../../application/host/health.ts'
import type { Deploy } from '../../application/host/last-deploy.ts'
import type { ServiceState } from '../../application/host/service.ts'
import type { ProofLevel } from '../../application/journal/proof-level.ts'
import type { DatabaseTrouble } from '../../application/sources/diagnose-database.ts'

/** A component, held against the newest snapshot. */
export interface ComponentChanges {
  readonly name: string
  readonly kind: string
  /** It holds databases, or is the folder of data: it changes all the time, and that alone is no trouble. */
  readonly isData: boolean
  /** Some of its files are sealed in the snapshot. */
  readonly holdsSecrets: boolean
  /** Nothing of it is there. */
  readonly isGone: boolean
  /** Files that the snapshot has and that are not there. */
  readonly missing: number
  readonly changed: number
  /** Files that the snapshot does not have. */
  readonly added: number
  /** The first of them, missing ones first. */
  readonly files: readonly { readonly path: string; readonly change: 'missing' | 'changed' | 'added' }[]
  /** When one of them was written to last. */
  readonly last: Date | undefined
  /** One of them says what the application depends on. */
  readonly dependencies: boolean
}

export interface KnownSnapshot {
  readonly id: string
  readonly time: Date
}

/** What can be seen of an application that may be in trouble, and of what could help it; plain data. */
export interface Situation {
  readonly app: string
  readonly config: {
    readonly file: string
    readonly from: 'machine' | 'snapshot'
    /** Also where the one of the snapshot is taken. */
    readonly isThere: boolean
  }
  readonly root: { readonly path: string; readonly isThere: boolean }
  /** Undefined: the config does not say how it runs. */
  readonly service:
    | {
        readonly name: string
        readonly state: ServiceState | undefined
        /** It failed by itself: its manager has given up, or starts it again and again. */
        readonly keepsFailing: boolean
        /** The end of its log, where it is not well. */
        readonly said: readonly string[]
      }
    | undefined
  /** One look each, without waiting. */
  readonly checks: readonly ApplicationCheck[]
  /** Who has its port while it does not run. */
  readonly portTakenBy:
    | { readonly port: number; readonly pid: number | undefined; readonly command: string | undefined }
    | undefined
  /** Undefined: none is part of the application, or systemd does not run it. */
  readonly webServer: { readonly isRunning: boolean; readonly problem: string | undefined } | undefined
  readonly space: readonly {
    readonly path: string
    readonly free: number
    readonly total: number
    readonly isFull: boolean
  }[]
  readonly databases: readonly { readonly path: string; readonly trouble: DatabaseTrouble; readonly seen: string }[]
  readonly repository: { readonly location: string; readonly problem: string | undefined }
  readonly newest: (KnownSnapshot & { readonly isWhole: boolean }) | undefined
  /** The newest of which more is proven than that it was stored. */
  readonly proven: (KnownSnapshot & { readonly level: ProofLevel; readonly at: Date }) | undefined
  /** Undefined: there is no snapshot to hold it against. */
  readonly changes: readonly ComponentChanges[] | undefined
  /** The newest older snapshot that has configuration or code otherwise than the newest one, and which components. */
  readonly older: (KnownSnapshot & { readonly components: readonly string[] }) | undefined
  readonly deploy: Deploy | undefined
  /** Undefined: no snapshot holds any. */
  readonly secrets:
    | { readonly count: number; readonly missing: readonly string[]; readonly key: 'here' | 'missing' }
    | undefined
  /** A rescue or recovery that is not at its end. */
  readonly unfinished:
    | {
        readonly operation: string
        readonly begun: string
        readonly failed: string | undefined
        /** It was being taken back. */
        readonly isGoingBack: boolean
        /** What is typed after `holdfast` to go on with it. */
        readonly words: readonly string[]
        /** The repository that it was begun with, where that is another one than the one that was looked at. */
        readonly elsewhere: string | undefined
      }
    | undefined
  /** The last restart by a rescue, where it did not help and was not long ago. */
  readonly restartedInVain: { readonly at: string; readonly why: string } | undefined
  /** What could not be looked at, one line each. */
  readonly unseen: readonly string[]
}
