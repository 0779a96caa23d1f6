import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeIo } from '../../test/support/fake-io.ts'
import { EngineError } from '../engine/error.ts'
import { listenForSignals } from './signals.ts'

function listen() {
  const { process } = fakeIo()
  const said: string[] = []
  let time = 0
  const interruption = listenForSignals(process, {
    onInterrupt: (name) => said.push(`interrupt ${name}`),
    onForcedExit: () => said.push('forced'),
    clock: () => time,
  })
  return { process, said, interruption, wait: (milliseconds: number) => (time += milliseconds) }
}

for (const name of ['SIGINT', 'SIGTERM'] as const) {
  test(`the first ${name} aborts, the second ends the process at once, by that signal`, () => {
    const { process, said, interruption, wait } = listen()
    process.send(name)
    assert.ok(interruption.signal.aborted)
    assert.ok(interruption.signal.reason instanceof EngineError)
    assert.equal(interruption.signal.reason.code, 'INTERRUPTED')
    assert.deepEqual(process.deaths, [])
    wait(1000)
    process.send(name)
    assert.deepEqual(said, [`interrupt ${name}`, 'forced'])
    assert.deepEqual(process.deaths, [name])
  })
}

test('one key press that arrives twice, through a launcher, is one interruption', () => {
  const { process, said, wait } = listen()
  process.send('SIGINT')
  wait(5)
  process.send('SIGINT')
  assert.deepEqual(said, ['interrupt SIGINT'])
  assert.deepEqual(process.deaths, [])
})

test('SIGHUP does nothing while a command runs, and nothing is left listening afterwards', () => {
  const { process, interruption } = listen()
  assert.equal(process.listenerCount('SIGHUP'), 1)
  process.send('SIGHUP')
  assert.equal(interruption.signal.aborted, false)
  interruption[Symbol.dispose]()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) assert.equal(process.listenerCount(name), 0)
})
