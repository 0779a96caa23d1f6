import { createHash } from 'node:crypto'
import type { Config } from '../../application/config/config.ts'
import { prepareSealers } from '../../application/sources/seal.ts'
import { CodedError } from '../../engine/error.ts'
import { listKeys } from '../../engine/repository/keys.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { VERSION } from '../version.ts'
import { type EscrowFile, listEscrow } from './escrow.ts'
import { readRecoveryFile } from './place-recovery-program.ts'

/** What stands on the sheet of paper that gets everything back; plain data. */
export interface RecoverySheet {
  readonly app: string | undefined
  readonly root: string | undefined
  readonly printed: Date
  readonly location: string
  /** Of copies, as the config names them. */
  readonly copies: readonly string[]
  /** Of the repository, in its config: the same for no other. */
  readonly id: string
  readonly version: 1 | 2
  /** SHA-256 of the key file that the password opens: its fingerprint. */
  readonly keyFile: string
  readonly keyMade: string
  /** Where the password lies on the server. */
  readonly passwordFile: string | undefined
  /** Sealed beside the repository. */
  readonly escrow: readonly EscrowFile[]
  /** Whom the secrets are sealed for: fingerprints of GPG keys, age recipients; as configured where a key is not here. */
  readonly recipients: readonly string[]
  /** SHA-256 of the recovery program of this version of Holdfast. */
  readonly recoveryProgram: string
  readonly holdfast: string
  readonly contacts: readonly (readonly [what: string, who: string])[]
  /** Only where it was asked for. */
  readonly password: string | undefined
}

/** Collects it, and opens the repository with the password on the way: the sheet names what is known to work. */
export async function recoverySheet(
  access: RepositoryAccess,
  options: {
    readonly config: Config | undefined
    /** How the location may be shown. */
    readonly location: string
    readonly withPassword: boolean
    readonly now: Date
    readonly signal: AbortSignal
  },
): Promise<RecoverySheet> {
  const { config, signal } = options
  return withRepository(access, { lock: 'none', signal }, async (repository) => {
    const { keys } = await listKeys(repository, signal)
    const current = keys.find(({ isCurrent }) => isCurrent)
    const made = current && new Date(Number(current.created.ns / 1_000_000n)).toISOString().slice(0, 10)
    return {
      app: config?.app,
      root: config?.root,
      printed: options.now,
      location: options.location,
      copies: config?.offSite.map(({ to }) => to) ?? [],
      id: repository.config.id,
      version: repository.config.version,
      keyFile: repository.keyId,
      keyMade: current === undefined ? '' : `${made} by ${current.username} on ${current.hostname}`,
      passwordFile: config?.passwordFile,
      escrow: await listEscrow(repository.storage, signal),
      recipients: await recipientsOf(config, signal),
      recoveryProgram: createHash('sha256')
        .update(await readRecoveryFile('recover.mjs'))
        .digest('hex'),
      holdfast: VERSION,
      contacts: [...(config?.contacts ?? [])],
      password: options.withPassword ? (await access.password()).toString() : undefined,
    }
  })
}

async function recipientsOf(config: Config | undefined, signal: AbortSignal): Promise<readonly string[]> {
  if (config === undefined || config.seal.length === 0) return []
  try {
    return (await prepareSealers(config.seal, { signal })).flatMap(({ recipients }) => recipients)
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof CodedError)) throw error
    return config.seal // the key is not here, or has expired: what was sealed opens all the same
  }
}

/** A part of the sheet: what is known, what is filled in by hand, and what is typed. */
export interface SheetSection {
  readonly title: string
  readonly text?: string
  readonly facts?: readonly (readonly [what: string, value: string])[]
  /** To be filled in with a pen. */
  readonly blanks?: readonly string[]
  readonly commands?: readonly string[]
}

