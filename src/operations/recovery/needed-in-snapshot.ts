import { posix } from 'node:path'
import type { Finding } from '../../application/finding.ts'
import { isWithin } from '../../application/host/host-path.ts'
import { neededFolders } from '../../application/host/needed-folders.ts'
import { foldersOfApps, parseDefinitions, summarise } from '../../application/host/pm2.ts'
import { foldersOfUnit, parseUnitFile } from '../../application/host/unit-file.ts'
import { CodedError } from '../../engine/error.ts'
import type { Manifest } from '../manifest.ts'
import { presence } from '../restore/plan-in-place.ts'
import { type Relocation, relocatePath, rewriteText } from '../restore/relocation.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { readSmall } from './read-small.ts'

export interface NeededOptions {
  /** Of the application, on this machine. */
  readonly root: string
  readonly relocation: Relocation
  /** Names of the components that are brought back; of the others what is here counts. */
  readonly restored: ReadonlySet<string>
  readonly signal: AbortSignal
}

/**
 * Folders in the root that must be there before the application can start, as far as that can be told before anything is restored:
 * its backup noted them, or units and ecosystem files name them. Nothing of a snapshot is run for that.
 */
export async function neededInSnapshot(
  chosen: ChosenSnapshot,
  options: NeededOptions,
): Promise<{ readonly folders: readonly string[]; readonly findings: readonly Finding[] }> {
  const { root, relocation, restored } = options
  const folders: string[] = []
  const findings: Finding[] = []
  for (const component of chosen.manifest!.components) {
    if (component.kind !== 'pm2' && component.kind !== 'systemd') continue
    try {
      const { name, needs } = component
      if (!restored.has(name)) folders.push(...(await neededHere(component, options)))
      else if (needs !== undefined) folders.push(...needs.map((folder) => relocatePath(folder, relocation)))
      else folders.push(...(await neededBy(component, chosen, options, (why) => findings.push(notKnown(name, why)))))
    } catch (error) {
      if (!(error instanceof CodedError)) throw error
      findings.push(notKnown(component.name, error.message))
    }
  }
  return { folders: [...new Set(folders)].filter((folder) => isWithin(root, folder)).sort(), findings }
}

function notKnown(component: string, why: string): Finding {
  return {
    severity: 'note',
    code: 'folders-unknown',
    component,
    message: `Which folders ${component} needs beside its files is not known before it is restored: ${why}`,
  }
}

type Component = Manifest['components'][number]

async function neededHere({ kind, paths }: Component, { root, relocation, signal }: NeededOptions) {
  const files: string[] = []
  for (const { path } of paths) {
    const live = relocatePath(path, relocation)
    if ((await presence(live)) === 'file') files.push(live)
  }
  return kind === 'systemd'
    ? neededFolders({ root, unitFiles: files, ecosystem: undefined, signal })
    : neededFolders({ root, unitFiles: [], ecosystem: files.at(-1), signal })
}

/** Of a backup that noted nothing, such as one that was imported. */
async function neededBy(
  { kind, paths }: Component,
  chosen: ChosenSnapshot,
  { relocation, signal }: NeededOptions,
  isUnknown: (why: string) => void,
): Promise<readonly string[]> {
  const folders: string[] = []
  for (const { path } of paths) {
    const text = await readSmall(chosen, path, signal)
    if (text === undefined) continue
    const rewritten = rewriteText(text, relocation).text
    if (kind === 'systemd') {
      folders.push(...foldersOfUnit(parseUnitFile(rewritten)))
      continue
    }
    const file = relocatePath(path, relocation)
    const definitions = parseDefinitions(file, rewritten)
    if (definitions !== undefined) folders.push(...foldersOfApps(summarise(definitions, file, rewritten).apps))
    else isUnknown(`its backup did not note it, and ${posix.basename(path)} would have to be run`)
  }
  return folders
}
