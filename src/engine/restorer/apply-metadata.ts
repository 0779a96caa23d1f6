import { chmodSync, fchmodSync, fchownSync, fstatSync, lchownSync, lstatSync } from 'node:fs'
import { permissions } from '../format/mode.ts'
import type { ExtendedAttribute, TreeNode } from '../format/tree-node.ts'
import { type OwnerOptions, ownerHere } from '../os/accounts.ts'
import {
  type ListedAttribute,
  listExtendedAttributes,
  removeExtendedAttribute,
  setExtendedAttribute,
} from '../os/extended-attributes.ts'
import { setOpenTimes, setTimes } from '../os/times.ts'

/** What an entry gets beside its content. */
export interface Metadata {
  readonly uid: number
  readonly gid: number
  /** Bits as of chmod(2); undefined for symbolic links, which have none. */
  readonly mode: number | undefined
  readonly atimeNs: bigint
  readonly mtimeNs: bigint
  readonly extendedAttributes: readonly ExtendedAttribute[]
}

/** What gets the metadata. Each method throws what the system says. */
interface Entry {
  /** For attributes. */
  readonly path: Buffer
  owner(): { readonly uid: number; readonly gid: number }
  setOwner(uid: number, gid: number): void
  attributes(): readonly ListedAttribute[]
  setMode(mode: number): void
  setTimes(atimeNs: bigint, mtimeNs: bigint): void
}

/** The link itself if the path is one. */
export function entryAt(path: Buffer): Entry {
  return {
    path,
    owner: () => lstatSync(path),
    setOwner: (uid, gid) => lchownSync(path, uid, gid),
    attributes: () => listExtendedAttributes(path),
    setMode: (mode) => chmodSync(path, mode),
    setTimes: (atimeNs, mtimeNs) => setTimes(path, atimeNs, mtimeNs),
  }
}

/** What the system gives to a file that this process makes in a folder: the same to each, so it is asked once. */
export interface GivenMetadata {
  owner?: { readonly uid: number; readonly gid: number }
  attributes?: readonly ListedAttribute[]
}

/** A file that was just made, and is open. */
export function openEntry(fd: number, path: Buffer, given: GivenMetadata): Entry {
  return {
    path,
    owner: () => (given.owner ??= fstatSync(fd)),
    setOwner: (uid, gid) => fchownSync(fd, uid, gid),
    attributes: () => (given.attributes ??= listExtendedAttributes(path)),
    setMode: (mode) => fchmodSync(fd, mode),
    setTimes: (atimeNs, mtimeNs) => setOpenTimes(fd, path, atimeNs, mtimeNs),
  }
}

/** Of a node, on this machine. */
export function metadataOf(node: TreeNode, owners: OwnerOptions): Metadata {
  return {
    ...ownerHere(node, owners),
    mode: node.type === 'symlink' ? undefined : permissions(node.mode),
    atimeNs: node.atime.ns,
    mtimeNs: node.mtime.ns,
    extendedAttributes: node.extendedAttributes,
  }
}

/**
 * Attributes that belong to what is restored: those that the target's folder handed down are removed when the node has
 * none. Others (`security.selinux`) belong to the machine and stay.
 */
const OWNED_ATTRIBUTES = /^(user\.|trusted\.|system\.posix_acl_|security\.capability$)/

const SETUID_OR_SETGID = 0o6000

/**
 * Gives an entry owner, attributes, mode and times, in this order:
 *
 * - the owner first, for a change of owner takes setuid, setgid and `security.capability` away;
 * - attributes before the mode, for `user.*` can be set only while the file is writable; an access control list and the
 *   group bits of the mode agree in what they say of each other;
 * - times last.
 *
 * `onFailure` is told of each thing that could not be set, as in "Cannot set …"; the rest is set all the same.
 */
export function applyMetadata(
  entry: Entry,
  metadata: Metadata,
  onFailure: (what: string, cause: unknown) => void,
): void {
  const { path } = entry
  const { mode, extendedAttributes, atimeNs, mtimeNs } = metadata
  const attempt = (what: string, set: () => void): boolean => {
    try {
      set()
      return true
    } catch (cause) {
      onFailure(what, cause)
      return false
    }
  }
  const owned = attempt('the owner', () => setOwner(entry, metadata))
  attempt('the extended attributes', () => {
    const { missing, unwanted } = compareAttributes(entry.attributes(), extendedAttributes)
    for (const name of unwanted) {
      attempt(`the extended attributes (remove ${name})`, () => removeExtendedAttribute(path, name))
    }
    for (const [name, value] of missing) {
      attempt(`the extended attribute ${name}`, () => setExtendedAttribute(path, name, value))
    }
  })
  if (mode !== undefined) {
    // Under another owner, setuid would lend the rights of somebody who never agreed to it.
    const granted = owned ? mode : mode & ~SETUID_OR_SETGID
    if (granted !== mode) onFailure('setuid and setgid', new Error('they are withheld because the owner differs'))
    attempt('the mode', () => entry.setMode(granted))
  }
  attempt('the times', () => entry.setTimes(atimeNs, mtimeNs))
}

function setOwner(entry: Entry, { uid, gid }: Metadata): void {
  const present = entry.owner()
  if (present.uid !== uid || present.gid !== gid) entry.setOwner(uid, gid)
}

function compareAttributes(
  present: readonly ListedAttribute[],
  attributes: readonly ExtendedAttribute[],
): { missing: Map<string, Buffer>; unwanted: string[] } {
  const missing = new Map(attributes.map(({ name, value }) => [name, value]))
  const unwanted: string[] = []
  for (const { name, value } of present) {
    const wanted = missing.get(name)
    if (wanted === undefined) {
      if (OWNED_ATTRIBUTES.test(name)) unwanted.push(name)
    } else if (value.equals(wanted)) missing.delete(name)
  }
  return { missing, unwanted }
}
