import { hostname } from 'node:os'
import type { Config, NotifiedOutcome, NotifyChannel } from '../../application/config/config.ts'
import { readReference } from '../../application/config/reference.ts'
import { ApplicationError } from '../../application/error.ts'
import type { Finding } from '../../application/finding.ts'
import { type Journal, openJournal } from '../../application/journal/journal.ts'
import { deliver } from '../../application/notify/deliver.ts'
import type { Notice } from '../../application/notify/notice.ts'
import { CodedError } from '../../engine/error.ts'
import { journalOf } from '../journal/journal-of.ts'
import { drillDue } from '../status/drill-due.ts'
import {
  type ChannelState,
  channelName,
  isToldOf,
  NOTHING_TOLD,
  readChannelState,
  stateAfter,
  writeChannelState,
} from './channel-state.ts'

export type NotifyConfig = Pick<Config, 'app' | 'notify' | 'drill' | 'stateDirectory'>

export interface NotifyContext {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly now: () => Date
  readonly signal: AbortSignal
  /** Told what could not be delivered, or not be remembered. */
  readonly warn: (message: string, hint: string | undefined) => void
}

/** What is worth telling of an operation that ended. */
export interface Happened {
  readonly operation: string
  readonly outcome: NotifiedOutcome
  readonly details: readonly string[]
}

export interface Delivery {
  /** Name of the channel. */
  readonly channel: string
  readonly operation: string
  /** Why it did not arrive; undefined: it was taken. */
  readonly problem: string | undefined
  readonly hint: string | undefined
}

/**
 * Tells whom the config names how an operation ended, and that a drill is overdue: once for each change, as the journal remembers. What
 * cannot be delivered is journalled, and tried again after the next operation. Rejects only when interrupted; without a journal
 * everything is told.
 */
export async function notify(config: NotifyConfig, happened: Happened, context: NotifyContext): Promise<void> {
  await withJournal(config, context, async (journal) => {
    const due = overdueDrill(config, journal, context.now())
    const occasions = [happened, ...(due === undefined || happened.operation === 'drill' ? [] : [due])]
    const before = config.notify.map((channel) => stateOf(journal, channel))
    const told = await Promise.all(
      config.notify.map((channel, index) => tellChannel(channel, occasions, before[index]!, config, context)),
    )
    return { states: told.map(({ state }) => state), deliveries: told.flatMap(({ deliveries }) => deliveries) }
  })
}

/** Sends a message to each channel, whatever it hears of otherwise, to see whether it arrives. Rejects as `notify` does. */
export async function testChannels(config: NotifyConfig, context: NotifyContext): Promise<readonly Delivery[]> {
  const details = ['Sent by `holdfast notify test`: nothing has happened']
  return withJournal(config, context, async (journal) => {
    const at = context.now()
    const notice = noticeOf({ operation: 'notify', outcome: 'test', details }, config, at)
    const deliveries = await Promise.all(config.notify.map((channel) => send(channel, notice, context)))
    const states = config.notify.map((channel, index) => ({
      ...stateOf(journal, channel),
      last: { at: at.toISOString(), problem: deliveries[index]!.problem },
    }))
    return { states, deliveries }
  })
}

/** Runs what tells the channels, and keeps what came of it: the state of each in the order of the config. */
async function withJournal(
  config: NotifyConfig,
  { warn }: NotifyContext,
  tell: (journal: Journal | undefined) => Promise<{
    readonly states: readonly ChannelState[]
    readonly deliveries: readonly Delivery[]
  }>,
): Promise<readonly Delivery[]> {
  using journal = openOrNot(config)
  const begun = { at: new Date(), clock: performance.now() }
  const { states, deliveries } = await tell(journal)
  for (const delivery of deliveries) {
    if (delivery.problem !== undefined) warn(deliveryFinding(delivery).message, delivery.hint)
  }
  try {
    journal?.transaction(() => {
      for (const [index, channel] of config.notify.entries()) writeChannelState(journal, channel, states[index]!)
      if (deliveries.length > 0) record(journal, config, deliveries, begun)
    })
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    warn(`What was told is not in the journal, and will be told again: ${error.message}`, error.hint)
  }
  return deliveries
}

