import type { TreeNode } from '../../format/tree-node.ts'

/** One entry of an archive. Its names have been judged: they cannot lead out of where the archive is unpacked. */
export interface ArchiveMember {
  /** Without a slash at the beginning or the end. */
  readonly name: Buffer
  readonly node: TreeNode
  /** Bytes of content, exactly what is handed over with it. */
  readonly size: number
  /** The name of an earlier member that is the same file. */
  readonly linkTo: Buffer | undefined
}

/** Writes an archive of one format, member by member. */
export interface ArchiveSink {
  /** What the format has no place for: the types of nodes that are left out, and whether hard links are written as files. */
  readonly types: ReadonlySet<TreeNode['type']>
  readonly hasLinks: boolean
  /** In bytes, of a member. */
  readonly longestName: number
  add(member: ArchiveMember, content: AsyncIterable<Buffer>): Promise<void>
  /** What an archive ends with: without it, it is not whole. */
  end(): Promise<void>
}

/** Resolves once more may be written. */
export type WriteBytes = (bytes: Buffer) => Promise<void>
