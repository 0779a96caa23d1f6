import { resolve } from 'node:path'
import type { Outcome } from '../../operations/event.ts'
import type { RecoverySheet } from '../../operations/interop/recovery-sheet.ts'
import { addCommand, type CommandModule, collect, type FinishedSummary, type Invocation } from '../command.ts'
import { formatDate, shortId } from '../format.ts'
import { escapeJson, escapeText } from '../terminal-text.ts'

interface NewOptions {
  readonly newPasswordFile?: string
  readonly newInsecureNoPassword?: boolean
  readonly user?: string
  readonly host?: string
}

interface EscrowOptions {
  readonly recipient: readonly string[]
  readonly list: boolean
  readonly remove: boolean
}

interface PaperOptions {
  readonly html?: string
  readonly withPassword: boolean
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
    addCommand(key, {
      usage: 'escrow',
      topic: 'keep',
      summary: 'seal the password beside the repository, so that one private key recovers everything',
      description:
        'Puts password.gpg and password.age beside the repository: the password in use, sealed for the recipients in the config (seal) or those of --recipient, in the place of what lay there. Whoever has one of the private keys and the repository can read all of it: --unseal-password opens it, and plain gpg or age do. After key passwd it is to be done again.\n\nWith --json: a summary with files and recipients; with --list one array (name, kind, keyIds, count, problem).',
      examples: [
        { run: 'holdfast key escrow', does: 'For the recipients of the secrets' },
        { run: 'holdfast key escrow --recipient gpg:admin@example.com', does: 'For another one' },
        { run: 'holdfast --unseal-password gpg restore --target /tmp/restored', does: 'The way back' },
      ],
      exits: EXITS,
    })
      .option('--recipient <key>', 'whom to seal it for, as seal in the config file (repeatable)', collect, [])
      .option('--list', 'show what lies there, and for whom', false)
      .option('--remove', 'take it away', false)
      .action(context.action<EscrowOptions>(escrow))
    addCommand(key, {
      usage: 'paper',
      topic: 'keep',
      summary: 'print a sheet that says how to get everything back',
      description:
        'Where the repository and its copies are, its ID, the fingerprint of the key file, whom the secrets are sealed for, and the commands: with Holdfast, with the recovery program alone, with restic. With lines to fill in who holds which key. The password is not on it, unless --with-password says so.\n\nWith --json: one object recovery_sheet.',
      examples: [
        { run: 'holdfast key paper', does: 'As text' },
        { run: 'holdfast key paper --html sheet.html', does: 'As a page with a code for a camera' },
      ],
      exits: EXITS,
    })
      .option('--html <file>', 'write a page for a browser into this file, for its owner only')
      .option('--with-password', 'put the password on it: the sheet is as secret as that then', false)
      .action(context.action<PaperOptions>(paper))
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
  const observe = invocation.observe({ config, access, summarise })
  const added = await newKey(invocation)
  return (await keys.keyAdd(access, { ...added, observe, signal: invocation.signal })).outcome
}

async function changePassword(invocation: Invocation<NewOptions>): Promise<Outcome> {
  const { keys, config, access } = await load(invocation)
  const summarise = ({ key }: { readonly key?: unknown }) => [
    `The password is changed; its key is ${shortId(String(key))}`,
  ]
  const observe = invocation.observe({ config, access, summarise })
  const changed = await newKey(invocation)
  return (await keys.keyPasswd(access, { ...changed, observe, signal: invocation.signal })).outcome
}

async function removePassword(invocation: Invocation<object>): Promise<Outcome> {
  const { operands, signal } = invocation
  const { keys, config, access } = await load(invocation)
  const summarise = ({ key }: { readonly key?: unknown }) => [`Removed key ${shortId(String(key))}`]
  const observe = invocation.observe({ config, access, summarise })
  return (await keys.keyRemove(access, { name: operands[0]!, observe, signal })).outcome
}

async function escrow(invocation: Invocation<EscrowOptions>): Promise<Outcome> {
  const { globals, io, options, screen, signal } = invocation
  const { config, access } = await load(invocation)
  const { listEscrow, placeEscrow, removeEscrow } = await import('../../operations/interop/escrow.ts')
  if (options.list) {
    const { storageAt } = await import('../../operations/access.ts')
    const files = await listEscrow(storageAt(access), signal)
    if (globals.json) io.stdout.write(`${escapeJson(JSON.stringify(files))}\n`)
    else if (files.length === 0) screen.print('No password is sealed beside the repository')
    for (const { name, keyIds, count, problem } of globals.json ? [] : files) {
      const recipients = keyIds.length > 0 ? `key ${keyIds.join(', ')}` : `${count} recipients`
      screen.print(`${name}  ${problem === undefined ? `sealed for ${recipients}` : `is damaged: ${problem}`}`)
    }
    return 'succeeded'
  }
  const summarise = (summary: FinishedSummary) => {
    const { files, recipients } = summary as { files: readonly string[]; recipients: readonly string[] }
    if (files.length === 0) return ['No password is sealed beside the repository']
    return [
      `Sealed the password beside the repository: ${files.join(', ')}`,
      ...recipients.map((recipient) => `  for ${escapeText(recipient)}`),
    ]
  }
  const observe = invocation.observe({ config, access, summarise })
  if (options.remove) return (await removeEscrow(access, { observe, signal })).outcome
  const { readRecipient } = await import('../recipient-options.ts')
  const named = options.recipient.map((text) => readRecipient(text, io.cwd))
  const recipients = named.length > 0 ? named : (config?.seal ?? [])
  return (await placeEscrow(access, { recipients, observe, signal })).outcome
}

async function paper(invocation: Invocation<PaperOptions>): Promise<Outcome> {
  const { globals, io, options, screen, signal } = invocation
  const { config, access } = await load(invocation)
  const [{ recoverySheet }, { withoutCredentials }] = await Promise.all([
    import('../../operations/interop/recovery-sheet.ts'),
    import('../repository-location.ts'),
  ])
  const { withPassword } = options
  const location = withoutCredentials(access.location)
  const sheet = await recoverySheet(access, { config, location, withPassword, now: io.now(), signal })
  if (options.html !== undefined) {
    const [{ sheetHtml }, { openPrivateFile }] = await Promise.all([
      import('../../operations/interop/recovery-sheet-pages.ts'),
      import('../private-file.ts'),
    ])
    const target = resolve(io.cwd, options.html)
    await using file = await openPrivateFile(target)
    await file.write(Buffer.from(sheetHtml(sheet)))
    await file.publish()
    screen.say(`Wrote the recovery sheet to ${escapeText(target)}: open it in a browser and print it`)
    if (withPassword) screen.say('The password is on it: remove the file when it is printed')
  }
  if (globals.json) screen.json({ message_type: 'recovery_sheet', ...sheetJson(sheet) })
  else if (options.html === undefined) {
    const { sheetText } = await import('../../operations/interop/recovery-sheet-pages.ts')
    screen.print(sheetText(sheet).trimEnd())
  }
  return 'succeeded'
}

function sheetJson(sheet: RecoverySheet): Readonly<Record<string, unknown>> {
  const { printed, keyFile, keyMade, passwordFile, recoveryProgram, password, contacts, ...rest } = sheet
  return {
    ...rest,
    printed: printed.toISOString(),
    key_file: keyFile,
    key_made: keyMade,
    password_file: passwordFile,
    recovery_program_sha256: recoveryProgram,
    contacts: Object.fromEntries(contacts),
    ...(password === undefined ? {} : { password }),
  }
}
