import { resolve } from 'node:path'
import { CliError } from './error.ts'
import type { Io } from './io.ts'
import { promptHidden } from './prompt-hidden.ts'
import { readSettingFile, trimWhiteSpace } from './setting-file.ts'
import { splitWords } from './split-words.ts'
import { escapeText } from './terminal-text.ts'

/** A password is a line; a command that prints a stream is not the right command. */
const COMMAND_OUTPUT_LIMIT = 64 * 1024

export interface PasswordOptions {
  readonly passwordFile?: string | undefined
  readonly passwordCommand?: string | undefined
  readonly insecureNoPassword?: boolean | undefined
}

export interface PasswordRequest {
  readonly io: Io
  /** From the command line. */
  readonly options: PasswordOptions
  /** Of another repository (`--from-password-file`, RESTIC_FROM_PASSWORD_FILE), or a new one (`--new-password-file`, no variable). */
  readonly role?: 'from' | 'new'
  /** From the config file, an absolute path. */
  readonly configuredFile?: string | undefined
  /** What the prompt asks for: `password for repository /srv/backup`. */
  readonly what?: string
  /** A new password typed at the prompt is asked for twice. */
  readonly isNew?: boolean
  readonly warn: (message: string) => void
  readonly signal?: AbortSignal
}

type Origin =
  | { readonly kind: 'file'; readonly path: string; readonly from: string }
  | { readonly kind: 'command'; readonly line: string; readonly from: string }
  | { readonly kind: 'value'; readonly value: string; readonly from: string }

/**
 * The repository's password, in bytes, from the first place that says something: `--password-file` or `--password-command`;
 * HOLDFAST_PASSWORD_COMMAND, _FILE and HOLDFAST_PASSWORD; the same with RESTIC_; the config's `password-file`; a prompt on a
 * terminal, else the first line of standard input. Encodings as restic has them: a variable is taken verbatim, a file loses
 * its byte-order mark and the white space at both ends, bytes are never normalised.
 *
 * Throws `NO_PASSWORD` where nobody gave one or it is empty, `PASSWORD` where a file or command failed, `USAGE` where two
 * ways exclude each other. No message holds any part of a password.
 */
export async function resolvePassword(request: PasswordRequest): Promise<Buffer> {
  const { io, options, configuredFile, role } = request
  const option = role === undefined ? '--' : (`--${role}-` as const)
  const infix = role === 'from' ? '_FROM' : ''
  const given =
    fromOptions(options, option) ??
    (role === 'new'
      ? undefined
      : (fromEnvironment(io.env, `HOLDFAST${infix}`) ?? fromEnvironment(io.env, `RESTIC${infix}`)))
  if (options.insecureNoPassword) {
    // Said just now, it overrules the config file; against another word of the same moment it is a contradiction.
    if (given === undefined) return Buffer.alloc(0)
    throw new CliError('USAGE', `Cannot use ${option}insecure-no-password: a password is given by ${given.from}`)
  }
  const configured: Origin | undefined =
    configuredFile === undefined
      ? undefined
      : { kind: 'file', path: configuredFile, from: 'password-file in the config file' }
  const origin = given ?? configured
  const password = origin === undefined ? await ask(request) : await read(origin, request)
  if (password.length === 0) {
    throw new CliError(
      'NO_PASSWORD',
      `Cannot use an empty password${origin === undefined ? '' : ` from ${origin.from}`}`,
      {
        hint:
          origin === undefined && !io.isTerminal('stdin')
            ? `Give ${option}password-file${role === 'new' ? '' : `, or set HOLDFAST${infix}_PASSWORD_FILE`}: standard input is no terminal to ask on`
            : `Give ${option}insecure-no-password if the repository is really meant to have none`,
      },
    )
  }
  return password
}

function fromOptions({ passwordFile, passwordCommand }: PasswordOptions, option: string): Origin | undefined {
  return pick(passwordFile, `${option}password-file`, passwordCommand, `${option}password-command`)
}

function fromEnvironment(env: Io['env'], prefix: string): Origin | undefined {
  const named = (suffix: string) => `${prefix}_PASSWORD${suffix}`
  // An empty variable is as good as none, as in restic.
  const value = env[named('')] || undefined
  return (
    pick(env[named('_FILE')] || undefined, named('_FILE'), env[named('_COMMAND')] || undefined, named('_COMMAND')) ??
    (value === undefined ? undefined : { kind: 'value', value, from: named('') })
  )
}

function pick(
  path: string | undefined,
  pathFrom: string,
  line: string | undefined,
  lineFrom: string,
): Origin | undefined {
  if (path !== undefined && line !== undefined) {
    throw new CliError('USAGE', `Cannot choose between ${pathFrom} and ${lineFrom}: give one of them`)
  }
  if (path !== undefined) return { kind: 'file', path, from: pathFrom }
  return line === undefined ? undefined : { kind: 'command', line, from: lineFrom }
}

