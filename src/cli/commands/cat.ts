import { Argument } from 'commander'
import type { WantedObject } from '../../operations/browse/read-object.ts'
import type { Outcome } from '../../operations/event.ts'
import { addCommand, type CommandModule, type Invocation } from '../command.ts'
import { CliError } from '../error.ts'
import { snapshotChoice, splitSubfolder } from '../snapshot-options.ts'
import { writeOutput } from '../write-output.ts'

const KINDS = ['config', 'index', 'snapshot', 'key', 'masterkey', 'lock', 'pack', 'blob', 'tree'] as const
type Kind = (typeof KINDS)[number]

/** What is not text, or need not be. */
const BINARY: ReadonlySet<Kind> = new Set(['pack', 'blob'])

export const catCommand: CommandModule = {
  name: 'cat',
  register(program, context) {
    const command = addCommand(program, {
      usage: 'cat',
      topic: 'look',
      summary: 'write an object of the repository to standard output',
      description:
        'To look for causes: config, index, snapshot, key and lock as JSON; tree as it is stored, of the latest snapshot or of SNAPSHOT:/folder; blob decrypted; pack as it lies in the storage, also when it is damaged.\n\n' +
        'masterkey is the key that encrypts everything in the repository: who has it needs no password, also after all passwords were changed. It goes into no ticket, chat or log.',
      examples: [
        { run: 'holdfast cat config', does: 'Version, ID and chunker of the repository' },
        { run: 'holdfast cat tree latest:/opt/app/data', does: 'What is stored about the entries of a folder' },
        { run: 'holdfast cat blob 5d6e0f1c > blob', does: 'The content of a blob' },
      ],
      exits: ['no-repository', 'locked', 'wrong-password'],
    })
    command
      .addArgument(new Argument('<type>', 'of what type it is').choices(KINDS))
      .addArgument(
        new Argument('[id]', 'the ID or its beginning; none for config and masterkey; for tree SNAPSHOT:/folder'),
      )
      .action(context.action(cat))
  },
}

async function cat(invocation: Invocation<object>): Promise<Outcome> {
  const { io, operands, screen, signal } = invocation
  const [kind, id] = operands as [Kind, string | undefined]
  if (BINARY.has(kind) && io.isTerminal('stdout')) {
    throw new CliError('USAGE', `Cannot write a ${kind} to a terminal: it is not text`, {
      hint: 'Redirect standard output into a file',
    })
  }
  const [{ readObject }, { findRepositoryConfig, repositoryAccess }] = await Promise.all([
    import('../../operations/browse/read-object.ts'),
    import('../repository-access.ts'),
  ])
  const config = await findRepositoryConfig(invocation)
  const access = await repositoryAccess(invocation, config)
  const wanted = await wantedObject(kind, id, config)
  screen.giveOutputToData()
  let outcome: Outcome = 'succeeded'
  let last = 0x0a
  await readObject(access, {
    wanted,
    signal,
    onDamaged(message) {
      outcome = 'incomplete'
      invocation.complain({ severity: 'error', code: 'pack-damaged', message })
    },
    async write(bytes) {
      const shown = kind === 'index' || kind === 'tree' || BINARY.has(kind) ? bytes : indented(bytes)
      last = shown.at(-1) ?? last
      await writeOutput(io.stdout, shown, signal)
    },
  })
  if (!BINARY.has(kind) && last !== 0x0a) await writeOutput(io.stdout, Buffer.from('\n'), signal)
  if (kind === 'masterkey') {
    invocation.complain({
      severity: 'warning',
      code: 'key-material',
      message: 'What was written is the master key: who has it reads the whole repository without a password',
      hint: 'It cannot be changed. Should it get into the wrong hands, copy what is there into a new repository',
    })
  }
  return outcome
}

async function wantedObject(
  kind: Kind,
  id: string | undefined,
  config: Parameters<typeof snapshotChoice>[2],
): Promise<WantedObject> {
  const choice = (name: string | undefined) => snapshotChoice(name, { host: [], tag: [] }, config)
  switch (kind) {
    case 'config':
    case 'masterkey':
      if (id === undefined) return { kind }
      throw new CliError('USAGE', `Cannot use ${id}: there is one ${kind} only`)
    case 'snapshot':
      return { kind, choice: await choice(id) }
    case 'tree': {
      const { name, subfolder } = splitSubfolder(id)
      return { kind, choice: await choice(name), subfolder }
    }
    default:
      if (id !== undefined && /^[0-9a-f]{1,64}$/.test(id)) return { kind, id }
      throw new CliError('USAGE', `Cannot tell which ${kind} is meant: expected its ID or the beginning of it`)
  }
}

/** JSON that people read, in the order in which it is stored. */
function indented(json: Buffer): Buffer {
  return Buffer.from(`${JSON.stringify(JSON.parse(json.toString()), null, 2)}\n`)
}
