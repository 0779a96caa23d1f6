import type { Facts } from '../error.ts'

/**
 * What is wrong with a repository. `error`: something cannot be restored, or the repository is not what it says;
 * `hint`: nothing is lost, and a maintenance command would tidy it up.
 */
export interface CheckFinding {
  readonly severity: 'error' | 'hint'
  readonly code: CheckCode
  readonly message: string
  /** `file` is the path in the repository of what is damaged, where that is one file. */
  readonly facts: Facts
}

export type CheckCode =
  | 'key-damaged'
  | 'index-damaged'
  | 'index-contradicts' // two index files list different blobs for one pack
  | 'index-duplicate'
  | 'pack-mixed' // data and trees in one pack
  | 'pack-missing'
  | 'pack-size' // not what its index entry makes
  | 'pack-unindexed'
  | 'pack-damaged' // the file cannot be read, or its hash or header is wrong
  | 'blob-damaged' // some of a pack's blobs
  | 'snapshot-damaged'
  | 'tree-damaged' // a folder's blob
  | 'node-damaged' // an entry of a folder
  | 'blob-missing' // in no index

/** Notes a finding. */
export type Report = (
  severity: CheckFinding['severity'],
  code: CheckCode,
  message: string,
  facts: CheckFinding['facts'],
) => void
