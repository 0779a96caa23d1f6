import type { z } from 'zod'
import type { manifestSchema } from './manifest-schema.ts'

/** The folder at the root of a snapshot in which it describes itself. */
export const SELF = '.holdfast'
export const MANIFEST = 'manifest.json'
export const MANIFEST_SIGNATURE = 'manifest.json.sig'
export const CONFIG = 'holdfast.yaml'
/** With `.gpg` or `.age` behind it. */
export const SECRETS = 'secrets.tar.gz'

/** A manifest is read whole; nothing honest comes near this. */
export const MANIFEST_LIMIT = 64 * 1024 * 1024

export type Manifest = z.infer<typeof manifestSchema>
export type ManifestComponent = Manifest['components'][number]

export function encodeManifest(value: Manifest): Buffer {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`)
}
