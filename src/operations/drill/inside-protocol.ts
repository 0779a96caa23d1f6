import type { ApplicationService } from '../../application/host/application-service.ts'
import type { IsolatedRootOptions } from '../../engine/os/isolated-root.ts'

// What a drill and its program inside the namespaces say to each other, over the channel of `child_process`: one plan in, then
// messages out. The channel stays open until the end: when it closes, the program ends.

/** A check of the operator's own: a shell command that ends with 0 when all is well. */
export interface OwnCheck {
  readonly name: string
  readonly run: string
  /** Otherwise as the application's owner. */
  readonly asRoot?: boolean
}

export interface InsidePlan {
  readonly root: IsolatedRootOptions
  readonly application: ApplicationService
  /** Of manager `systemd`: the unit file, as it lies in the isolated root. */
  readonly unit: string | undefined
  readonly install: string | undefined
  readonly build: string | undefined
  readonly health: string | undefined
  readonly metrics: string | undefined
  readonly expectLog: readonly string[]
  readonly checks: readonly OwnCheck[]
  /** How long the application may take to be well, milliseconds. */
  readonly withinMs: number
}

export const INSIDE_PHASES = ['isolate', 'install', 'build', 'start', 'health', 'checks'] as const

export type InsidePhase = (typeof INSIDE_PHASES)[number]

export type InsideMessage =
  | { readonly type: 'phase'; readonly phase: InsidePhase }
  | { readonly type: 'ended'; readonly phase: InsidePhase; readonly milliseconds: number }
  | {
      readonly type: 'check'
      readonly check: string
      readonly passed: boolean
      /** What was found, one line. */
      readonly detail: string
    }
  | { readonly type: 'note'; readonly message: string }
  /** The isolation could not be made, or a command failed. The last message, as `finished` is. */
  | {
      readonly type: 'failed'
      readonly phase: InsidePhase
      readonly message: string
      readonly hint: string | undefined
    }
  | { readonly type: 'finished' }
