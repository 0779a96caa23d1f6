import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { processIdentity } from '../../engine/os/process-identity.ts'
import type { OperationEvent } from '../event.ts'
import { runSteps, type Step, undoSteps } from './run-steps.ts'
import { beginStepRecord, readStepRecord, type StepRecord, writeStepRecord } from './step-record.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-steps-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const { signal } = new AbortController()
let files = 0
const newFile = () => join(folder, 'state', `${files++}.json`)

const begin = (file: string, steps: readonly Step[]) =>
  beginStepRecord(file, { operation: 'restore', subject: 'shop', request: { snapshot: 'a' }, steps })

test('a run that was cut off goes on with the step at which it stopped, and with what that had noted', async () => {
  const file = newFile()
  const log: string[] = []
  const said = (step: string, result: string) => {
    log.push(step)
    return result
  }
  let broken = true
  const steps: Step[] = [
    { id: 'one', title: 'One', run: async () => said('one', 'first') },
    {
      id: 'two',
      title: 'Two',
      async run({ note, facts }) {
        log.push(`two ${facts.seen ?? 'nothing'}`)
        await note({ seen: 'half' })
        if (broken) throw new Error('no disk')
        return 'second'
      },
    },
    { id: 'three', title: 'Three', run: async () => said('three', 'third') },
  ]
  const events: OperationEvent[] = []
  const observe = (event: OperationEvent) => void events.push(event)
  const record = await begin(file, steps)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  await assert.rejects(runSteps({ file, record, steps, observe, signal }), /no disk/)
  const left = (await readStepRecord(file))!
  assert.deepEqual(
    left.steps.map(({ state, result }) => [state, result]),
    [
      ['done', 'first'],
      ['failed', 'no disk'],
      ['pending', undefined],
    ],
  )
  broken = false
  const done = await runSteps({ file, record: left, steps, observe, signal })
  assert.deepEqual(log, ['one', 'two nothing', 'two half', 'three'])
  assert.equal(done.state, 'finished')
  assert.deepEqual(
    events.map((event) => event.type === 'step' && `${event.step} ${event.state}`),
    [
      'one begun',
      'one done',
      'two begun',
      'two failed',
      'one skipped',
      'two begun',
      'two done',
      'three begun',
      'three done',
    ],
  )
})

test('whatever was done or begun is taken back, the last first, also when that is cut off itself', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 5 }), async (failing, interrupted) => {
      const file = newFile()
      const done: number[] = []
      let cut = true
      const steps = Array.from(
        { length: 6 },
        (_, index): Step => ({
          id: String(index),
          title: String(index),
          async run() {
            if (index === failing) throw new Error('fails')
            done.push(index)
            return ''
          },
          async undo() {
            if (index === interrupted && cut) {
              cut = false
              throw new Error('cut off')
            }
            if (done.at(-1) === index) done.pop()
            return ''
          },
        }),
      )
      const quiet = { file, steps, observe: () => {}, signal }
      await runSteps({ ...quiet, record: await begin(file, steps) }).catch(() => {})
      const undo = async () => undoSteps({ ...quiet, record: (await readStepRecord(file))! })
      await undo().catch(() => {})
      assert.equal((await undo()).state, 'undone')
      assert.deepEqual(done, [])
    }),
    { numRuns: 30 },
  )
})

test('a record is refused while its run is at work, and where it is none', async () => {
  const file = newFile()
  assert.equal(await readStepRecord(file), undefined)
  const record = await begin(file, [])
  const foreign = (state: StepRecord['state'], owner: string) =>
    writeStepRecord(file, { ...record, state, process: owner })
  const init = processIdentity(1)
  await foreign('running', init)
  await assert.rejects(readStepRecord(file), { code: 'IN_USE' })
  await foreign('running', init.replace(/\d+$/, '1')) // another process of that ID
  assert.equal((await readStepRecord(file))?.subject, 'shop')
  await foreign('finished', init)
  assert.equal((await readStepRecord(file))?.state, 'finished')
  writeFileSync(file, '{"format":2}')
  await assert.rejects(readStepRecord(file), { code: 'RESUME', hint: /Remove it/ })
})

test('a step that somebody has stopped counts as cut off, not as failed, and it is said how to go on', async () => {
  const file = newFile()
  const stopped = new AbortController()
  const steps: Step[] = [
    {
      id: 'one',
      title: 'One',
      async run({ signal: inner }) {
        stopped.abort(new Error('Ctrl-C'))
        inner.throwIfAborted()
        return 'not reached'
      },
    },
  ]
  const findings: string[] = []
  const observe = (event: OperationEvent) => {
    if (event.type === 'finding') findings.push(`${event.finding.code}: ${event.finding.hint}`)
  }
  const record = await begin(file, steps)
  await assert.rejects(runSteps({ file, record, steps, observe, signal: stopped.signal }), /Ctrl-C/)
  assert.deepEqual(
    (await readStepRecord(file))!.steps.map(({ state }) => state),
    ['begun'],
  )
  assert.deepEqual(findings, ['cut-off: Run the same again, or `holdfast rescue`: it goes on'])
})
