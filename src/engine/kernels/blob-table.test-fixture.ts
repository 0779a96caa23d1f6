import { parentPort, workerData } from 'node:worker_threads'
import { openBlobTable } from './blob-table.ts'

// One of several threads that claim the same digests, each in another order, and note for each that is theirs who
// they are. It answers with how many were theirs, and which slots it was told.

interface Task {
  readonly table: SharedArrayBuffer
  readonly gate: SharedArrayBuffer
  readonly digests: Uint8Array
  readonly thread: number
  readonly threads: number
}

const { table: buffer, gate, digests, thread, threads } = workerData as Task
const table = openBlobTable(buffer)
const count = digests.length / 32
const slots = new Int32Array(count)
let claimed = 0

// All start at once.
const waiting = new Int32Array(gate)
if (Atomics.add(waiting, 0, 1) + 1 === threads) Atomics.notify(waiting, 0)
for (let now = Atomics.load(waiting, 0); now < threads; now = Atomics.load(waiting, 0))
  Atomics.wait(waiting, 0, now, 100)

for (let i = 0; i < count; i++) {
  // Half of the threads in one order, where they meet all the time, half in the opposite one. Each comes to every digest.
  const digest = thread % 2 === 0 ? i : count - 1 - i
  const answer = table.claim(digests, 32 * digest)
  const slot = answer < 0 ? -1 - answer : answer
  if (answer < 0) {
    claimed++
    table.setValue(slot, 0, thread + 1)
    table.setValue(slot, 7, digest)
  }
  slots[digest] = slot
}
for (let digest = 0; digest < count; digest++) slots[digest] = table.claim(digests, 32 * digest)
parentPort!.postMessage({ claimed, slots })
