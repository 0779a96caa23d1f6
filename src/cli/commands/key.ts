import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { formatDate, shortId } from '../format.ts'
import { escapeJson } from '../terminal-text.ts'

interface NewOptions {
  readonly newPasswordFile?: string
  readonly newInsecureNoPassword?: boolean
  readonly user?: string
  readonly host?: string
}

const EXITS = ['no-repository', 'locked', 'wrong-password'] as const

export const keyCommand: CommandModule = {
  name: 'key',
  register(program, context) {
    const key = addCommand(program, {
      usage: 'key',
      topic: 'keep',
      summary: 'list, add, change and remove passwords',
      description:
        'A repository has one master key, and a key file for each password that opens it. A new password is read from --new-password-file, or asked for twice; it is never an argument. Removing or changing a password takes effect for the key files in the repository: who has a copy of an old one and its password keeps the master key.',
      examples: [{ run: 'holdfast key list', does: 'Who has a password' }],
      exits: EXITS,
    })
    addCommand(key, {
      usage: 'list',
      topic: 'keep',
      summary: 'list the passwords of a repository',
      description:
        "The one that the repository was opened with is marked with *. A key file that cannot be read is reported, and the exit code is 3.\n\nWith --json: one array with restic's keys (current, id, userName, hostName, created).",
      exits: ['incomplete', ...EXITS],
    }).action(context.action(listKeys))
    const add = addCommand(key, {
      usage: 'add',
      topic: 'keep',
      summary: 'add a password',
      description:
        'The repository opens with it as well.\n\nWith --json: a summary with key, the ID of the new key file.',
      examples: [{ run: 'holdfast key add --new-password-file /root/second', does: 'A second way in' }],
      exits: EXITS,
    })
    add
      .option('--new-password-file <file>', 'read the new password from a file')
      .option('--new-insecure-no-password', 'make the new password empty')
      .option('--user <name>', 'the name that the list shows (default: of the account)')
      .option('--host <host>', 'the host that the list shows (default: this one)')
      .action(context.action<NewOptions>(addPassword))
    const passwd = addCommand(key, {
      usage: 'passwd',
      topic: 'keep',
      summary: 'change the password in use',
      description:
        'Adds a key file for the new password, reads it again, and only then removes that of the old one. A password-file that the config names is not written: put the new password there.\n\nWith --json: a summary with key, the ID of the new key file.',
      examples: [{ run: 'holdfast key passwd', does: 'Asks for the new one twice' }],
      exits: EXITS,
    })
    passwd
      .option('--new-password-file <file>', 'read the new password from a file')
      .option('--new-insecure-no-password', 'make the new password empty')
      .option('--user <name>', 'the name that the list shows (default: of the account)')
      .option('--host <host>', 'the host that the list shows (default: this one)')
      .action(context.action<NewOptions>(changePassword))
    addCommand(key, {
      usage: 'remove <id>',
      topic: 'keep',
      summary: 'remove a password',
      description: 'Not the one in use: one is left that is known to open.\n\nWith --json: a summary with key.',
      arguments: { id: 'of the key file, or its beginning' },
      examples: [{ run: 'holdfast key remove 4c7ee838', does: 'By the ID that the list shows' }],
      exits: EXITS,
    }).action(context.action(removePassword))
  },
}

async function load(invocation: Invocation<object>) {
  const [keys, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
    import('../../operations/repository/keys.ts'),
    import('../repository-access.ts'),
  ])
  const config = await findRepositoryConfig(invocation)
  return { keys, config, access: await repositoryAccess(invocation, config) }
}

async function listKeys(invocation: Invocation<object>): Promise<Outcome> {
  const { globals, io, screen, signal, style } = invocation
  const { keys, access } = await load(invocation)
  const [{ dateOf }, { formatTable }] = await Promise.all([import('../snapshot-json.ts'), import('../table.ts')])
  const list = await keys.keyList(access, signal)
  const outcome = list.damaged.length > 0 ? 'incomplete' : 'succeeded'
  if (globals.json) {
    for (const { id, error } of list.damaged) {
      const finding = { severity: 'error', code: 'key-damaged', message: error.message, key: id }
      io.stderr.write(`${escapeJson(JSON.stringify({ message_type: 'finding', ...finding }))}\n`)
    }
    const objects = list.keys.map(({ id, isCurrent, username, hostname, created }) => ({
      current: isCurrent,
      id,
      userName: username,
      hostName: hostname,
      created: formatDate(dateOf(created)),
    }))
    io.stdout.write(`${escapeJson(JSON.stringify(objects))}\n`)
    return outcome
  }
  for (const { error } of list.damaged) invocation.warn(error.message)
  const rows = list.keys.map(({ id, isCurrent, username, hostname, created }) => [
    `${isCurrent ? '*' : ' '}${shortId(id)}`,
    username,
    hostname,
    formatDate(dateOf(created)),
  ])
  const width = io.isTerminal('stdout') ? io.columns() : undefined
  screen.print(formatTable(COLUMNS, rows, { width, style }))
  return outcome
}

const COLUMNS = [
  { title: ' ID' },
  { title: 'User', cut: 'end' },
  { title: 'Host', cut: 'end' },
  { title: 'Created' },
] as const

async function newKey(invocation: Invocation<NewOptions>) {
  const { io, options, signal, warn } = invocation
  const { resolvePassword } = await import('../password.ts')
  return {
    newPassword: () =>
      resolvePassword({
        io,
        options: { passwordFile: options.newPasswordFile, insecureNoPassword: options.newInsecureNoPassword },
        role: 'new',
        what: 'password',
        isNew: true,
        warn,
        signal,
      }),
    username: options.user,
    hostname: options.host,
  }
}

async function addPassword(invocation: Invocation<NewOptions>): Promise<Outcome> {
  const { keys, config, access } = await load(invocation)
  const summarise = ({ key }: { readonly key?: unknown }) => [`Added key ${shortId(String(key))}`]
  const observe = invocation.observe({ log: config?.log, summarise })
  const added = await newKey(invocation)
  return (await keys.keyAdd(access, { ...added, observe, signal: invocation.signal })).outcome
}

async function changePassword(invocation: Invocation<NewOptions>): Promise<Outcome> {
  const { keys, config, access } = await load(invocation)
  const summarise = ({ key }: { readonly key?: unknown }) => [
    `The password is changed; its key is ${shortId(String(key))}`,
  ]
  const observe = invocation.observe({ log: config?.log, summarise })
  const changed = await newKey(invocation)
  return (await keys.keyPasswd(access, { ...changed, observe, signal: invocation.signal })).outcome
}

async function removePassword(invocation: Invocation<object>): Promise<Outcome> {
  const { operands, signal } = invocation
  const { keys, config, access } = await load(invocation)
  const summarise = ({ key }: { readonly key?: unknown }) => [`Removed key ${shortId(String(key))}`]
  const observe = invocation.observe({ log: config?.log, summarise })
  return (await keys.keyRemove(access, { name: operands[0]!, observe, signal })).outcome
}
