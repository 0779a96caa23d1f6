import { chmodSync, lchownSync, lstatSync } from 'node:fs'
import { permissions } from '../format/mode.ts'
import type { TreeNode } from '../format/tree.ts'
import { ownerHere, type RenamedOwners } from '../os/accounts.ts'
import { listExtendedAttributes, removeExtendedAttribute, setExtendedAttribute } from '../os/extended-attributes.ts'
import { setTimes } from '../os/times.ts'

export interface MetadataOptions {
  /** Owners by number even where an account of the stored name exists. */
  readonly numericOwner: boolean
  readonly renamedOwners?: RenamedOwners | undefined
  /** Told of each thing that could not be set, as in "Cannot set …"; the rest is set all the same. */
  readonly onFailure: (what: string, cause: unknown) => void
}

/**
 * Attributes that belong to what is restored: those that the target's folder handed down are removed when the node has
 * none. Others (`security.selinux`) belong to the machine and stay.
 */
const OWNED_ATTRIBUTES = /^(user\.|trusted\.|system\.posix_acl_|security\.capability$)/

const SETUID_OR_SETGID = 0o6000

/**
 * Gives an entry the owner, attributes, mode and times of a node, in this order:
 *
 * - the owner first, for a change of owner takes setuid, setgid and `security.capability` away;
 * - attributes before the mode, for `user.*` can be set only while the file is writable; an access control list and the
 *   group bits of the mode agree in what they say of each other;
 * - times last.
 */
export function applyMetadata(path: Buffer, node: TreeNode, options: MetadataOptions): void {
  const { onFailure } = options
  const attempt = (what: string, set: () => void): boolean => {
    try {
      set()
      return true
    } catch (cause) {
      onFailure(what, cause)
      return false
    }
  }
  const owned = attempt('the owner', () => setOwner(path, node, options))
  attempt('the extended attributes', () => {
    const { missing, unwanted } = compareAttributes(path, node)
    for (const name of unwanted) {
      attempt(`the extended attributes (remove ${name})`, () => removeExtendedAttribute(path, name))
    }
    for (const [name, value] of missing) {
      attempt(`the extended attribute ${name}`, () => setExtendedAttribute(path, name, value))
    }
  })
  if (node.type !== 'symlink') {
    const mode = permissions(node.mode)
    // Under another owner, setuid would lend the rights of somebody who never agreed to it.
    const granted = owned ? mode : mode & ~SETUID_OR_SETGID
    if (granted !== mode) onFailure('setuid and setgid', new Error('they are withheld because the owner differs'))
    attempt('the mode', () => chmodSync(path, granted))
  }
  attempt('the times', () => setTimes(path, node.atime.ns, node.mtime.ns))
}

function setOwner(path: Buffer, node: TreeNode, { numericOwner, renamedOwners }: MetadataOptions): void {
  const { uid, gid } = ownerHere(node, { numeric: numericOwner, renamed: renamedOwners })
  const present = lstatSync(path)
  if (present.uid !== uid || present.gid !== gid) lchownSync(path, uid, gid)
}

function compareAttributes(path: Buffer, node: TreeNode): { missing: Map<string, Buffer>; unwanted: string[] } {
  const missing = new Map(node.extendedAttributes.map(({ name, value }) => [name, value]))
  const unwanted: string[] = []
  for (const { name, value } of listExtendedAttributes(path)) {
    const wanted = missing.get(name)
    if (wanted === undefined) {
      if (OWNED_ATTRIBUTES.test(name)) unwanted.push(name)
    } else if (wanted.equals(value)) missing.delete(name)
  }
  return { missing, unwanted }
}
