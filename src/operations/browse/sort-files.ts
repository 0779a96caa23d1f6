import type { ListedFile } from './listed-file.ts'

/** Restic's names; `mtime` is called `time` as well. */
export type FileOrder = 'name' | 'size' | 'time' | 'mtime' | 'atime' | 'ctime' | 'extension'

/** Files that come in the order of a walk, which is what `name` stands for. Equal ones are in the order of their paths. */
export function sortFiles(files: readonly ListedFile[], order: FileOrder, reverse: boolean): readonly ListedFile[] {
  const compare = COMPARE[order]
  const sorted =
    compare === undefined ? files : files.toSorted((a, b) => compare(a, b) || Buffer.compare(a.path, b.path))
  return reverse ? sorted.toReversed() : sorted
}

type Compare = (a: ListedFile, b: ListedFile) => number

const byTime =
  (which: 'mtime' | 'atime' | 'ctime'): Compare =>
  ({ node: a }, { node: b }) =>
    a[which].ns < b[which].ns ? -1 : a[which].ns > b[which].ns ? 1 : 0

const COMPARE: Readonly<Record<FileOrder, Compare | undefined>> = {
  name: undefined,
  size: (a, b) => a.node.size - b.node.size,
  time: byTime('mtime'),
  mtime: byTime('mtime'),
  atime: byTime('atime'),
  ctime: byTime('ctime'),
  extension: (a, b) => Buffer.compare(extensionOf(a), extensionOf(b)),
}

/** From the last point of the name on; of `.bashrc` all of it, as in restic. */
function extensionOf({ node: { name } }: ListedFile): Buffer {
  const point = name.lastIndexOf('.')
  return point < 0 ? Buffer.alloc(0) : name.subarray(point)
}
