import type { MasterKey } from '../format/master-key.ts'
import { selfTest } from '../kernels/self-test.ts'
import { serveJobs } from '../threads.ts'
import { PackInspector, type PackToInspect } from './pack-inspector.ts'

// What a thread of `checkData` runs.
serveJobs<MasterKey, PackToInspect, boolean>((key) => {
  selfTest()
  const inspector = new PackInspector(key)
  return (pack) => inspector.isSound(pack)
})
