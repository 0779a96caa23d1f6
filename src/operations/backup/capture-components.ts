import { lstat } from 'node:fs/promises'
import type { ComponentConfig, Config } from '../../application/config/config.ts'
import { type Exclusion, isTaggedCache } from '../../application/config/exclude.ts'
import type { Finding } from '../../application/finding.ts'
import { captureNginx } from '../../application/host/nginx.ts'
import { capturePm2 } from '../../application/host/pm2.ts'
import { captureSystemd } from '../../application/host/systemd.ts'
import type { Capture, DatabaseRecord, Substitute } from '../../application/sources/capture.ts'
import { captureFiles } from '../../application/sources/files.ts'
import { plainCapture } from '../../application/sources/plain-capture.ts'
import { captureSecrets } from '../../application/sources/secrets.ts'
import { CodedError } from '../../engine/error.ts'

export interface ComponentCapture {
  readonly component: ComponentConfig
  readonly capture: Capture
}

export interface CaptureContext {
  readonly config: Config
  /** What stays out, by component: see `leftOutOf`. */
  readonly leftOut: ReadonlyMap<string, Exclusion>
  /** Files that are secrets whatever their names: see `keyFilesOf`. */
  readonly keyFiles: readonly string[]
  readonly hostRoot: string
  /** A folder of this run alone, 0700, on a disk that is large enough for the databases. */
  readonly workDirectory: string
  /** What the previous snapshot recorded of databases that it still holds. */
  readonly previousDatabases: readonly DatabaseRecord[]
  readonly signal: AbortSignal
}

/**
 * One component, captured. What cannot be captured is a finding of severity `error`; only an interruption is an exception,
 * so that one broken component never keeps the others out of the snapshot.
 */
export async function captureComponent(component: ComponentConfig, context: CaptureContext): Promise<ComponentCapture> {
  try {
    return { component, capture: await capture(component, context) }
  } catch (error) {
    context.signal.throwIfAborted()
    return { component, capture: plainCapture({ findings: failureFindings(component, error) }) }
  }
}

/** What is said of a component that could not be captured at all. Anything that is no failure of the outside is thrown on. */
export function failureFindings(component: ComponentConfig, error: unknown): Finding[] {
  const ofTheSystem = typeof (error as NodeJS.ErrnoException).errno === 'number'
  if (!ofTheSystem && (!(error instanceof CodedError) || error.code === 'INTERRUPTED')) throw error
  const { message } = error as Error
  const hint = error instanceof CodedError && error.hint !== undefined ? { hint: error.hint } : {}
  const missing = error instanceof CodedError && Array.isArray(error.facts.paths) ? error.facts.paths : []
  if (missing.length > 0) {
    return missing.map((path) => ({
      severity: 'error',
      code: 'missing',
      component: component.name,
      path,
      message: `Cannot capture ${path}: found nothing there`,
      ...hint,
    }))
  }
  return [{ severity: 'error', code: 'component-not-captured', component: component.name, message, ...hint }]
}

async function capture(component: ComponentConfig, context: CaptureContext): Promise<Capture> {
  const { config, hostRoot, signal, workDirectory, previousDatabases } = context
  switch (component.kind) {
    case 'files':
    case 'sqlite': {
      const { options, withCachesLeftOut } = filesOptions(component, context)
      const captured = await captureFiles(component, { ...options, workDirectory, previousDatabases, signal })
      return withKeyFilesSealed(withCachesLeftOut(captured), options.excluded, context)
    }
    case 'secrets':
      return captureSecrets(component, { excluded: excludedFrom(component, context), signal })
    case 'pm2':
      return capturePm2(component, { hostRoot, signal })
    case 'systemd':
      return captureSystemd(component, { hostRoot, signal, covers: (path) => isCovered(config, path) })
    case 'nginx':
      return captureNginx(component, { hostRoot, signal })
    case 'command':
      return plainCapture({
        findings: [
          {
            severity: 'error',
            code: 'component-not-supported',
            component: component.name,
            message: `Component ${component.name} is not backed up: this version cannot capture the output of a command yet`,
            hint: 'Let the command write its dump into a folder of a component, for example from cron, until it can',
          },
        ],
      })
  }
}

/**
 * How `captureFiles` and `planFiles` look at a component. The archiver walks the same folders again and knows nothing of
 * tagged caches: `withCachesLeftOut` tells it of those that were met.
 */
export function filesOptions(component: ComponentConfig, context: Pick<CaptureContext, 'config' | 'leftOut'>) {
  const caches: Buffer[] = []
  const options = {
    excluded: excludedFrom(component, context),
    isCovered: (path: Buffer) => isCovered(context.config, path.toString()),
    async isTaggedCache(directory: Buffer): Promise<boolean> {
      const tagged = await isTaggedCache(directory)
      if (tagged) caches.push(directory)
      return tagged
    },
  }
  function withCachesLeftOut<Part extends Pick<Capture, 'substitutes'>>(captured: Part): Part {
    if (caches.length === 0) return captured
    const reason = 'tagged as a cache (CACHEDIR.TAG)'
    const leftOut = caches.map((path): [string, Substitute] => [key(path), { kind: 'left-out', reason }])
    return { ...captured, substitutes: new Map([...captured.substitutes, ...leftOut]) }
  }
  return { options, withCachesLeftOut }
}

function excludedFrom(component: ComponentConfig, { leftOut }: Pick<CaptureContext, 'leftOut'>): Exclusion {
  return leftOut.get(component.name) ?? (() => false)
}

function isCovered(config: Config, path: string): boolean {
  return config.components.some(({ paths }) =>
    paths.some((covered) => path === covered || path.startsWith(`${covered}/`)),
  )
}

/** What opens the repository must not lie in it in the clear: it is sealed with the secrets. */
async function withKeyFilesSealed(captured: Capture, excluded: Exclusion, context: CaptureContext): Promise<Capture> {
  const found: Buffer[] = []
  for (const file of context.keyFiles) {
    const path = Buffer.from(file)
    const target = captured.targets.find((folder) => isInside(path, folder))
    if (target === undefined || isExcluded(path, target, excluded)) continue
    const isFile = await lstat(path).then(
      (stats) => stats.isFile(),
      (error: NodeJS.ErrnoException) => {
        if (error.syscall === undefined) throw error
        return false // not there, or closed to us: then it is not stored either
      },
    )
    if (isFile) found.push(path)
  }
  if (found.length === 0) return captured
  const secrets = new Map([...captured.secrets, ...found].map((path) => [key(path), path]))
  const reason = 'a key of this backup: sealed instead'
  const leftOut = found.map((path): [string, Substitute] => [key(path), { kind: 'left-out', reason }])
  return {
    ...captured,
    secrets: [...secrets.values()],
    substitutes: new Map([...captured.substitutes, ...leftOut]),
  }
}

/** Whether a path below `target` is left out, by itself or with a folder that it lies in. */
function isExcluded(path: Buffer, target: Buffer, excluded: Exclusion): boolean {
  for (let end = path.indexOf(0x2f, target.length + 1); end !== -1; end = path.indexOf(0x2f, end + 1)) {
    if (excluded(path.subarray(0, end), true)) return true
  }
  return !path.equals(target) && excluded(path, false)
}

export function isInside(path: Buffer, folder: Buffer): boolean {
  if (path.equals(folder)) return true
  if (!path.subarray(0, folder.length).equals(folder)) return false
  return path[folder.length] === 0x2f || folder.at(-1) === 0x2f
}

function key(path: Buffer): string {
  return path.toString('latin1')
}
