import { EngineError } from '../error.ts'
import { localStorage } from './local.ts'
import type { Storage } from './storage.ts'

/** Prefixes that restic gives a meaning to. A path that begins with one is written `./s3:…`. */
const REMOTE = /^(s3|sftp|rest|rclone|b2|azure|gs|swift):/

/** Whether a location is a folder of this machine, where nothing is gained by a cache. Mounted folders count as such. */
export function isLocal(location: string): boolean {
  return !REMOTE.test(location)
}

/**
 * The storage at a location as the operator writes it: a path, `local:` and a path. Opens nothing yet. Throws `UNSUPPORTED` for the
 * other kinds of restic, and for URLs. Locations may hold a password, so no error repeats one beyond its scheme.
 */
export function storageFor(location: string): Storage {
  const scheme = REMOTE.exec(location)?.[1] ?? /^([a-z][a-z0-9+.-]*):\/\//i.exec(location)?.[1]
  if (scheme !== undefined) {
    throw new EngineError(
      'UNSUPPORTED',
      `Cannot open a repository by \`${scheme}:\`: this version reads and writes local folders`,
      {
        facts: { scheme },
        hint: 'Give the path of a local or mounted folder',
      },
    )
  }
  const directory = location.startsWith('local:') ? location.slice('local:'.length) : location
  if (directory === '' || directory.includes('\0')) {
    throw new EngineError('UNSUPPORTED', 'Cannot open a repository: its location is empty or holds a NUL byte', {
      hint: 'Give the path of a folder',
    })
  }
  return localStorage(directory)
}
