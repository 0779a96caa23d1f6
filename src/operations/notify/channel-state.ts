import { hash } from 'node:crypto'
import type { NotifiedOutcome, NotifyChannel } from '../../application/config/config.ts'
import { describeReference } from '../../application/config/reference.ts'
import type { Journal } from '../../application/journal/journal.ts'

/** What a channel was last told, and whether that arrived: kept in the journal, so that what lasts is told once. */
export interface ChannelState {
  /** By operation. */
  readonly told: Readonly<Record<string, Told>>
  /** The last delivery; undefined: none was tried yet. */
  readonly last: { readonly at: string; readonly problem: string | undefined } | undefined
}

interface Told {
  readonly outcome: NotifiedOutcome
  /** It heard of trouble, and of no end to it. */
  readonly isAlarmed: boolean
}

export const NOTHING_TOLD: ChannelState = { told: {}, last: undefined }

/** For people. A command may hold what is secret: only its first word is shown. */
export function channelName({ kind, target }: NotifyChannel): string {
  return `${kind} ${kind === 'command' ? (describeReference(target).trim().split(/\s/)[0] ?? '') : describeReference(target)}`
}

/**
 * Whether a channel is to hear of the outcome: when it is another one than before, and when the trouble that it heard of is over. A
 * dead man's switch hears of every backup, and of nothing else: it asks whether they go on.
 */
export function isToldOf(
  { kind, on }: Pick<NotifyChannel, 'kind' | 'on'>,
  { told }: ChannelState,
  operation: string,
  outcome: NotifiedOutcome,
): boolean {
  if (kind === 'ping') return operation === 'backup' && on.includes(outcome)
  const before = told[operation]
  if (outcome === 'succeeded' && before?.isAlarmed) return true
  return on.includes(outcome) && before?.outcome !== outcome
}

/** The state after that. What could not be delivered was not told, and is tried again when it is still so. */
export function stateAfter(
  state: ChannelState,
  operation: string,
  outcome: NotifiedOutcome,
  delivery: { readonly at: Date; readonly problem: string | undefined } | undefined,
): ChannelState {
  const last = delivery === undefined ? state.last : { at: delivery.at.toISOString(), problem: delivery.problem }
  if (delivery?.problem !== undefined) return { ...state, last }
  const wasAlarmed = state.told[operation]?.isAlarmed === true
  const isAlarmed = outcome !== 'succeeded' && (wasAlarmed || delivery !== undefined)
  return { told: { ...state.told, [operation]: { outcome, isAlarmed } }, last }
}

export function readChannelState(journal: Journal, channel: NotifyChannel): ChannelState {
  const text = journal.note(noteOf(channel))
  return text === undefined ? NOTHING_TOLD : (JSON.parse(text) as ChannelState) // written by `writeChannelState` alone
}

export function writeChannelState(journal: Journal, channel: NotifyChannel, state: ChannelState): void {
  journal.setNote(noteOf(channel), JSON.stringify(state))
}

/** A channel is another one when it leads elsewhere; where to may be secret. */
function noteOf({ kind, target }: NotifyChannel): string {
  return `channel:${hash('sha256', JSON.stringify([kind, target]))}`
}
