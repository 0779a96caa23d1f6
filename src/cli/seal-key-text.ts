import type { SealKeyPlan } from '../operations/rescue/replace-seal-key.ts'
import type { FinishedSummary } from './command.ts'
import { counted, formatDate, shortId } from './format.ts'
import type { Style } from './style.ts'
import { escapeText } from './terminal-text.ts'

/** Of a long list, as much as still lets the rest be seen. */
const SHOWN = 20

export function sealKeyPlanLines(plan: SealKeyPlan, style: Style): string[] {
  const { app, old, recipients, secrets, snapshots, steps, unseen, copies } = plan
  const list = (lines: readonly string[]) => [
    ...lines.slice(0, SHOWN).map((line) => `  ${line}`),
    ...(lines.length > SHOWN ? [`  and ${lines.length - SHOWN} more`] : []),
  ]
  return [
    style.bold(`The key that opens the secrets of ${escapeText(app)} is known to others`),
    old.length === 0 ? 'The config names nobody to seal for.' : `Sealed for until now: ${escapeText(old.join(', '))}`,
    ...(recipients.length === 0 ? [] : [`Sealed for from now on: ${escapeText(recipients.join(', '))}`]),
    '',
    style.bold('What it opens'),
    ...(secrets.length === 0 ? ['  No snapshot holds secrets.'] : list(secrets.map(escapeText))),
    '',
    style.bold('Snapshots that the old key opens'),
    ...(snapshots.length === 0
      ? ['  None.']
      : list(
          snapshots.map(
            ({ id, time, recipients: by }) => `${shortId(id)}  ${formatDate(time)}  ${escapeText(by.join(', '))}`,
          ),
        )),
    ...(copies.length === 0 ? [] : [`  and what of them is in the copies: ${escapeText(copies.join(', '))}`]),
    ...unseen.map((line) => style.dim(`  ? not seen: ${escapeText(line)}`)),
    '',
    ...(steps.length === 0
      ? []
      : [
          style.bold('What will be done now'),
          ...steps.map(({ title, detail }, i) => `  ${i + 1}. ${title}${style.dim(`  ${escapeText(detail)}`)}`),
          '',
        ]),
    ...rotationLines(plan, style),
  ]
}

/** A command stands on a line of its own and is never wrapped: it is to be copied. */
function rotationLines({ rotation, steps }: Pick<SealKeyPlan, 'rotation' | 'steps'>, style: Style): string[] {
  return [
    style.bold(steps.length === 0 ? 'What you do, in this order' : 'What you do then, in this order'),
    ...rotation.flatMap(({ title, why, commands }, i) => [
      `  ${i + 1}. ${escapeText(title)}`,
      style.dim(`     ${escapeText(why)}`),
      ...commands.map((command) => `       ${style.cyan(escapeText(command))}`),
    ]),
  ]
}

export function sealKeyPlanJson(plan: SealKeyPlan) {
  return {
    message_type: 'plan',
    playbook: 'secrets',
    compromised: true,
    app: plan.app,
    config_file: plan.configFile,
    old_recipients: plan.old,
    recipients: plan.recipients,
    secrets: plan.secrets,
    sealed_to_old: plan.snapshots.map(({ id, time, recipients }) => ({ snapshot_id: id, time, recipients })),
    escrow: plan.escrow,
    copies: plan.copies,
    steps: plan.steps.map(({ id, title, detail }) => ({ step: id, title, detail })),
    rotation: plan.rotation,
    unseen: plan.unseen,
  }
}

export function replacedKeyLines(summary: FinishedSummary): string[] {
  if (summary.declined === true) return ['Nothing was changed']
  const { snapshot_id, sealed_to_old, kept } = summary as unknown as {
    snapshot_id: string
    sealed_to_old: readonly string[]
    kept: string
  }
  return [
    '',
    `Secrets are sealed for the new key since snapshot ${shortId(snapshot_id)}; ${counted(sealed_to_old.length, 'snapshot')} before that the old key still opens`,
    `The old config is kept: ${escapeText(kept)}`,
    'Next: what you do, above, from the first to the last',
  ]
}
