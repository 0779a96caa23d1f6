import { readFileSync } from 'node:fs'
import { VERSION } from '../operations/version.ts'

/** `holdfast 0.1.0 (Node 24.21.0, linux x64)` */
export function versionText(): string {
  return `holdfast ${VERSION} (Node ${process.versions.node}, ${process.platform} ${process.arch})`
}

/** Where to report defects, as the package says; it lies two folders up, in a checkout (`src/cli`) and built (`dist/cli`). */
export function bugsAddress(): string | undefined {
  const json: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  const { bugs } = json as { bugs?: string | { url?: string } }
  return typeof bugs === 'string' ? bugs : bugs?.url
}
