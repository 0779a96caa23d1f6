// A thread that notes each job, and takes its time for it.

import { serveJobs } from './threads.ts'

serveJobs<SharedArrayBuffer, number, number>((buffer) => {
  const done = new Int32Array(buffer)
  return (milliseconds) => {
    Atomics.add(done, 0, 1)
    Atomics.wait(done, 1, 0, milliseconds)
    Atomics.add(done, 2, 1)
    return milliseconds
  }
})
