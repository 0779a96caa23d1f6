import { resolve } from 'node:path'
import { parseRecipient } from '../application/config/recipient.ts'
import { prepareSealers } from '../application/sources/seal.ts'
import { CodedError } from '../engine/error.ts'
import { CliError } from './error.ts'
import { escapeText } from './terminal-text.ts'

/**
 * A recipient as a config file takes it, from what somebody typed: the program is guessed where it is plain, the path of
 * a key file is made absolute. Throws `USAGE` for what is none.
 */
export function readRecipient(text: string, cwd: string): string {
  const typed = text.trim()
  const guessed = /^(age1|ssh-)/.test(typed)
    ? `age:${typed}`
    : /^[^:/\s]+@[^:/\s]+$|^[0-9A-Fa-f ]{40,}$|^[^:]+\.asc$/.test(typed)
      ? `gpg:${typed}`
      : typed
  const parsed = parseRecipient(guessed)
  if ('problem' in parsed) {
    throw new CliError('USAGE', `Cannot seal for this recipient: ${escapeText(parsed.problem)}`)
  }
  return parsed.by === 'file' ? `${parsed.tool}:${resolve(cwd, parsed.value)}` : guessed
}

/** Comma lists, as typed at a prompt. Throws `USAGE`, and `NO_KEY`, `KEY_EXPIRED`, `TOOL_MISSING` for keys that cannot be used. */
export async function checkedRecipients(
  texts: readonly string[],
  cwd: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const recipients = texts
    .flatMap((text) => text.split(','))
    .filter((text) => text.trim() !== '')
    .map((text) => readRecipient(text, cwd))
  if (recipients.length > 0) await prepareSealers(recipients, { signal })
  return recipients
}

/** What is wrong with an answer to a prompt; undefined when it can be used. */
export async function recipientProblem(text: string, cwd: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    await checkedRecipients([text], cwd, signal)
    return undefined
  } catch (error) {
    if (!(error instanceof CodedError) || error.code === 'INTERRUPTED') throw error
    return error.hint === undefined ? error.message : `${error.message}. ${error.hint}`
  }
}
