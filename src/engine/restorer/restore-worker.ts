import type { MasterKey } from '../format/master-key.ts'
import { selfTest } from '../kernels/self-test.ts'
import { serveJobs } from '../threads.ts'
import { BlobFileWriter } from './blob-file-writer.ts'
import { contentDefect, keepContent } from './compare-content.ts'
import type { RestoreJob } from './restore-threads.ts'

/** What the program of a thread of `RestoreThreads` calls. */
export function runRestoreWorker(): void {
  serveJobs<MasterKey, RestoreJob, unknown>((key) => {
    selfTest()
    const writer = new BlobFileWriter(key)
    return (job) => {
      switch (job.kind) {
        case 'write':
          return toEnd(writer.write(job.job))
        case 'keep':
          return keepContent(job.expected, job.temporary)
        case 'verify':
          return toEnd(contentDefect(job.expected))
      }
    }
  })
}

function toEnd<R>(steps: Generator<unknown, R>): R {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}
