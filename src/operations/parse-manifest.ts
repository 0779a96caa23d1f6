import { ZodError } from 'zod'
import type { StoredSnapshot } from '../engine/repository/snapshots.ts'
import { OperationError } from './error.ts'
import { MANIFEST, type Manifest, SELF } from './manifest.ts'
import { manifestSchema } from './manifest-schema.ts'

/** Throws `MANIFEST` for anything that is not a manifest of a known format; unknown fields are passed over. */
export function parseManifest(bytes: Buffer, snapshot: StoredSnapshot['id']): Manifest {
  try {
    return manifestSchema.parse(JSON.parse(bytes.toString()))
  } catch (cause) {
    throw new OperationError(
      'MANIFEST',
      `Cannot read the manifest of snapshot ${snapshot.slice(0, 8)}: ${whatIsWrong(cause)}`,
      {
        facts: { snapshot, file: `/${SELF}/${MANIFEST}` },
        hint: 'The files of the snapshot are not affected: `holdfast restore` with --target brings them back',
        cause,
      },
    )
  }
}

function whatIsWrong(cause: unknown): string {
  if (!(cause instanceof ZodError)) return (cause as Error).message
  const [first] = cause.issues
  return first === undefined ? 'it is malformed' : `${first.path.join('.')}: ${first.message}`
}
