import type { Observer, OperationEvent, Progress } from '../operations/event.ts'
import { counted, formatBytes, formatCount, formatDuration, formatPercent, formatRate, formatTime } from './format.ts'
import type { Io } from './io.ts'
import type { Screen } from './screen.ts'
import { type Style, styleFor } from './style.ts'
import { displayWidth, escapeText, fit } from './terminal-text.ts'

/** Often enough to look alive, seldom enough to cost nothing. */
const FRAME_MILLISECONDS = 100
/** Between plain lines where there is no terminal. */
const PLAIN_MILLISECONDS = 10_000
/** The rate follows a change within about this time. */
const SMOOTHING_MILLISECONDS = 5_000
/** Before that, a rate says more about the start than about what follows. */
const SETTLED_MILLISECONDS = 2_000
/** For the `^C` that a terminal echoes behind the line: it must not wrap. */
const MARGIN = 3
const BAR_CELLS = 20
/** A path cut shorter than this tells nothing. */
const SHORTEST_CURRENT = 12

interface Phase {
  readonly title: string
  readonly began: number
  done: Progress
  total: Progress | undefined
  current: string | undefined
  /** Where and when the rate was last sampled. */
  sampled: Progress
  sampledAt: number
  /** Per millisecond; undefined before the first sample. */
  rate: Progress | undefined
}

export interface ProgressLine extends Disposable {
  readonly observe: Observer
}

/**
 * On a terminal one live line: phase, bar, files, bytes, rate, time left. Elsewhere a plain line every ten seconds, and with
 * `--quiet` or `--json` nothing. Disposing of it removes the live line.
 */
export function createProgressLine(io: Io, screen: Screen): ProgressLine {
  const { liveStream } = screen
  const style = styleFor(liveStream !== undefined && io.colour(liveStream))
  const clock = () => io.now().getTime()
  let phase: Phase | undefined
  let step: string | undefined
  let drawnAt = Number.NEGATIVE_INFINITY
  let plainAt = clock()

  const draw = () => {
    if (phase === undefined) return
    const time = clock()
    drawnAt = time
    screen.live(liveLine(phase, time, io.columns() - MARGIN, style, speaksUnicode(io.env)))
  }
  // Without it a long read of one big file would look like a hang.
  const timer = liveStream === undefined ? undefined : setInterval(draw, 1000)
  timer?.unref()

  const progress = (event: Extract<OperationEvent, { type: 'progress' }>) => {
    const time = clock()
    phase ??= beginPhase(event.phase, time)
    phase.done = event.done
    phase.total = event.total
    phase.current = event.current
    sample(phase, time)
    if (liveStream !== undefined) {
      if (time - drawnAt >= FRAME_MILLISECONDS) draw()
    } else if (time - plainAt >= PLAIN_MILLISECONDS) {
      plainAt = time
      screen.say(`${formatTime(io.now())} ${plainLine(phase, time)}`)
    }
  }

  return {
    observe(event) {
      if (event.type === 'phase') {
        phase = beginPhase(event.component === undefined ? event.phase : `${event.phase} ${event.component}`, clock())
        draw()
      } else if (event.type === 'progress') {
        progress(event)
      } else if (event.type === 'step') {
        if (event.state === 'begun') {
          step = event.step
          phase = beginPhase(event.title, clock())
          draw()
        } else if (event.step === step) {
          // Whatever phase it was in has ended with it.
          phase = undefined
          screen.live(undefined)
        }
      } else if (event.type === 'finished') {
        phase = undefined
        screen.live(undefined)
      }
    },
    [Symbol.dispose]() {
      clearInterval(timer)
      phase = undefined
      screen.live(undefined)
    },
  }
}

const NOTHING: Progress = { files: 0, bytes: 0 }

function beginPhase(title: string, time: number): Phase {
  return {
    title: escapeText(title),
    began: time,
    done: NOTHING,
    total: undefined,
    current: undefined,
    sampled: NOTHING,
    sampledAt: time,
    rate: undefined,
  }
}

/** Exponential smoothing that weighs a sample by the time it covers, so that irregular events do not matter. */
function sample(phase: Phase, time: number): void {
  const elapsed = time - phase.sampledAt
  if (elapsed < 500) return
  const now = {
    files: Math.max(0, phase.done.files - phase.sampled.files) / elapsed,
    bytes: Math.max(0, phase.done.bytes - phase.sampled.bytes) / elapsed,
  }
  const weight = 1 - Math.exp(-elapsed / SMOOTHING_MILLISECONDS)
  const { rate } = phase
  phase.rate =
    rate === undefined
      ? now
      : { files: rate.files + weight * (now.files - rate.files), bytes: rate.bytes + weight * (now.bytes - rate.bytes) }
  phase.sampled = phase.done
  phase.sampledAt = time
}