async function read(origin: Origin, { io, warn, signal }: PasswordRequest): Promise<Buffer> {
  switch (origin.kind) {
    case 'value':
      return Buffer.from(origin.value)
    case 'file':
      return readPasswordFile(resolve(io.cwd, origin.path), origin.from, warn)
    case 'command':
      return runPasswordCommand(splitWords(origin.line, origin.from), origin.from, io, signal)
  }
}

async function readPasswordFile(path: string, from: string, warn: (message: string) => void): Promise<Buffer> {
  const shown = escapeText(path)
  const { content, mode } = await readSettingFile(path).catch((error: NodeJS.ErrnoException) => {
    const why =
      error.code === 'ENOENT' ? 'there is no such file' : error.code === 'EISDIR' ? 'it is a folder' : error.message
    throw new CliError('PASSWORD', `Cannot read password file ${shown} (${from}): ${why}`, {
      cause: error,
      facts: { path },
    })
  })
  if (mode !== undefined && (mode & 0o004) !== 0) {
    warn(`Every user of this machine can read password file ${shown}: run chmod 600 ${shown}`)
  }
  return content
}

async function runPasswordCommand(
  [program, ...args]: string[],
  from: string,
  io: Io,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  // Arguments may hold a token: messages name the program only.
  const shown = escapeText(program!)
  const fail = (why: string, cause?: unknown) =>
    new CliError('PASSWORD', `Cannot get the password from ${shown} (${from}): ${why}`, {
      cause,
      facts: { program: program! },
    })
  // Every other command is spared it: loading takes 5 ms.
  const { spawn } = await import('node:child_process')
  const child = spawn(program!, args, {
    cwd: io.cwd,
    env: io.env as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(signal === undefined ? {} : { signal }),
  })
  child.stderr.on('data', (chunk: Buffer) => io.stderr.write(chunk))
  const chunks: Buffer[] = []
  let length = 0
  child.stdout.on('data', (chunk: Buffer) => {
    length += chunk.length
    if (length > COMMAND_OUTPUT_LIMIT) child.kill('SIGKILL')
    else chunks.push(chunk)
  })
  const status = await new Promise<number | NodeJS.Signals>((settle, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) =>
      reject(
        signal?.aborted
          ? signal.reason
          : fail(error.code === 'ENOENT' ? 'there is no such program' : error.message, error),
      ),
    )
    child.on('close', (code, name) => settle(code ?? name!))
  })
  if (length > COMMAND_OUTPUT_LIMIT) throw fail(`it printed more than ${COMMAND_OUTPUT_LIMIT} bytes`)
  if (status !== 0) throw fail(typeof status === 'number' ? `it ended with exit code ${status}` : `${status} ended it`)
  return Buffer.from(trimWhiteSpace(Buffer.concat(chunks)))
}

async function ask({ io, what = 'password for the repository', isNew, signal }: PasswordRequest): Promise<Buffer> {
  if (!io.isTerminal('stdin')) return readLine(io, signal)
  const password = await promptHidden(io, `enter ${isNew ? 'new ' : ''}${escapeText(what)}: `, signal)
  if (isNew && password.length > 0) {
    const again = await promptHidden(io, 'enter it again: ', signal)
    if (!password.equals(again))
      throw new CliError('NO_PASSWORD', 'Cannot use the new password: the two entries differ')
  }
  return password
}

/** The first line of standard input, without its line break; what follows stays to be read. */
async function readLine({ stdin }: Io, signal: AbortSignal | undefined): Promise<Buffer> {
  signal?.throwIfAborted()
  return new Promise((settle, reject) => {
    const chunks: Buffer[] = []
    const finish = (action: () => void) => {
      stdin.off('data', onData)
      stdin.off('end', onEnd)
      stdin.off('error', onError)
      signal?.removeEventListener('abort', onAbort)
      stdin.pause()
      action()
    }
    const onData = (chunk: Buffer | string) => {
      const bytes = Buffer.from(chunk as Buffer)
      const at = bytes.indexOf(0x0a)
      chunks.push(at < 0 ? bytes : bytes.subarray(0, at))
      if (at >= 0) {
        finish(() => settle(withoutReturn(Buffer.concat(chunks))))
        const rest = bytes.subarray(at + 1)
        if (rest.length > 0) stdin.unshift(rest)
      } else if (chunks.reduce((sum, { length }) => sum + length, 0) > COMMAND_OUTPUT_LIMIT) {
        finish(() =>
          reject(new CliError('PASSWORD', 'Cannot read the password from standard input: its first line is too long')),
        )
      }
    }
    const onEnd = () => finish(() => settle(withoutReturn(Buffer.concat(chunks))))
    const onError = (error: Error) => finish(() => reject(error))
    const onAbort = () => finish(() => reject(signal?.reason))
    stdin.on('data', onData)
    stdin.on('end', onEnd)
    stdin.on('error', onError)
    signal?.addEventListener('abort', onAbort)
    stdin.resume()
  })
}

function withoutReturn(line: Buffer): Buffer {
  return line.at(-1) === 0x0d ? line.subarray(0, -1) : line
}
