import { delimiter } from 'node:path'
import { ApplicationError } from '../error.ts'
import { minimalEnvironment, type ProgramResult, runProgram } from '../program.ts'
import { type Notice, noticeJson, noticeText } from './notice.ts'
import { post } from './post.ts'

/** A way to somebody, with what the config only refers to. */
export interface Channel {
  readonly kind: 'discord' | 'slack' | 'webhook' | 'mail' | 'ping' | 'command'
  /** An address, of `mail` one of e-mail; of `command` a shell command. */
  readonly target: string
}

/** Mailers lie where ordinary users have no business. */
export const MAILER_FOLDERS = ['/usr/sbin', '/usr/lib']

/** Of Discord (https://discord.com/developers/docs/resources/webhook); others take more, and nobody reads more. */
const TEXT_LIMIT = 2000
/** A command that takes longer has something else in mind than to tell somebody. */
const COMMAND_LIMIT_MS = 60_000

/**
 * Brings a notice to its receiver, and resolves when that has taken it. Throws `NOTIFY`, and `TOOL_MISSING` where there is no mailer;
 * messages hold neither the target nor what a program or a server said of it.
 */
export async function deliver(channel: Channel, notice: Notice, signal: AbortSignal): Promise<void> {
  const { kind, target } = channel
  switch (kind) {
    case 'webhook':
      return post(target, noticeJson(notice), signal)
    case 'discord':
      return post(target, { content: noticeText(notice, TEXT_LIMIT), allowed_mentions: { parse: [] } }, signal)
    case 'slack':
      return post(target, { text: escapeSlack(noticeText(notice, TEXT_LIMIT)) }, signal)
    case 'ping':
      return post(pingAddress(target, notice), undefined, signal)
    case 'command': {
      const input = `${JSON.stringify(noticeJson(notice))}\n`
      return assertTaken('the command', await run('/bin/sh', ['-c', target], input, signal))
    }
    case 'mail':
      return assertTaken('sendmail', await run('sendmail', ['-i', '-t'], mailOf(target, notice), signal))
  }
}

/** As healthchecks.io and others have it: the address itself says that all is well. */
function pingAddress(address: string, { outcome }: Notice): string {
  if (outcome === 'succeeded' || outcome === 'test') return address
  const [path = '', query] = address.split('?', 2)
  return `${path.replace(/\/+$/, '')}/fail${query === undefined ? '' : `?${query}`}`
}

/** https://docs.slack.dev/messaging/formatting-message-text: the characters that begin mentions and links. */
function escapeSlack(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** The address is a header, not an argument that everybody on the machine could read. */
function mailOf(to: string, notice: Notice): string {
  const [title = '', ...lines] = noticeText(notice, TEXT_LIMIT).split('\n')
  const head = [
    `To: ${to.replaceAll(/\s+/g, ' ')}`,
    `Subject: ${encodedWords(title)}`,
    'Auto-Submitted: auto-generated',
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
  ]
  return `${[...head, '', title, ...lines].join('\n')}\n`
}

/** RFC 2047, where there is something else than ASCII; each word has at most 75 characters. */
function encodedWords(text: string): string {
  if (/^[ -~]*$/.test(text)) return text
  const words: string[] = []
  let word = ''
  for (const character of text) {
    if (Buffer.byteLength(word + character) > 45) {
      words.push(word)
      word = ''
    }
    word += character
  }
  return [...words, word].map((each) => `=?UTF-8?B?${Buffer.from(each).toString('base64')}?=`).join('\n ')
}

async function run(
  program: string,
  args: readonly string[],
  input: string,
  signal: AbortSignal,
): Promise<ProgramResult> {
  const limit = AbortSignal.timeout(COMMAND_LIMIT_MS)
  try {
    return await runProgram(program, args, {
      env: minimalEnvironment({ PATH: [process.env.PATH, ...MAILER_FOLDERS].join(delimiter) }),
      input: Buffer.from(input),
      signal: AbortSignal.any([signal, limit]),
      withoutTerminal: true,
      installHint: 'Install a mailer that brings the program sendmail, such as msmtp-mta or postfix',
    })
  } catch (error) {
    signal.throwIfAborted()
    if (!limit.aborted) throw error
    throw new ApplicationError('NOTIFY', `${program} was stopped: it took longer than ${COMMAND_LIMIT_MS / 1000} s`)
  }
}

function assertTaken(what: string, { exitCode }: ProgramResult): void {
  if (exitCode === 0) return
  const how = exitCode === null ? 'was stopped by a signal' : `ended with exit code ${exitCode}`
  throw new ApplicationError('NOTIFY', `${what} ${how}`, { facts: { exitCode: exitCode ?? undefined } })
}