/** Bytes where there are bytes; empty files and folders count by their number. */
function share(phase: Phase): { done: number; total: number; rate: number | undefined } | undefined {
  const { done, total, rate } = phase
  if (total === undefined) return undefined
  if (total.bytes > 0) return { done: done.bytes, total: total.bytes, rate: rate?.bytes }
  if (total.files > 0) return { done: done.files, total: total.files, rate: rate?.files }
  return undefined
}

/** Milliseconds to the end of the phase at the rate of the last seconds; undefined while nobody can tell. */
function timeLeft(phase: Phase, time: number): number | undefined {
  const of = share(phase)
  if (of?.rate === undefined || of.rate <= 0 || time - phase.began < SETTLED_MILLISECONDS) return undefined
  // Time without news counts: the estimate grows while nothing happens, as the truth does.
  return Math.max(0, of.total - of.done) / of.rate
}

/** Pieces in the order in which they stand; the highest rank gives way first where the terminal is narrow. */
function liveLine(phase: Phase, time: number, width: number, style: Style, unicode: boolean): string {
  const { done, total, rate, current } = phase
  const of = share(phase)
  const pieces: { rank: number; text: string; paint?: (text: string) => string }[] = [
    { rank: 0, text: phase.title, paint: style.bold },
  ]
  if (of !== undefined) {
    pieces.push({ rank: 5, text: bar(of.done / of.total, unicode), paint: style.cyan })
    pieces.push({ rank: 1, text: formatPercent(of.done, of.total) })
  }
  if (done.files > 0 || total !== undefined) {
    const files = total !== undefined && total.files > done.files ? ` of ${formatCount(total.files)}` : ''
    pieces.push({
      rank: 4,
      text: `${formatCount(done.files)}${files} ${done.files === 1 && files === '' ? 'file' : 'files'}`,
    })
  }
  if (done.bytes > 0) {
    const bytes = total !== undefined && total.bytes > done.bytes ? ` of ${formatBytes(total.bytes)}` : ''
    pieces.push({ rank: 3, text: `${formatBytes(done.bytes)}${bytes}` })
  }
  if (rate !== undefined && rate.bytes > 0) pieces.push({ rank: 6, text: formatRate(rate.bytes, 1) })
  const left = timeLeft(phase, time)
  const elapsed = time - phase.began
  if (left !== undefined) pieces.push({ rank: 2, text: `${coarse(left)} left` })
  else if (elapsed >= 1000) pieces.push({ rank: 2, text: coarse(elapsed) })

  const widthOf = () => pieces.reduce((sum, { text }) => sum + displayWidth(text), 2 * (pieces.length - 1))
  while (pieces.length > 1 && widthOf() > width) {
    const last = pieces.reduce((worst, piece) => (piece.rank > worst.rank ? piece : worst))
    pieces.splice(pieces.indexOf(last), 1)
  }
  const room = width - widthOf() - 2
  if (current !== undefined && room >= SHORTEST_CURRENT) {
    pieces.push({ rank: 7, text: fit(escapeText(current), room, 'middle'), paint: style.dim })
  }
  if (pieces.length === 1) return fit(phase.title, width)
  return pieces.map(({ text, paint }) => paint?.(text) ?? text).join('  ')
}

function plainLine(phase: Phase, time: number): string {
  const { done, total, rate } = phase
  const of = share(phase)
  const left = timeLeft(phase, time)
  return [
    `${phase.title}: ${of === undefined ? '' : `${formatPercent(of.done, of.total)}, `}${counted(done.files, 'file')}`,
    total !== undefined && total.bytes > done.bytes
      ? `${formatBytes(done.bytes)} of ${formatBytes(total.bytes)}`
      : formatBytes(done.bytes),
    ...(rate === undefined ? [] : [formatRate(rate.bytes, 1)]),
    ...(left === undefined ? [] : [`${coarse(left)} left`]),
  ].join(', ')
}

/** Whole seconds: tenths that change ten times a second are noise. */
function coarse(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000)
  return seconds < 10 ? `${seconds} s` : formatDuration(seconds * 1000)
}

function bar(fraction: number, unicode: boolean): string {
  const full = Math.max(0, Math.min(BAR_CELLS, Math.floor(fraction * BAR_CELLS)))
  return unicode
    ? '━'.repeat(full) + '─'.repeat(BAR_CELLS - full)
    : `[${'#'.repeat(full)}${'-'.repeat(BAR_CELLS - full)}]`
}

/** As POSIX decides the character set: LC_ALL over LC_CTYPE over LANG. */
function speaksUnicode(env: Io['env']): boolean {
  return /utf-?8/i.test(env.LC_ALL || env.LC_CTYPE || env.LANG || '')
}
