import type { Command } from 'commander'
import type { Finding } from '../application/finding.ts'
import { EngineError } from '../engine/error.ts'
import { combine, type Observer, type Outcome } from '../operations/event.ts'
import type { Happened, NotifyConfig } from '../operations/notify/notify.ts'
import type { CommandContext, Invocation } from './command.ts'
import { describeError } from './error-printer.ts'
import { formatFinding, printEvents } from './event-printer.ts'
import { unwrapAbort } from './exit-code.ts'
import { readGlobalOptions } from './global-options.ts'
import type { Io } from './io.ts'
import { type JournalRecorder, recordInJournal } from './journal-recorder.ts'
import { printJsonEvents } from './json-printer.ts'
import { jsonText } from './json-text.ts'
import { type LogFile, openLogFile } from './log-file.ts'
import { createProgressLine } from './progress-line.ts'
import { createScreen } from './screen.ts'
import { listenForSignals } from './signals.ts'
import { styleFor } from './style.ts'
import { watchOutcome } from './watch-outcome.ts'

/**
 * Gives commands the surroundings in which they run.
 *
 * @param report told how an action ended, when it did not throw
 */
export function createContext(io: Io, report: (outcome: Outcome) => void): CommandContext {
  return {
    action:
      (run) =>
      async (...received) => {
        const command = received.at(-1) as Command
        const globals = readGlobalOptions(command.optsWithGlobals())
        using cleanup = new DisposableStack()
        const screen = cleanup.use(createScreen(io, globals))
        const logs: LogFile[] = []
        const journals: JournalRecorder[] = []
        const watched: { readonly config: NotifyConfig; readonly outcome: () => Happened | undefined }[] = []
        const formatComplaint = (finding: Finding) =>
          formatFinding(finding, styleFor(io.colour('stderr')), io.isTerminal('stderr') ? io.columns() : undefined)
        const warn = (message: string, hint?: string) => {
          const finding = {
            severity: 'warning',
            code: 'command-line',
            message,
            ...(hint === undefined ? {} : { hint }),
          } as const
          if (globals.json) screen.json({ message_type: 'finding', ...finding })
          else screen.complain(formatComplaint(finding))
          for (const log of logs) log.observe({ type: 'finding', finding })
        }
        const complain: Invocation<unknown>['complain'] = (finding, facts) =>
          screen.complain(
            globals.json ? jsonText({ message_type: 'finding', ...finding, ...facts }) : formatComplaint(finding),
          )
        const interruption = cleanup.use(
          listenForSignals(io.signals, {
            onInterrupt() {
              if (!globals.json) screen.complain('stopping in good order; press Ctrl-C once more to stop at once')
            },
            onForcedExit() {
              screen.live(undefined)
            },
          }),
        )
        const signal =
          io.outputClosed === undefined ? interruption.signal : AbortSignal.any([interruption.signal, io.outputClosed])

        const observe: Invocation<unknown>['observe'] = ({ config, access, summarise } = {}) => {
          const observers: Observer[] = []
          if (config !== undefined) {
            const file = cleanup.use(openLogFile(config.log, { now: io.now, warn }))
            logs.push(file)
            const ownRepository = access?.location === config.repository
            const journal = recordInJournal(config, { ownRepository, warn })
            journals.push(journal)
            observers.push(file.observe, journal.observe)
            if (config.notify.length > 0) {
              const watch = watchOutcome()
              watched.push({ config, outcome: watch.outcome })
              observers.push(watch.observe)
            }
          }
          if (globals.json) {
            observers.push(printJsonEvents(io, screen))
          } else {
            const progress = cleanup.use(createProgressLine(io, screen))
            observers.push(progress.observe, printEvents(io, screen, { verbose: globals.verbose, summarise }))
          }
          return combine(...observers)
        }

        try {
          const outcome = await run({
            io,
            globals,
            // Commander knows no types; the options are what the command's own `.option()` calls make.
            options: command.opts() as never,
            operands: command.args,
            signal,
            screen,
            style: styleFor(io.colour('stdout')),
            warn,
            complain,
            observe,
          })
          report(outcome ?? 'succeeded')
        } catch (caught) {
          const { aborted, reason } = interruption.signal
          const error = aborted ? asInterruption(caught, reason as EngineError) : caught
          for (const log of logs) log.write('error', describeError(error))
          throw error
        } finally {
          for (const journal of journals) await journal.close()
          // After the journal: what is told then can be looked up.
          for (const { config, outcome } of watched) {
            const happened = outcome()
            if (happened === undefined || signal.aborted) continue
            const { notify } = await import('../operations/notify/notify.ts')
            await notify(config, happened, { env: io.env, now: io.now, signal, warn })
          }
        }
      },
  }
}

/** After Ctrl-C, whatever an operation throws (a child that was killed, a stream cut off) is the interruption's work. */
function asInterruption(error: unknown, reason: EngineError): unknown {
  if (unwrapAbort(error) === reason) return reason
  return new EngineError('INTERRUPTED', reason.message, { cause: error, facts: reason.facts })
}
