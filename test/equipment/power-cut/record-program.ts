/**
 * `record-program.ts REPOSITORY SOURCE`: backs up, forgets and prunes, and prints what the recorder saw: a line for each call.
 * For the record to be held against the calls that the system saw.
 */
import { backupPaths } from '../../../src/operations/backup/backup-paths.ts'
import { forget } from '../../../src/operations/retention/forget.ts'
import { PASSWORD } from '../test-repository.ts'
import { recordChanges } from './record-changes.ts'

const [location, source] = process.argv.slice(2) as [string, string]
const access = { location, password: async () => PASSWORD }
const QUIET = { observe: () => {}, signal: new AbortController().signal }
const recorder = recordChanges(location)
await backupPaths(access, { paths: [source], ...QUIET })
await forget(access, {
  policy: { last: 1 },
  grouping: { host: false, paths: false, tags: false },
  prune: { maxUnused: { percent: 0 } },
  ...QUIET,
})
recorder[Symbol.dispose]()
for (const { call, path, to } of recorder.calls) console.log([call, path, ...(to === undefined ? [] : [to])].join(' '))
