// A thread that works, and then ends in the middle of something.

import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

const { writeSync } = fs
let writes = 0
fs.writeSync = ((...args: Parameters<typeof writeSync>) => {
  if (++writes > 40) process.exit(1)
  return writeSync(...args)
}) as typeof writeSync
syncBuiltinESMExports()

const { runRestoreWorker } = await import('./restore-worker.ts')
runRestoreWorker()
