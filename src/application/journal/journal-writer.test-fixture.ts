// Writes runs into a journal until it is killed or has written as many as it was told to.
import { openJournal } from './journal.ts'

const [path = '', count = '0'] = process.argv.slice(2)
using journal = openJournal(path)
for (let number = 0; number < Number(count); number++) {
  const run = journal.begin('backup', `process ${process.pid}`, { number })
  const step = run.step('work')
  step.finish('succeeded')
  run.finish('succeeded', { number })
  process.stdout.write(`${run.id}\n`)
}
