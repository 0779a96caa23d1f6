import { type FileSystemCall, interceptFileSystem } from '../intercepted-file-system.ts'
import { type FolderContent, readFolder } from './folder-content.ts'

/** A call as it was recorded. */
export interface RecordedCall extends FileSystemCall {
  /** Which file is written or synchronized, or gets a name: counted from the first that was made. Undefined for folders and for files that were there. */
  readonly file?: number
}

/** What happened, in the order in which it did. A call that has begun and not ended may have happened or not. */
export type Moment =
  | { readonly at: 'begin' | 'end' | 'failed'; readonly call: number }
  /** Something that the program has promised by then. */
  | { readonly at: 'mark'; readonly mark: string }

export interface Recording {
  /** What was there before. */
  readonly base: FolderContent
  readonly calls: readonly RecordedCall[]
  readonly moments: readonly Moment[]
}

export interface Recorder extends Recording, Disposable {
  mark(mark: string): void
}

/** Records every change in a folder until disposed of. Copies what is written. */
export function recordChanges(folder: string): Recorder {
  const base = readFolder(folder)
  const calls: RecordedCall[] = []
  const moments: Moment[] = []
  /** The files that have a name now. */
  const named = new Map<string, number>()
  let files = 0
  const interception = interceptFileSystem(folder, async (asked, perform) => {
    const { call, path, to, bytes } = asked
    const file = call === 'create' ? files++ : named.get(path)
    const number =
      calls.push({
        ...asked,
        ...(bytes === undefined ? {} : { bytes: Buffer.from(bytes) }),
        ...(file === undefined ? {} : { file }),
      }) - 1
    moments.push({ at: 'begin', call: number })
    try {
      const result = await perform()
      if (call === 'create') named.set(path, file!)
      if ((call === 'link' || call === 'rename') && file !== undefined) named.set(to!, file)
      if (call === 'unlink' || call === 'rename') named.delete(path)
      moments.push({ at: 'end', call: number })
      return result
    } catch (error) {
      moments.push({ at: 'failed', call: number })
      throw error
    }
  })
  return {
    base,
    calls,
    moments,
    mark: (mark) => moments.push({ at: 'mark', mark }),
    [Symbol.dispose]: () => interception[Symbol.dispose](),
  }
}
