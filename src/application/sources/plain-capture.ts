import type { Finding } from '../finding.ts'
import type { Capture } from './capture.ts'

/** A capture of files that are stored as they lie on disk: nothing to substitute, nothing to release. */
export function plainCapture(parts: {
  readonly targets?: Iterable<Buffer>
  readonly secrets?: Iterable<Buffer>
  readonly needs?: readonly string[]
  readonly findings?: readonly Finding[]
}): Capture {
  return {
    targets: distinct(parts.targets ?? []),
    substitutes: new Map(),
    secrets: distinct(parts.secrets ?? []),
    databases: [],
    ...(parts.needs === undefined ? {} : { needs: [...new Set(parts.needs)].sort() }),
    findings: parts.findings ?? [],
    async [Symbol.asyncDispose]() {},
  }
}

function distinct(paths: Iterable<Buffer>): Buffer[] {
  const byKey = new Map<string, Buffer>()
  for (const path of paths) byKey.set(path.toString('latin1'), path)
  return [...byKey.values()]
}
