import { constants } from 'node:os'
import { EngineError } from '../error.ts'
import { cFunction, cLibrary } from './c-library.ts'

// The reentrant variants: the others answer in memory that all threads of the process share. They return an error
// number, and success with a null pointer as the result when there is no such account.
const RESULT = 'void *entry, void *text, size_t textSize, void *result'
const getpwuid = cFunction<[number, Buffer, Buffer, number, Buffer]>(`int getpwuid_r(uint32_t id, ${RESULT})`)
const getgrgid = cFunction<[number, Buffer, Buffer, number, Buffer]>(`int getgrgid_r(uint32_t id, ${RESULT})`)
const getpwnam = cFunction<[Buffer, Buffer, Buffer, number, Buffer]>(`int getpwnam_r(const void *name, ${RESULT})`)
const getgrnam = cFunction<[Buffer, Buffer, Buffer, number, Buffer]>(`int getgrnam_r(const void *name, ${RESULT})`)

/** The user's login name, `''` when there is none. Never throws: a file can be kept without the name of its owner. */
export const userName = cached((uid: number) => lookUp(getpwuid, uid, readNamed)?.name ?? '')

/** The group's name, `''` when there is none. Never throws. */
export const groupName = cached((gid: number) => lookUp(getgrgid, gid, readNamed)?.name ?? '')

/** `undefined` when there is no such user. Never throws. */
export const userId = cached((name: string) => lookUp(getpwnam, accountName(name), readNamed)?.id)

/** `undefined` when there is no such group. Never throws. */
export const groupId = cached((name: string) => lookUp(getgrnam, accountName(name), readNamed)?.id)

/** Names of users and groups, in place of those that are stored. */
export interface RenamedOwners {
  readonly user: (name: string) => string
  readonly group: (name: string) => string
}

export interface OwnerOptions {
  /** By number even where an account of the stored name exists. */
  readonly numeric?: boolean
  readonly renamed?: RenamedOwners | undefined
}

/** Whom an entry belongs to on this machine: the accounts of the stored names where there are such, else the stored numbers. */
export function ownerHere(
  stored: { readonly user: string; readonly group: string; readonly uid: number; readonly gid: number },
  { numeric = false, renamed }: OwnerOptions = {},
): { readonly uid: number; readonly gid: number } {
  if (numeric) return { uid: stored.uid, gid: stored.gid }
  const { user, group } = stored
  return {
    uid: userId(renamed?.user(user) ?? user) ?? stored.uid,
    gid: groupId(renamed?.group(group) ?? group) ?? stored.gid,
  }
}

/** A user as passwd(5) knows it. */
export interface Account {
  readonly name: string
  readonly uid: number
  /** Of the user's own group. */
  readonly gid: number
  readonly home: string
}

/** Asks anew each time: accounts are made while a server is recovered. `undefined` when there is no such user. Never throws. */
export function findAccount(name: string): Account | undefined {
  return lookUp(getpwnam, accountName(name), readUser)
}

/** For whoever has just made an account: that there was none is remembered, too. */
export function forgetAccounts(): void {
  generation += 1
}

type Reentrant<Key> = (key: Key, entry: Buffer, text: Buffer, textSize: number, result: Buffer) => number

// struct passwd and struct group begin alike on 64-bit Linux; what follows is shorter than the rest of ENTRY_SIZE.
//
//   offset  size  field
//        0     8  pointer to the name
//        8     8  pointer to the password
//       16     4  uid or gid
//       20     4  gid of a user
//       32     8  pointer to the home folder of a user
const ID_OFFSET = 16
const GID_OFFSET = 20
const HOME_OFFSET = 32
const ENTRY_SIZE = 128

// Starts where getpwnam(3) suggests; a group of very many members needs more, and no honest one needs the most.
const SMALLEST_TEXT = 1024
const LARGEST_TEXT = 16 * 1024 * 1024

/** The entry points into memory that is given back when this returns. */
function lookUp<Key, Value>(
  find: Reentrant<Key>,
  key: Key | undefined,
  read: (entry: Buffer) => Value,
): Value | undefined {
  if (key === undefined) return undefined
  try {
    for (let size = SMALLEST_TEXT; size <= LARGEST_TEXT; size *= 4) {
      const entry = Buffer.alloc(ENTRY_SIZE)
      const text = Buffer.alloc(size)
      const found = Buffer.alloc(8)
      const error = find(key, entry, text, size, found)
      if (error === constants.errno.ERANGE) continue
      // Any other error (a directory service that does not answer) leaves the name unknown, as restic does.
      if (error !== 0 || found.every((byte) => byte === 0)) return undefined
      return read(entry)
    }
    return undefined
  } catch (error) {
    // No C library to ask on this platform; whoever needs one for more than a name hears of it.
    if (error instanceof EngineError && error.code === 'UNSUPPORTED') return undefined
    throw error
  }
}

function readNamed(entry: Buffer): { readonly name: string; readonly id: number } {
  return { name: cLibrary().koffi.decode(entry, 'char *'), id: entry.readUInt32LE(ID_OFFSET) }
}

function readUser(entry: Buffer): Account {
  const { name, id: uid } = readNamed(entry)
  return { name, uid, gid: entry.readUInt32LE(GID_OFFSET), home: cLibrary().koffi.decode(entry, HOME_OFFSET, 'char *') }
}

/** `undefined` for what can be no account's name: empty, or with a NUL byte, where C would find another one. */
function accountName(name: string): Buffer | undefined {
  return name === '' || name.includes('\0') ? undefined : Buffer.from(`${name}\0`)
}

const LIFETIME_MS = 60_000
let generation = 0

/** Asked for every file; a directory service may take a while. Forgets after a minute: a service runs for months. */
function cached<Key, Value>(look: (key: Key) => Value): (key: Key) => Value {
  const values = new Map<Key, Value>()
  let since = 0
  let of = 0
  return (key) => {
    const now = performance.now()
    if (now - since > LIFETIME_MS || of !== generation) {
      values.clear()
      since = now
      of = generation
    }
    if (!values.has(key)) values.set(key, look(key))
    return values.get(key) as Value
  }
}
