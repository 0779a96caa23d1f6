import type { ServiceRescuePlan } from '../operations/rescue/rescue-service.ts'
import type { FinishedSummary } from './command.ts'
import type { Style } from './style.ts'
import { escapeText } from './terminal-text.ts'

export function servicePlanLines({ service, steps }: ServiceRescuePlan, style: Style): string[] {
  const { name, state } = service
  return [
    `${style.bold(escapeText(name))}${state === undefined ? '' : ` is ${state}`}`,
    '',
    style.bold('What will be done'),
    ...steps.map(({ title, detail }, i) => `  ${i + 1}. ${escapeText(title)}${style.dim(`  ${escapeText(detail)}`)}`),
    '',
    'No file is touched.',
  ]
}

export function servicePlanJson({ app, service, steps }: ServiceRescuePlan) {
  return {
    message_type: 'plan',
    playbook: 'service',
    app,
    service,
    steps: steps.map(({ id, title, detail }) => ({ step: id, title, detail })),
  }
}

export function restartedLines(summary: FinishedSummary): string[] {
  if (summary.declined === true) return ['Nothing was changed']
  const { app, service } = summary as { app?: string; service?: string }
  return ['', `${escapeText(service ?? '')} of ${escapeText(app ?? '')} runs and is well`]
}
