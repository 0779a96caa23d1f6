import { resolve } from 'node:path'
import { CliError } from './error.ts'
import type { Io } from './io.ts'
import { readSettingFile } from './setting-file.ts'
import { escapeText } from './terminal-text.ts'

export interface LocationOptions {
  readonly repo?: string | undefined
  readonly repositoryFile?: string | undefined
}

/** Which prefixes name a back end; everything else is a path, as in restic. */
const SCHEMES = ['s3', 'sftp', 'rest', 'rclone', 'azure', 'gs', 'b2', 'swift'] as const

/**
 * Which repository, as the command line or the environment says: `--repo` or `--repository-file`; HOLDFAST_REPOSITORY,
 * HOLDFAST_REPOSITORY_FILE; the same with RESTIC_; of a source `--from-repo`, HOLDFAST_FROM_REPOSITORY and so on. Local paths come back absolute, `local:` removed. Undefined where nobody
 * said; throws `NO_LOCATION` for an empty location, a file that cannot be read, and a URL of a kind that is not known.
 */
export async function resolveRepositoryLocation(
  io: Io,
  options: LocationOptions,
  role?: 'from',
): Promise<string | undefined> {
  const option = role === undefined ? '--' : '--from-'
  const infix = role === undefined ? '' : '_FROM'
  const given =
    (await choose(io, options.repo, `${option}repo`, options.repositoryFile, `${option}repository-file`)) ??
    (await fromEnvironment(io, `HOLDFAST${infix}_REPOSITORY`)) ??
    (await fromEnvironment(io, `RESTIC${infix}_REPOSITORY`))
  if (given === undefined) return undefined
  // A folder named "https:" is nobody's wish.
  const [, scheme] = /^([a-z][a-z0-9+.-]*):\/\//i.exec(given) ?? []
  if (scheme !== undefined && !SCHEMES.some((known) => known === scheme)) {
    throw new CliError(
      'NO_LOCATION',
      `Cannot open ${escapeText(withoutCredentials(given))}: ${scheme}: is no kind of repository`,
      {
        hint: scheme.startsWith('http')
          ? `For a REST server write rest:${scheme}://HOST/PATH`
          : 'Write a path, or s3:, sftp:, rest: or rclone: with what belongs to it',
      },
    )
  }
  return absoluteLocation(given, io.cwd)
}

/** A location with a local path made absolute; other locations as they are. */
export function absoluteLocation(location: string, cwd: string): string {
  if (SCHEMES.some((scheme) => location.startsWith(`${scheme}:`))) return location
  return resolve(cwd, location.startsWith('local:') ? location.slice('local:'.length) : location)
}

/** A location as it may be shown and logged: without the password that a URL may carry. */
export function withoutCredentials(location: string): string {
  return location.replace(/(:\/\/[^/@:\s]*):[^/\s]*@/, '$1:***@')
}

async function fromEnvironment(io: Io, name: string): Promise<string | undefined> {
  return choose(io, io.env[name] || undefined, name, io.env[`${name}_FILE`] || undefined, `${name}_FILE`)
}

async function choose(
  io: Io,
  location: string | undefined,
  locationFrom: string,
  file: string | undefined,
  fileFrom: string,
): Promise<string | undefined> {
  if (location !== undefined && file !== undefined) {
    throw new CliError('USAGE', `Cannot choose between ${locationFrom} and ${fileFrom}: give one of them`)
  }
  if (location === '') throw new CliError('NO_LOCATION', `Cannot open a repository: ${locationFrom} is empty`)
  if (file === undefined) return location
  const path = resolve(io.cwd, file)
  const fail = (why: string, cause?: unknown) =>
    new CliError(
      'NO_LOCATION',
      `Cannot read the repository's location from ${escapeText(path)} (${fileFrom}): ${why}`,
      {
        cause,
        facts: { path },
      },
    )
  const { content } = await readSettingFile(path).catch((error: NodeJS.ErrnoException) => {
    throw fail(error.code === 'ENOENT' ? 'there is no such file' : error.message, error)
  })
  if (content.length === 0) throw fail('it is empty')
  return content.toString('utf8')
}
