import { goJsonString, parseJson } from './json.ts'
import { asObject, flagField, integerField, MAX_UINT32, textField, timeField, unsignedField } from './json-fields.ts'
import { formatTimestamp, type Timestamp } from './timestamp.ts'

/** A lock file: who works in the repository, and whether others may at the same time. */
export interface LockInfo {
  /** When it was taken or last refreshed. */
  readonly time: Timestamp
  readonly exclusive: boolean
  readonly hostname: string
  readonly username: string
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** The JSON of a lock file, as restic writes it. */
export function encodeLock({ time, exclusive, hostname, username, pid, uid, gid }: LockInfo): Buffer {
  let text = `{"time":"${formatTimestamp(time)}","exclusive":${exclusive},"hostname":${goJsonString(hostname)}`
  text += `,"username":${goJsonString(username)},"pid":${pid}`
  if (uid !== 0) text += `,"uid":${uid}`
  if (gid !== 0) text += `,"gid":${gid}`
  return Buffer.from(`${text}}`, 'utf8')
}

/** Reads the JSON of a lock file. Throws `CORRUPT`. */
export function parseLock(bytes: Buffer): LockInfo {
  const place = { what: 'lock' }
  const object = asObject(parseJson(bytes, 'lock'), place)
  return {
    time: timeField(object, 'time', place),
    exclusive: flagField(object, 'exclusive', place),
    hostname: textField(object, 'hostname', place),
    username: textField(object, 'username', place),
    pid: integerField(object, 'pid', place),
    uid: unsignedField(object, 'uid', place, MAX_UINT32),
    gid: unsignedField(object, 'gid', place, MAX_UINT32),
  }
}
