import { nearMiss } from './near-miss.ts'
import type { Problem } from './problem.ts'

/** Where the files of a repository lie, in restic's spelling. A local path is as written, perhaps relative. */
export interface Location {
  readonly kind: 'local' | 's3' | 'sftp' | 'rest' | 'rclone'
  readonly text: string
}

/** What is right, for messages. */
export const locationSyntax =
  'a folder, s3:https://HOST/BUCKET/PATH, sftp:USER@HOST:/PATH, rest:https://HOST/PATH or rclone:REMOTE:PATH'

const elsewhere = new Map([
  ['b2', 'Backblaze B2 speaks S3: write s3:https://s3.REGION.backblazeb2.com/BUCKET/PATH'],
  ['gs', 'Google Cloud Storage is reached through rclone: write rclone:REMOTE:BUCKET/PATH'],
  ['azure', 'Azure is reached through rclone: write rclone:REMOTE:CONTAINER/PATH'],
  ['swift', 'Swift is reached through rclone: write rclone:REMOTE:CONTAINER/PATH'],
  ['rsync', 'the server that rsync reaches is reached by SFTP as well: write sftp:USER@HOST:/PATH'],
  ['ssh', 'write sftp:USER@HOST:/PATH'],
  ['scp', 'write sftp:USER@HOST:/PATH'],
  ['http', 'a restic REST server is meant? Write rest:http://HOST/PATH'],
  ['https', 'a restic REST server is meant? Write rest:https://HOST/PATH'],
  ['file', 'write the path alone'],
])

/** Never repeats a password that stands in the location. */
export function parseLocation(text: string): Location | Problem {
  const [, scheme, rest = ''] = /^([A-Za-z][A-Za-z0-9+.-]*):(.*)$/s.exec(text) ?? []
  // `C:` aside, a scheme is told from a relative path with a colon by the slash before the colon, which no scheme has.
  if (scheme === undefined)
    return text.trim() === '' ? { problem: `nothing stands here, expected ${locationSyntax}` } : { kind: 'local', text }
  if (holdsPassword(rest)) {
    const where =
      scheme === 'rest'
        ? 'put it in RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD'
        : 'leave it to the credentials of the server'
    return { problem: `the location holds a password, which does not belong in this file: ${where}` }
  }
  switch (scheme) {
    case 'local':
      return { kind: 'local', text: rest }
    case 's3':
      return parseS3(text, rest)
    case 'sftp':
      return parseSftp(text, rest)
    case 'rest':
      if (isUrl(rest)) return { kind: 'rest', text }
      return { problem: `"${text}" names no server, expected rest:https://HOST/PATH` }
    case 'rclone':
      if (/^[^:/]+:/.test(rest)) return { kind: 'rclone', text }
      return { problem: `"${text}" names no remote, expected rclone:REMOTE:PATH as "rclone listremotes" names it` }
    default: {
      const other = elsewhere.get(scheme.toLowerCase())
      if (other !== undefined) return { problem: `"${text}" is not a location that is known here, ${other}` }
      const meant = nearMiss(scheme, ['s3', 'sftp', 'rest', 'rclone', 'local'])
      const expected = meant === undefined ? `expected ${locationSyntax}` : `did you mean "${meant}:"?`
      return { problem: `"${text}" begins with "${scheme}:", which is not known, ${expected}` }
    }
  }
}

function parseS3(text: string, rest: string): Location | Problem {
  const [, protocol, host = '', path = ''] = /^(?:(https?):\/\/|\/\/)?([^/]*)\/?(.*)$/s.exec(rest) ?? []
  // The AWS tools write s3://BUCKET/PATH, restic s3://HOST/BUCKET: only a host has a dot, a port or is localhost.
  if (protocol === undefined && host !== 'localhost' && !/[.:]/.test(host)) {
    return {
      problem: `"${text}" names a bucket but no server, write s3:https://s3.REGION.amazonaws.com/${[host, path].filter((part) => part !== '').join('/') || 'BUCKET/PATH'}`,
    }
  }
  if (host === '' || path === '') return { problem: `"${text}" names no bucket, expected s3:https://HOST/BUCKET/PATH` }
  return { kind: 's3', text }
}

function parseSftp(text: string, rest: string): Location | Problem {
  const plausible = rest.startsWith('//')
    ? /^\/\/(?:[^@/]+@)?[^@/]+\/.+$/s
    : /^(?:[^@/:]+@)?(?:\[[^\]]+\]|[^@/:]+):.+$/s
  if (plausible.test(rest)) return { kind: 'sftp', text }
  return {
    problem: `"${text}" names no server and folder, expected sftp:USER@HOST:/PATH or sftp://USER@HOST:PORT//PATH`,
  }
}

function isUrl(text: string): boolean {
  return /^https?:\/\//.test(text) && URL.canParse(text)
}

/** `//user:password@host`, whatever the scheme. */
function holdsPassword(rest: string): boolean {
  return /\/\/[^/@:]*:[^/@]+@/.test(rest)
}
