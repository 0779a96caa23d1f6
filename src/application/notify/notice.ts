import { stripVTControlCharacters } from 'node:util'

/** What somebody is told: of an operation that ended, or of one that is due. */
export interface Notice {
  readonly app: string
  readonly host: string
  readonly at: Date
  readonly operation: string
  readonly outcome: 'succeeded' | 'incomplete' | 'failed' | 'overdue' | 'test'
  /** One line. */
  readonly title: string
  /** What is known and what to do, in lines. */
  readonly details: readonly string[]
}

/** For programs: the body of a webhook, and what a command reads. */
export function noticeJson({ app, host, at, operation, outcome, title, details }: Notice): Record<string, unknown> {
  return { app, host, time: at.toISOString(), operation, outcome, title, details }
}

/** For people, of at most `limit` characters. Names of files come from outside: nothing in them may steer a terminal. */
export function noticeText({ title, details }: Notice, limit: number): string {
  const text = stripVTControlCharacters([title, ...details].join('\n')).replaceAll(/[^\P{Cc}\n]/gu, '\ufffd')
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text
}
