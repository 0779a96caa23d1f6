// A thread whose processor computes wrong hashes.

import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'

crypto.hash = (() => 'ab'.repeat(32)) as unknown as typeof crypto.hash
syncBuiltinESMExports()

const { runRestoreWorker } = await import('./restore-worker.ts')
runRestoreWorker()