/** The sheet in words, for any kind of page. Without the password, which a page sets apart. Pure. */
export function sheetSections(sheet: RecoverySheet): readonly SheetSection[] {
  const { location, escrow, recipients } = sheet
  const repository = quoted(location)
  const isGpg = (recipient: string) => /^([0-9A-F]{40,}|gpg:)/.test(recipient)
  return [
    {
      title: 'What and where',
      facts: [
        ...(sheet.app === undefined
          ? []
          : [['Application', `${sheet.app}${sheet.root ? ` (${sheet.root})` : ''}`] as const]),
        ['Repository', location],
        ...sheet.copies.map((copy) => ['Copy', copy] as const),
        ['Repository ID', sheet.id],
        ['Key file (fingerprint)', sheet.keyFile],
        ...(sheet.keyMade === '' ? [] : [['Key made', sheet.keyMade] as const]),
        ['Format', `restic, version ${sheet.version}`],
      ],
    },
    {
      title: 'The password of the repository',
      text: 'Without it nothing can be read.',
      facts: [
        ...(sheet.passwordFile === undefined ? [] : [['On the server', sheet.passwordFile] as const]),
        ...escrow.map(
          ({ name, keyIds, count }) =>
            [
              `Beside the repository`,
              `${name}, sealed for ${keyIds.length > 0 ? `key ${keyIds.join(', ')}` : `${count} recipients`}`,
            ] as const,
        ),
      ],
      blanks: ['The password itself is kept at', 'Who can get at it'],
    },
    {
      title: 'The private keys of the sealed secrets',
      text:
        recipients.length === 0
          ? 'No recipient is configured: secrets are not in the backup.'
          : 'Passwords, tokens and keys of the application open with one of these private keys. Everything else comes back without.',
      ...(recipients.length === 0
        ? {}
        : { blanks: recipients.map((recipient) => `${isGpg(recipient) ? 'GPG' : 'age'} ${recipient}: held by, at`) }),
    },
    {
      title: 'With Holdfast',
      commands: [
        `holdfast -r ${repository} snapshots`,
        `holdfast -r ${repository} restore latest --target /tmp/restored --verify`,
        ...(sheet.app === undefined ? [] : [`holdfast -r ${repository} restore --full`]),
        ...(escrow.some(({ kind }) => kind === 'gpg')
          ? [`holdfast -r ${repository} --unseal-password gpg restore latest --target /tmp/restored`]
          : []),
        ...(escrow.some(({ kind }) => kind === 'age')
          ? [`holdfast -r ${repository} --unseal-password KEYFILE restore latest --target /tmp/restored`]
          : []),
      ],
    },
    {
      title: 'With Node.js 24 alone',
      text: 'In the repository lies recover.mjs, one readable file. Take it from the package of Holdfast if its SHA-256 is another.',
      facts: [[`SHA-256 (Holdfast ${sheet.holdfast})`, sheet.recoveryProgram]],
      commands: ['node recover.mjs list', 'node recover.mjs restore latest /tmp/restored'],
    },
    {
      title: 'With restic',
      commands: [`restic -r ${repository} snapshots`, `restic -r ${repository} restore latest --target /tmp/restored`],
    },
    {
      title: 'The secrets, by hand',
      commands: [
        ...(recipients.some(isGpg) || recipients.length === 0
          ? ['gpg --decrypt /tmp/restored/.holdfast/secrets.tar.gz.gpg | tar -xz -C /tmp/restored']
          : []),
        ...(recipients.some((recipient) => !isGpg(recipient))
          ? ['age --decrypt --identity KEYFILE /tmp/restored/.holdfast/secrets.tar.gz.age | tar -xz -C /tmp/restored']
          : []),
      ],
    },
    ...(sheet.contacts.length === 0 ? [] : [{ title: 'Whom to call', facts: sheet.contacts }]),
    { title: 'Tried out', blanks: ['Last recovery with this sheet: date, by'] },
  ]
}

/** What the code on the sheet says: enough to type nothing wrong. */
export function sheetCode({ app, location, id, keyFile }: RecoverySheet): string {
  return [
    'Holdfast recovery',
    ...(app === undefined ? [] : [`app: ${app}`]),
    `repository: ${location}`,
    `id: ${id}`,
    `key: ${keyFile}`,
  ].join('\n')
}

/** For a shell. */
function quoted(text: string): string {
  return /^[\w./:@+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
