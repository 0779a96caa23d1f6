import assert from 'node:assert/strict'
import test from 'node:test'
import type { NotifiedOutcome, NotifyChannel } from '../../application/config/config.ts'
import { channelName, isToldOf, NOTHING_TOLD, stateAfter } from './channel-state.ts'

const DEFAULT: NotifyChannel['on'] = ['incomplete', 'failed', 'overdue']
type Happening = readonly [operation: string, outcome: NotifiedOutcome]

/** Of what happens, what is told; `!` in front of an outcome: it does not arrive. */
function told(channel: Pick<NotifyChannel, 'kind' | 'on'>, happenings: readonly string[]): string[] {
  let state = NOTHING_TOLD
  const heard: string[] = []
  for (const happening of happenings) {
    const [operation, outcome] = happening.replace('!', '').split(' ') as unknown as Happening
    const problem = happening.includes('!') ? 'dead' : undefined
    const isTold = isToldOf(channel, state, operation, outcome)
    state = stateAfter(state, operation, outcome, isTold ? { at: new Date(), problem } : undefined)
    if (isTold) heard.push(happening)
  }
  return heard
}

const hook = (on: NotifyChannel['on'] = DEFAULT) => ({ kind: 'webhook', on }) as const

test('trouble is told when it begins, when it changes, and when it is over', () => {
  assert.deepEqual(
    told(hook(), [
      'backup succeeded',
      'backup failed',
      'backup failed',
      'backup incomplete',
      'backup incomplete',
      'backup succeeded',
      'backup succeeded',
      'backup failed',
    ]),
    ['backup failed', 'backup incomplete', 'backup succeeded', 'backup failed'],
  )
})

test('each operation has a state of its own, and a drill is overdue until one ends well', () => {
  assert.deepEqual(
    told(hook(), [
      'backup failed',
      'drill overdue',
      'verify succeeded',
      'backup failed',
      'drill overdue',
      'drill succeeded',
      'drill succeeded',
      'drill overdue',
    ]),
    ['backup failed', 'drill overdue', 'drill succeeded', 'drill overdue'],
  )
})

test('a channel hears of what it wants to know, and of the end of what it heard of', () => {
  const happenings = ['backup incomplete', 'backup succeeded', 'backup failed', 'backup incomplete', 'backup succeeded']
  assert.deepEqual(told(hook(['failed']), happenings), ['backup failed', 'backup succeeded'])
  assert.deepEqual(told(hook(['succeeded']), happenings), ['backup succeeded', 'backup succeeded'])
})

test('what did not arrive was not told, and is told when it is still so', () => {
  assert.deepEqual(
    told(hook(), ['backup !failed', 'backup failed', 'backup failed', 'backup !succeeded', 'backup succeeded']),
    ['backup !failed', 'backup failed', 'backup !succeeded', 'backup succeeded'],
  )
  assert.deepEqual(told(hook(), ['backup !failed', 'backup succeeded']), ['backup !failed'])
})

test("a dead man's switch hears of every backup, and of nothing else", () => {
  const happenings = ['backup succeeded', 'backup succeeded', 'verify succeeded', 'drill overdue', 'backup failed']
  const ping = { kind: 'ping', on: ['succeeded', 'incomplete', 'failed'] } as const
  assert.deepEqual(told(ping, happenings), ['backup succeeded', 'backup succeeded', 'backup failed'])
})

test('the name of a channel says where its address stands, and of a command the program', () => {
  const name = (kind: NotifyChannel['kind'], target: NotifyChannel['target']) =>
    channelName({ kind, target, smtp: undefined, on: DEFAULT })
  assert.equal(name('discord', { kind: 'env', name: 'HOOK' }), 'discord env:HOOK')
  assert.equal(name('command', { kind: 'literal', value: 'curl -H "Token: hunter2" x' }), 'command curl')
})