/** What could not be delivered, for the terminal, the journal and the status. */
export function deliveryFinding({ channel, problem, hint }: Pick<Delivery, 'channel' | 'problem' | 'hint'>): Finding {
  const message = `Cannot notify by ${channel}: ${problem}`
  return { severity: 'warning', code: 'notify-failed', message, ...(hint === undefined ? {} : { hint }) }
}

async function tellChannel(
  channel: NotifyChannel,
  occasions: readonly Happened[],
  before: ChannelState,
  config: NotifyConfig,
  context: NotifyContext,
): Promise<{ readonly state: ChannelState; readonly deliveries: readonly Delivery[] }> {
  let state = before
  const deliveries: Delivery[] = []
  for (const happened of occasions) {
    const { operation, outcome } = happened
    if (!isToldOf(channel, state, operation, outcome)) {
      state = stateAfter(state, operation, outcome, undefined)
      continue
    }
    const at = context.now()
    const isOver = outcome === 'succeeded' && state.told[operation]?.isAlarmed === true
    const delivery = await send(channel, noticeOf(happened, config, at, isOver), context)
    deliveries.push(delivery)
    state = stateAfter(state, operation, outcome, { at, problem: delivery.problem })
  }
  return { state, deliveries }
}

async function send(channel: NotifyChannel, notice: Notice, { env, signal }: NotifyContext): Promise<Delivery> {
  const common = { channel: channelName(channel), operation: notice.operation }
  try {
    if (channel.smtp !== undefined) {
      throw new ApplicationError('NOTIFY', 'this version sends mail by the mailer of the system alone', {
        hint: 'Take smtp out of notify, and let the mailer of the system know that server',
      })
    }
    const target = await readReference(channel.target, env)
    await deliver({ kind: channel.kind, target }, notice, signal)
    return { ...common, problem: undefined, hint: undefined }
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof CodedError)) throw error
    return { ...common, problem: error.message, hint: error.hint }
  }
}

function noticeOf(
  { operation, outcome, details }: Pick<Happened, 'operation' | 'details'> & Pick<Notice, 'outcome'>,
  { app }: NotifyConfig,
  at: Date,
  isOver = false,
): Notice {
  const host = hostname()
  const what =
    outcome === 'overdue' ? `a ${operation} is overdue` : outcome === 'test' ? 'a test' : `${operation} ${outcome}`
  return { app, host, at, operation, outcome, title: `${app} on ${host}: ${what}${isOver ? ' again' : ''}`, details }
}

function overdueDrill(config: NotifyConfig, journal: Journal | undefined, now: Date): Happened | undefined {
  if (journal === undefined) return undefined
  const [good] = journal.runs({ operation: 'drill', state: ['succeeded', 'incomplete'], limit: 1 })
  const due = drillDue(config.drill, good?.started, journal.snapshots()[0]?.time)
  if (due === undefined || due > now) return undefined
  const details = [`It was due on ${due.toISOString().slice(0, 10)}`, 'Run `holdfast drill`']
  return { operation: 'drill', outcome: 'overdue', details }
}

function openOrNot({ stateDirectory }: NotifyConfig): Journal | undefined {
  try {
    return openJournal(journalOf({ stateDirectory }))
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return undefined // the operation has said so, and there may be something to tell all the more
  }
}

function stateOf(journal: Journal | undefined, channel: NotifyChannel): ChannelState {
  return journal === undefined ? NOTHING_TOLD : readChannelState(journal, channel)
}

function record(
  journal: Journal,
  { app }: NotifyConfig,
  deliveries: readonly Delivery[],
  begun: { readonly at: Date; readonly clock: number },
): void {
  const facts = { of: [...new Set(deliveries.map(({ operation }) => operation))] }
  const run = journal.begin('notify', app, facts, begun.at)
  const failed = deliveries.filter(({ problem }) => problem !== undefined)
  for (const delivery of failed) run.find(deliveryFinding(delivery))
  const outcome = failed.length === 0 ? 'succeeded' : failed.length < deliveries.length ? 'incomplete' : 'failed'
  const summary = {
    channels: deliveries.map(({ channel }) => channel),
    delivered: deliveries.length - failed.length,
  }
  run.finish(outcome, summary, { milliseconds: Math.round(performance.now() - begun.clock) })
}
