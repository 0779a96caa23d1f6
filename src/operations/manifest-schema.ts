import { posix } from 'node:path'
import { z } from 'zod'

/**
 * A manifest comes from the repository, so whoever can write there chooses its paths; an in-place restore builds on them.
 */
const absolutePath = z.string().refine(isPlainPath, 'expected an absolute path without "." and ".." parts')
/** A path, or the name of a unit or site. */
const configuredPath = z
  .string()
  .refine((text) => isPlainPath(text) || /^[^/\0]+$/.test(text), 'expected a path or a name')
const archiveName = z.string().regex(/^secrets\.tar\.gz\.(gpg|age)$/)

function isPlainPath(text: string): boolean {
  return posix.isAbsolute(text) && !text.includes('\0') && posix.resolve(text) === text
}

const finding = z.object({
  severity: z.enum(['error', 'warning', 'note']),
  code: z.string(),
  message: z.string(),
  component: z.string().optional(),
  path: z.string().optional(),
  hint: z.string().optional(),
})

const database = z.object({
  path: absolutePath,
  bytes: z.number(),
  journalMode: z.enum(['wal', 'rollback']),
  pageSize: z.number(),
  integrity: z.string(),
  fingerprint: z.string(),
  capturedAt: z.string(),
})

/** What a snapshot says about itself, format 1. */
export const manifestSchema = z.object({
  format: z.literal(1),
  app: z.string(),
  /** Where the config file lay; its content is in `.holdfast`. */
  configFile: absolutePath,
  environment: z.string(),
  host: z.string(),
  /** ISO 8601, UTC: when the backup began. */
  time: z.string(),
  who: z.object({ user: z.string(), uid: z.number(), sudoUser: z.string().optional() }),
  reason: z.string().optional(),
  versions: z.record(z.string(), z.string()),
  /** Names of the components, when only some were asked for. */
  only: z.array(z.string()).optional(),
  /**
   * ID of the tree that the snapshot's root would have without `.holdfast`. Trees are hashes of hashes, so that with
   * `self` a signature of this manifest covers every byte of the snapshot but itself.
   */
  tree: z.string(),
  /** SHA-256 and size of the other files in `.holdfast`. */
  self: z.record(z.string(), z.object({ sha256: z.string(), bytes: z.number() })),
  components: z.array(
    z.object({
      name: z.string(),
      kind: z.string(),
      /** As the config names them: absolute paths, or names of units and sites. */
      configured: z.array(configuredPath),
      /** As captured: absolute, with what it is in the snapshot: a tree, or a file's list of blobs hashed. */
      paths: z.array(
        z.object({ path: absolutePath, tree: z.string().optional(), files: z.number(), bytes: z.number() }),
      ),
      files: z.number(),
      bytes: z.number(),
      /** Folders that must be there before it can be started, in the backup or not. Absent: nothing is known. */
      needs: z.array(absolutePath).optional(),
      outcome: z.enum(['succeeded', 'incomplete']),
    }),
  ),
  databases: z.array(database),
  secrets: z
    .object({
      archives: z.array(archiveName),
      recipients: z.array(z.string()),
      /** Keyed with a key that never leaves the host: equal only for the same secrets. */
      digest: z.string(),
      /** Of archives that somebody else sealed: the folder that the names in them are relative to; otherwise `/`. */
      base: absolutePath.optional(),
      files: z.array(z.object({ path: absolutePath, component: z.string() })),
    })
    .optional(),
  /** The strongest that was proven, by the time of this one, of each of the newest snapshots before it. */
  proofs: z.array(z.object({ snapshot: z.string(), level: z.string(), at: z.string() })).optional(),
  findings: z.array(finding),
  outcome: z.enum(['succeeded', 'incomplete']),
})
