import type { ForeignTarEntry } from '../../application/sources/tar.ts'
import type { BlobSink } from '../../engine/archiver/blob-sink.ts'
import type { StoredContent } from '../../engine/archiver/store-content.ts'
import { virtualFile, virtualFolder } from '../../engine/archiver/virtual-file.ts'
import { goMode } from '../../engine/format/mode.ts'
import { nameDefect } from '../../engine/format/node-name.ts'
import type { Timestamp } from '../../engine/format/timestamp.ts'
import { encodeTree } from '../../engine/format/tree.ts'
import type { TreeNode } from '../../engine/format/tree-node.ts'
import { pathParts } from '../snapshot-files.ts'

interface Folder {
  /** Its own node, without a subtree; undefined when the archive only implies it. */
  node: TreeNode | undefined
  readonly children: Map<string, Folder | TreeNode>
}

const S_IFMT = { file: 0o100000, directory: 0o040000, symlink: 0o120000 } as const

/** What a path of the tree came to. */
export interface StoredPath {
  readonly node: TreeNode
  readonly files: number
  readonly bytes: number
}

/** Grows a file tree out of entries of archives and single files, in any order; contents are stored already. */
export class ImportedTree {
  readonly #root: Folder = { node: undefined, children: new Map() }
  readonly #time: Timestamp

  /** @param time of folders that no archive describes */
  constructor(time: Timestamp) {
    this.#time = time
  }

  /** A later entry of the same path takes the place of an earlier one, as when tar unpacks. */
  add(path: Buffer, node: TreeNode): void {
    const { parent, name } = this.#place(path)
    const known = parent.children.get(name)
    if (node.type !== 'dir') parent.children.set(name, node)
    else if (known !== undefined && 'children' in known) known.node = node
    else parent.children.set(name, { node, children: new Map() })
  }

  find(path: Buffer): TreeNode | undefined {
    const { parent, name } = this.#place(path)
    const found = parent.children.get(name)
    return found === undefined || 'children' in found ? undefined : found
  }

  #place(path: Buffer): { parent: Folder; name: string } {
    const parts = pathParts(path).map((part) => part.toString('latin1'))
    const name = parts.pop()!
    let parent = this.#root
    for (const part of parts) {
      const next = parent.children.get(part)
      if (next !== undefined && 'children' in next) parent = next
      else {
        const made: Folder = { node: undefined, children: new Map() }
        parent.children.set(part, made)
        parent = made
      }
    }
    return { parent, name }
  }

  /** Saves the trees; answers with the nodes of the root, and with what the paths that are asked for came to. */
  async save(
    sink: Pick<BlobSink, 'save'>,
    paths: readonly string[],
  ): Promise<{
    readonly nodes: readonly TreeNode[]
    readonly stored: ReadonlyMap<string, StoredPath>
    readonly folders: number
  }> {
    const stored = new Map<string, StoredPath>()
    let folders = 0
    const nodesOf = async (folder: Folder, above: string) => {
      const nodes: TreeNode[] = []
      let files = 0
      let bytes = 0
      for (const [name, child] of folder.children) {
        const path = `${above}/${Buffer.from(name, 'latin1')}`
        let node: TreeNode
        let inside = { files: 0, bytes: 0 }
        if ('children' in child) {
          folders += 1
          const below = await nodesOf(child, path)
          const { id: subtree } = await sink.save('tree', encodeTree(below.nodes))
          node = child.node === undefined ? implied(name, this.#time, subtree) : { ...child.node, subtree }
          inside = below
        } else {
          node = child
          if (child.type === 'file') inside = { files: 1, bytes: child.size }
        }
        nodes.push(node)
        files += inside.files
        bytes += inside.bytes
        if (paths.includes(path)) stored.set(path, { node, files: inside.files, bytes: inside.bytes })
      }
      nodes.sort((a, b) => Buffer.compare(a.name, b.name))
      return { nodes, files, bytes }
    }
    const { nodes } = await nodesOf(this.#root, '')
    return { nodes, stored, folders }
  }
}

function implied(name: string, time: Timestamp, subtree: NonNullable<TreeNode['subtree']>): TreeNode {
  const folder = virtualFolder('x', time, subtree)
  return { ...folder, name: Buffer.from(name, 'latin1'), mode: goMode(S_IFMT.directory | 0o755) }
}

/** The node of an entry of an archive, under the name it has in its folder. */
export function nodeOfEntry(entry: ForeignTarEntry, name: Buffer, stored: StoredContent | undefined): TreeNode {
  const time: Timestamp = { ns: entry.mtimeNs, offset: 0 }
  const type = entry.type === 'directory' ? 'dir' : entry.type === 'symlink' ? 'symlink' : 'file'
  return {
    ...virtualFile('x', time, { content: [], size: 0 }),
    name,
    type,
    mode: goMode(S_IFMT[entry.type === 'directory' || entry.type === 'symlink' ? entry.type : 'file'] | entry.mode),
    uid: entry.uid,
    gid: entry.gid,
    user: entry.user,
    group: entry.group,
    linkTarget: type === 'symlink' ? entry.linkTarget : undefined,
    content: type === 'file' ? (stored?.content ?? []) : undefined,
    size: stored?.size ?? 0,
  }
}

/** The parts of the name of an entry, or why nothing of that name is taken: none leads out of the folder it is unpacked in. */
export function entryParts(name: Buffer): readonly Buffer[] | string {
  if (name.length === 0) return 'its name is empty'
  if (name[0] === 0x2f) return 'its name is absolute'
  const parts = pathParts(name)
  for (const part of parts) {
    const defect = nameDefect(part)
    if (defect !== undefined) return defect
  }
  return parts
}
