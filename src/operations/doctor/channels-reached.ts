import { delimiter, join } from 'node:path'
import type { NotifyChannel } from '../../application/config/config.ts'
import { readReference } from '../../application/config/reference.ts'
import { hasProgram, installCommand } from '../../application/host/requirements.ts'
import { readJournal } from '../../application/journal/journal.ts'
import { MAILER_FOLDERS } from '../../application/notify/deliver.ts'
import { parseAddress, TRUST_HINT } from '../../application/notify/post.ts'
import { CodedError } from '../../engine/error.ts'
import { journalOf } from '../journal/journal-of.ts'
import { channelName, readChannelState } from '../notify/channel-state.ts'
import { deliveryFinding } from '../notify/notify.ts'
import { command, type DoctorCheck, type DoctorContext, edit, type Found, holdfast } from './doctor-check.ts'

/** Whoever is to be told of trouble can be. Nothing is sent: `holdfast notify test` does that. */
export const channelsReached: DoctorCheck<'notify'> = {
  name: 'notify',
  title: 'Whoever is to be told of trouble can be',
  async run(context) {
    const found: Found<'notify'>[] = []
    for (const channel of context.config.notify) {
      const finding = (await targetFinding(channel, context)) ?? (await mailerFinding(channel, context))
      if (finding !== undefined) found.push(finding)
      else found.push(...deliveryFindings(channel, context))
    }
    return found
  },
}

async function targetFinding(channel: NotifyChannel, { env }: DoctorContext): Promise<Found<'notify'> | undefined> {
  try {
    const target = await readReference(channel.target, env)
    if (channel.kind !== 'mail' && channel.kind !== 'command') parseAddress(target)
    return undefined
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return {
      severity: 'warning',
      code: 'notify-unset',
      message: `Cannot notify by ${channelName(channel)}: ${error.message}`,
      remedy: edit(
        error.hint ?? `${whereOf(channel)}: put the address there as the receiver gives it, https:// and all`,
      ),
    }
  }
}

function whereOf({ target }: NotifyChannel): string {
  return target.kind === 'file' ? target.path : target.kind === 'env' ? target.name : target.value
}

async function mailerFinding(
  channel: NotifyChannel,
  { config, env, hostRoot }: DoctorContext,
): Promise<Found<'notify'> | undefined> {
  if (channel.kind !== 'mail') return undefined
  const name = channelName(channel)
  if (channel.smtp !== undefined) {
    return {
      severity: 'warning',
      code: 'notify-unsupported',
      message: `Cannot notify by ${name}: this version sends mail by the mailer of the system alone`,
      remedy: edit(`${config.file}: take smtp out of notify, and let the mailer of the system know that server`),
    }
  }
  const folders = [env.PATH, ...MAILER_FOLDERS.map((folder) => join(hostRoot, folder))]
  if (await hasProgram('sendmail', folders.join(delimiter))) return undefined
  return {
    severity: 'warning',
    code: 'tool-missing',
    message: `Cannot notify by ${name}: there is no program sendmail, which brings mail to its server`,
    remedy: command(await installCommand('sendmail')),
  }
}

function deliveryFindings(channel: NotifyChannel, context: DoctorContext): Found<'notify'>[] {
  const problem = lastProblem(channel, context)
  if (problem === undefined) return []
  const { severity, message } = deliveryFinding({ channel: channelName(channel), problem, hint: undefined })
  const first = /signed by nobody/.test(problem) ? TRUST_HINT : 'see that it takes messages again'
  const remedy = edit(`${first}, then: ${holdfast(context, 'notify test')}`)
  return [{ severity, code: 'notify-failed', message, remedy }]
}

function lastProblem(channel: NotifyChannel, { config }: DoctorContext): string | undefined {
  try {
    using journal = readJournal(journalOf(config))
    return journal && readChannelState(journal, channel).last?.problem
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return undefined // the check of the journal says so
  }
}
