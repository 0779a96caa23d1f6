import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeIo } from '../../test/support/fake-io.ts'
import { createScreen } from './screen.ts'

const usual = { json: false, quiet: false }

test('results and remarks go to standard output, complaints to standard error', () => {
  const io = fakeIo()
  const screen = createScreen(io, usual)
  screen.print('result')
  screen.say('by the way')
  screen.complain('oh')
  assert.equal(io.out(), 'result\nby the way\n')
  assert.equal(io.err(), 'oh\n')
})

test('quiet leaves results and complaints', () => {
  const io = fakeIo()
  const screen = createScreen(io, { json: false, quiet: true })
  screen.print('result')
  screen.say('by the way')
  screen.complain('oh')
  assert.equal(io.out(), 'result\n')
  assert.equal(io.err(), 'oh\n')
})

test('with --json only JSON lines are on standard output', () => {
  const io = fakeIo()
  const screen = createScreen(io, { json: true, quiet: false })
  screen.print('text')
  screen.json({ message_type: 'x', big: 2n ** 60n, small: 5n, name: 'a\x9b\u202e' })
  assert.equal(io.err(), 'text\n')
  assert.equal(io.out(), '{"message_type":"x","big":"1152921504606846976","small":5,"name":"a\\u009b\\u202e"}\n')
})

test('when standard output carries data, text for people goes elsewhere', () => {
  const io = fakeIo()
  const screen = createScreen(io, usual)
  screen.giveOutputToData()
  screen.print('text')
  assert.equal(io.out(), '')
  assert.equal(io.err(), 'text\n')
})

test('lines do not run into the live line, and it is gone at the end', () => {
  const io = fakeIo({ terminal: ['stdout', 'stderr'] })
  {
    using screen = createScreen(io, usual)
    screen.live('50%')
    screen.complain('warning')
    screen.live('60%')
  }
  assert.equal(io.err(), '\r50%\x1b[K' + '\r\x1b[K' + 'warning\n' + '\r50%\x1b[K' + '\r60%\x1b[K' + '\r\x1b[K')
})

test('there is no live line without a terminal, with --quiet or with --json', () => {
  for (const [io, options] of [
    [fakeIo(), usual],
    [fakeIo({ terminal: ['stderr'] }), { json: true, quiet: false }],
    [fakeIo({ terminal: ['stderr'] }), { json: false, quiet: true }],
  ] as const) {
    using screen = createScreen(io, options)
    assert.equal(screen.liveStream, undefined)
    screen.live('50%')
    assert.equal(io.err() + io.out(), '')
  }
})

test('what another program printed through us cannot drive the terminal', () => {
  const io = fakeIo()
  createScreen(io, usual).complain('\x1b[31mred\x1b[39m \x1b[2J')
  assert.equal(io.err(), '\x1b[31mred\x1b[39m \\x1b[2J\n')
})

test('while a question is asked, no live line is drawn over it', async () => {
  const io = fakeIo({ terminal: ['stdout', 'stderr'] })
  using screen = createScreen(io, { json: false, quiet: false })
  screen.live('archive 1 file')
  await screen.withoutLive(async () => {
    const before = io.err()
    screen.live('archive 2 files')
    assert.equal(io.err(), before)
  })
  screen.live('archive 3 files')
  assert.match(io.err(), /archive 3 files/)
})
