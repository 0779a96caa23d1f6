import type { Command } from '../measure.ts'

export const PEER_NAMES = ['holdfast', 'restic', 'borg', 'script'] as const
export type PeerName = (typeof PEER_NAMES)[number]

/** One thing that a peer is asked to do. */
export type Step = 'create' | 'backup' | 'list' | 'check' | 'restore' | 'restore-file' | 'thin'

/** Folders of one peer, used by nobody else. */
export interface Site {
  readonly repository: string
  /** Home of the program: its cache, its state, its keys. */
  readonly home: string
}

export interface Peer {
  readonly name: PeerName
  /** Program and version, as the report names it. */
  readonly version: string
  /** Why this version cannot do a step; undefined when it can. */
  lacks(step: Step): string | undefined
  /** Not measured; undefined when a site needs nothing. */
  create(site: Site): Command | undefined
  /** @param night counts backups; for a peer that names them by date. */
  backup(site: Site, source: string, night: number, at?: Date): Command
  list(site: Site): Command
  /** Reads everything that is stored. */
  check(site: Site): Command
  /** Afterwards the latest backup of the source lies at target + source. */
  restore(site: Site, source: string, target: string): Command
  /** @param path of the file, relative to the source */
  restoreFile(site: Site, source: string, path: string, target: string): Command
  /** Keeps the newest backups, and frees what only the others needed. */
  thin(site: Site, keep: number): Command
  /** Before `thin`, where the peer's own rule is by age; not measured. */
  age?(site: Site, keep: number): void
  /** Ends what the program left running. */
  dispose?(site: Site): void
}

/** Of the benchmark's own repositories; there is nothing to protect in them. */
export const PASSWORD = 'benchmark'

export function shell(script: string, ...words: readonly string[]): readonly string[] {
  return ['sh', '-euc', script, 'sh', ...words]
}
