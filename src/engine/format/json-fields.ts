import { EngineError } from '../error.ts'
import { type Id, isId } from './id.ts'
import { shown } from './shown.ts'
import { parseTimestamp, type Timestamp, UNSET_TIME } from './timestamp.ts'

// Members of untrusted JSON objects, checked one by one. As in Go's decoder, which is what restic reads with, a member that is
// absent or `null` counts as the empty value of its type, and unknown members are ignored. Unlike there, keys match exactly.

export type JsonObject = Readonly<Record<string, unknown>>

/** What is being read, for messages; kept in pieces because it is needed once per object and spelled out almost never. */
export interface Place {
  readonly what: string
  /** The list that holds the object, and its index there; absent for the outermost object. */
  readonly list?: string
  readonly index?: number
}

export const MAX_UINT32 = 0xffff_ffff
export const MAX_UINT64 = 0xffff_ffff_ffff_ffffn

/** The error for a value that is not what it must be. An empty key means the object itself. */
export function unexpected(place: Place, key: string, found: unknown, expected: string, cause?: unknown): EngineError {
  const item = place.list === undefined ? '' : `${place.list}[${place.index ?? 0}]`
  const where = key === '' ? item || 'the whole' : item === '' ? key : `${item}.${key}`
  return new EngineError('CORRUPT', `Cannot read ${place.what}: ${where} is ${shown(found)}, expected ${expected}`, {
    facts: { what: place.what, where, expected },
    cause,
  })
}

export function asObject(value: unknown, place: Place): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject
  throw unexpected(place, '', value, 'an object')
}

export function textField(object: JsonObject, key: string, place: Place): string {
  const value = object[key] ?? ''
  if (typeof value === 'string') return value
  throw unexpected(place, key, value, 'a text')
}

export function flagField(object: JsonObject, key: string, place: Place): boolean {
  const value = object[key] ?? false
  if (typeof value === 'boolean') return value
  throw unexpected(place, key, value, 'true or false')
}

export function integerField(object: JsonObject, key: string, place: Place): number {
  const value = object[key] ?? 0
  if (isExact(value)) return value
  throw unexpected(place, key, value, 'a whole number')
}

/** A whole number from 0 to `max`. */
export function unsignedField(
  object: JsonObject,
  key: string,
  place: Place,
  max: number = Number.MAX_SAFE_INTEGER,
): number {
  const value = object[key] ?? 0
  if (isExact(value) && value >= 0 && value <= max) return value
  throw unexpected(place, key, value, `a whole number from 0 to ${max}`)
}

/** A uint64; 0n when absent. */
export function unsigned64Field(object: JsonObject, key: string, place: Place): bigint {
  const value = object[key] ?? 0
  if (isExact(value) && value >= 0) return BigInt(value)
  if (typeof value === 'bigint' && value >= 0n && value <= MAX_UINT64) return value
  throw unexpected(place, key, value, 'a whole number from 0 to 2^64 - 1')
}

export function timeField(object: JsonObject, key: string, place: Place): Timestamp {
  const value = object[key] ?? undefined
  if (value === undefined) return UNSET_TIME
  if (typeof value !== 'string') throw unexpected(place, key, value, 'an RFC 3339 time')
  try {
    return parseTimestamp(value)
  } catch (cause) {
    throw unexpected(place, key, value, 'an RFC 3339 time', cause)
  }
}

/** The ID in lower case; restic takes, but never writes, upper case. `undefined` when absent. */
export function idField<K extends Id>(object: JsonObject, key: string, place: Place): K | undefined {
  const value = object[key] ?? undefined
  return value === undefined ? undefined : asId<K>(value, key, place)
}

export function asId<K extends Id>(value: unknown, key: string, place: Place): K {
  if (typeof value === 'string') {
    if (isId(value)) return value as string as K
    const lower = value.length === 64 ? value.toLowerCase() : ''
    if (isId(lower)) return lower as string as K
  }
  throw unexpected(place, key, value, '64 hex digits')
}

/** `undefined` when absent. */
export function listField(object: JsonObject, key: string, place: Place): readonly unknown[] | undefined {
  const value = object[key] ?? undefined
  if (value === undefined || Array.isArray(value)) return value
  throw unexpected(place, key, value, 'a list')
}

export function textsField(object: JsonObject, key: string, place: Place): string[] {
  const values = listField(object, key, place) ?? []
  return values.map((value, index) => {
    if (typeof value === 'string') return value
    throw unexpected(place, `${key}[${index}]`, value, 'a text')
  })
}

/** Standard base64 with padding. `undefined` when absent. */
export function base64Field(object: JsonObject, key: string, place: Place): Buffer | undefined {
  const value = object[key] ?? undefined
  if (value === undefined) return undefined
  if (typeof value === 'string') {
    // Node's decoder skips what it does not know and takes the URL alphabet too, so its result is held against the text.
    const bytes = Buffer.from(value, 'base64')
    if (bytes.toString('base64') === value) return bytes
  }
  throw unexpected(place, key, value, 'base64')
}

function isExact(value: unknown): value is number {
  return Number.isSafeInteger(value) && !Object.is(value, -0)
}
