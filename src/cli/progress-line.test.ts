import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type FakeIo, type FakeIoOptions, fakeIo } from '../../test/support/fake-io.ts'
import type { OperationEvent } from '../operations/event.ts'
import { createProgressLine } from './progress-line.ts'
import { createScreen } from './screen.ts'
import { displayWidth } from './terminal-text.ts'

const MiB = 1024 ** 2

/** What stands on the live line now. */
function liveLine(io: FakeIo): string {
  return io
    .err()
    .split('\r')
    .at(-1)!
    .replace(/\x1b\[[0-9;]*[mK]/g, '')
}

function archive(io: FakeIo, steps: number, observe: (event: OperationEvent) => void, current = '/opt/app/data/file') {
  observe({ type: 'phase', phase: 'archive', component: 'data' })
  for (let i = 1; i <= steps; i++) {
    io.advance(1000)
    observe({
      type: 'progress',
      phase: 'archive',
      done: { files: 10 * i, bytes: 5 * MiB * i },
      total: { files: 1000, bytes: 500 * MiB },
      current,
    })
  }
}

function withLine(options: FakeIoOptions, work: (io: FakeIo, observe: (event: OperationEvent) => void) => void) {
  const io = fakeIo(options)
  using screen = createScreen(io, { json: false, quiet: false })
  using line = createProgressLine(io, screen)
  work(io, line.observe)
  return io
}

const terminal = { terminal: ['stdout', 'stderr'], env: { LANG: 'en_GB.UTF-8', NO_COLOR: '1' } } as const

test('the live line shows phase, bar, share, files, bytes, rate and time left', () => {
  withLine({ ...terminal, columns: 132 }, (io, observe) => {
    archive(io, 10, observe)
    assert.equal(
      liveLine(io),
      'archive data  ━━──────────────────  10%  100 of 1,000 files  50.0 MiB of 500 MiB  5.00 MiB/s  1 min 30 s left  /opt/app/data/file',
    )
  })
})

test('the line says which step it is at, also after a phase of the step before, and nothing between two', () => {
  withLine({ ...terminal, columns: 80 }, (io, observe) => {
    observe({ type: 'step', step: 'restore:data', title: 'Restore data', state: 'begun' })
    observe({ type: 'phase', phase: 'swap' })
    assert.equal(liveLine(io), 'swap')
    observe({ type: 'step', step: 'restore:data', title: 'Restore data', state: 'done' })
    assert.equal(liveLine(io), '')
    observe({ type: 'step', step: 'start', title: 'Start it', state: 'begun' })
    assert.equal(liveLine(io), 'Start it')
  })
})

test('on a narrow terminal the line gives up pieces and never wraps', () => {
  for (let columns = 10; columns < 140; columns += 3) {
    withLine({ ...terminal, columns }, (io, observe) => {
      archive(io, 10, observe, '/srv/文件/\x1b[2J/very/long/name/of/a/file')
      assert.ok(displayWidth(liveLine(io)) < columns, liveLine(io))
      assert.match(liveLine(io), columns >= 40 ? /^archive data .*10% .*1 min 30 s left/ : /^archiv/)
    })
  }
})

test('a hostile file name cannot drive the terminal from the live line', () => {
  const io = withLine({ ...terminal, columns: 200 }, (io, observe) => archive(io, 10, observe, 'x\x1b[2Jy\n'))
  assert.match(io.err(), /x\\x1b\[2Jy\\n/)
  assert.doesNotMatch(io.err().replaceAll('\x1b[K', ''), /\x1b|\n/)
})

test('while nobody knows the total, the time that has passed is shown', () => {
  withLine({ ...terminal, columns: 80 }, (io, observe) => {
    observe({ type: 'phase', phase: 'survey' })
    io.advance(3000)
    observe({ type: 'progress', phase: 'survey', done: { files: 12345, bytes: 0 } })
    assert.equal(liveLine(io), 'survey  12,345 files  3 s')
  })
})

test('the time left follows a rate that changes, smoothly', () => {
  withLine({ ...terminal, columns: 132 }, (io, observe) => {
    archive(io, 10, observe)
    const left = () =>
      Number(/(\d+) s left/.exec(liveLine(io))![1]) + 60 * Number(/(\d+) min/.exec(liveLine(io))?.[1] ?? 0)
    const before = left()
    io.advance(1000)
    // Ten times as fast for one second: a first step towards it, not all of it.
    observe({
      type: 'progress',
      phase: 'archive',
      done: { files: 110, bytes: 100 * MiB },
      total: { files: 1000, bytes: 500 * MiB },
    })
    assert.ok(left() < before && left() > before / 6, `${before} → ${left()}`)
  })
})

test('lines are drawn at most ten times a second', () => {
  const io = withLine({ ...terminal, columns: 80 }, (io, observe) => {
    observe({ type: 'phase', phase: 'archive' })
    for (let i = 0; i < 1000; i++) {
      io.advance(1)
      observe({ type: 'progress', phase: 'archive', done: { files: i, bytes: i } })
    }
  })
  assert.ok(io.err().split('\r').length <= 14, String(io.err().split('\r').length))
})

test('without Unicode the bar is ASCII', () => {
  withLine({ ...terminal, columns: 130, env: { LANG: 'C' } }, (io, observe) => {
    archive(io, 10, observe)
    assert.match(liveLine(io), /\[##-{18}\]/)
  })
})

test('the line is removed when the operation finishes, and when it dies', () => {
  const finished = withLine(terminal, (io, observe) => {
    archive(io, 2, observe)
    observe({ type: 'finished', at: io.now(), operation: 'backup', outcome: 'succeeded', milliseconds: 1, summary: {} })
    assert.equal(liveLine(io), '')
  })
  assert.ok(finished.err().endsWith('\r\x1b[K'))
  assert.ok(
    withLine(terminal, (io, observe) => archive(io, 2, observe))
      .err()
      .endsWith('\r\x1b[K'),
  )
})

test('without a terminal there is a plain line every ten seconds', () => {
  const io = withLine({}, (io, observe) => archive(io, 25, observe))
  assert.equal(io.err(), '')
  const lines = io.out().trimEnd().split('\n')
  assert.equal(lines.length, 2)
  assert.match(
    lines[0]!,
    /^\d\d:\d\d:\d\d archive data: 10%, 100 files, 50\.0 MiB of 500 MiB, 5\.00 MiB\/s, 1 min 30 s left$/,
  )
})

test('with --quiet there is nothing', () => {
  const io = fakeIo({ terminal: ['stderr'] })
  using screen = createScreen(io, { json: false, quiet: true })
  using line = createProgressLine(io, screen)
  archive(io, 25, line.observe)
  assert.equal(io.out() + io.err(), '')
})
