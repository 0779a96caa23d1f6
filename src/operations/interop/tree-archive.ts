import { PassThrough } from 'node:stream'
import { createGzip } from 'node:zlib'
import type { Finding } from '../../application/finding.ts'
import { throughTransform } from '../../application/sources/byte-stream.ts'
import type { TreeNode } from '../../engine/format/tree-node.ts'
import { isFileProblem } from '../../engine/repository/file-problem.ts'
import type { ArchiveSink } from '../../engine/restorer/dump/archive-sink.ts'
import { dumpFolder } from '../../engine/restorer/dump/dump-folder.ts'
import { tarArchive } from '../../engine/restorer/dump/tar-archive.ts'
import { isBelow } from '../restore/restore-to-target.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { findNode, pathParts, readContent } from '../snapshot-files.ts'

export interface TreeArchiveOptions {
  /** Absolute paths in the snapshot; of a folder all that is in it. */
  readonly paths: readonly string[]
  /** The folder that names are relative to: where the archive is to be unpacked. Every path lies in it. */
  readonly base: string
  /** Absolute paths that stay out, with what is below them. */
  readonly omitted?: readonly string[]
  /** Hears of what is damaged, and of what no honest program stores; it stays out, whole. */
  readonly onFinding: (finding: Finding) => void
  readonly signal: AbortSignal
}

/** A tar.gz of paths of a snapshot, which plain `tar -xz` opens. Folders come before what is in them. */
export async function* treeArchive(
  chosen: Pick<ChosenSnapshot, 'repository' | 'stored'>,
  options: TreeArchiveOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const tar = new PassThrough()
  // The callback comes when the bytes are on their way, and with an error when nobody wants more.
  const write = (bytes: Buffer) =>
    new Promise<void>((resolve, reject) => {
      tar.write(bytes, (error) => (error ? reject(error) : resolve()))
    })
  const writing = writeMembers(chosen, tarArchive(write), options).then(
    () => tar.end(),
    (error: Error) => tar.destroy(error),
  )
  try {
    yield* throughTransform(tar, createGzip(), options.signal)
  } finally {
    tar.destroy()
    await writing
  }
}

async function writeMembers(
  { repository, stored }: Pick<ChosenSnapshot, 'repository' | 'stored'>,
  archive: ArchiveSink,
  { paths, base, omitted = [], onFinding, signal }: TreeArchiveOptions,
): Promise<void> {
  const baseParts = pathParts(base)
  const leaveOut = (path: string, reason: string) =>
    onFinding({
      severity: 'error',
      code: 'not-exported',
      path,
      message: `${path} is not exported: ${reason}`,
      hint: 'Run `holdfast check --read-data`; an older snapshot may hold it intact',
    })
  const sink: ArchiveSink = {
    ...archive,
    async add(member, content) {
      const path = `/${[...baseParts, member.name].map(String).join('/')}`
      if (omitted.some((other) => isBelow(path, other))) return
      // The size stands before the content: whether all of it is there is known before. Small files the engine looks at itself.
      const damage = member.linkTo === undefined ? await damageOf(member.node, member.size) : undefined
      if (damage === undefined) await archive.add(member, content)
      else leaveOut(path, damage)
    },
    async end() {}, // there may be more to come
  }

  async function damageOf(node: TreeNode, size: number): Promise<string | undefined> {
    if (node.type !== 'file' || (size <= LOOKED_AT && node.content !== undefined)) return undefined
    try {
      for await (const _ of readContent(repository, node, signal)) signal.throwIfAborted()
      return node.content === undefined ? 'it says nothing of its content' : undefined
    } catch (error) {
      if (!isFileProblem(error)) throw error
      return error.message
    }
  }

  const dump = (tree: NonNullable<TreeNode['subtree']>, prefix: readonly Buffer[], folder: string) =>
    dumpFolder(repository, tree, sink, {
      prefix,
      onLeftOut: (path, reason) => leaveOut(folder + path, reason),
      signal,
    })
  for (const path of paths) {
    const parts = pathParts(path).slice(baseParts.length)
    if (parts.length === 0) {
      await dump(stored.snapshot.tree, [], '')
      continue
    }
    const node = await findNode(repository, stored.snapshot.tree, path, signal)
    if (node === undefined || !archive.types.has(node.type)) continue
    const name = Buffer.concat(parts.flatMap((part, i) => (i === 0 ? [part] : [Buffer.from('/'), part])))
    if (node.type !== 'file') {
      await sink.add({ name, node, size: 0, linkTo: undefined }, nothing())
      if (node.type === 'dir' && node.subtree !== undefined) await dump(node.subtree, parts, path)
      continue
    }
    try {
      let size = 0
      for await (const piece of readContent(repository, node, signal)) size += piece.length
      await sink.add({ name, node, size, linkTo: undefined }, readContent(repository, node, signal))
    } catch (error) {
      if (!isFileProblem(error)) throw error
      leaveOut(path, error.message)
    }
  }
  await archive.end()
}

/** `dumpFolder` reads files up to this size before it announces them. */
const LOOKED_AT = 16 * 1024 * 1024

async function* nothing(): AsyncGenerator<Buffer> {}
