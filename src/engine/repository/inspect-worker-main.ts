import { selfTest } from '../kernels/self-test.ts'
import { serveJobs } from '../threads.ts'
import type { PackQuestion } from './check-data.ts'
import { PackInspector } from './pack-inspector.ts'

// What a thread of `checkData` runs.
serveJobs<undefined, PackQuestion, boolean>(() => {
  selfTest()
  let inspector: PackInspector | undefined
  return ({ key, pack }) => {
    inspector ??= new PackInspector(key)
    return inspector.isSound(pack)
  }
})
