import { goJsonString } from '../../src/engine/format/json.ts'
import type { Timestamp } from '../../src/engine/format/timestamp.ts'
import { attributesText, linkTargetText } from '../../src/engine/format/tree.ts'
import type { FactTime, NodeFacts } from '../../src/engine/format/tree-cursor.ts'
import type { TreeNode } from '../../src/engine/format/tree-node.ts'

/** What a walk would find of the entry that a node was made of. */
export function factsOf(node: TreeNode): NodeFacts {
  return {
    type: node.type as NodeFacts['type'],
    mode: node.mode,
    mtime: timeOf(node.mtime),
    ctime: timeOf(node.ctime),
    uid: node.uid,
    gid: node.gid,
    owner: Buffer.from(ownerText('user', node.user) + ownerText('group', node.group)),
    inode: Number(node.inode),
    deviceId: Number(node.deviceId),
    size: node.size,
    links: node.links,
    extra: Buffer.from(
      (node.linkTarget ? linkTargetText(node.linkTarget) : '') + attributesText(node.extendedAttributes),
    ),
  }
}

function timeOf({ ns, offset }: Timestamp): FactTime {
  const nanoseconds = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
  return { seconds: Number((ns - nanoseconds) / 1_000_000_000n), nanoseconds: Number(nanoseconds), offset }
}

function ownerText(key: string, value: string): string {
  return value === '' ? '' : `,"${key}":${goJsonString(value)}`
}
