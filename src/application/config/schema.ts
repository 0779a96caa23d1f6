import { z } from 'zod'
import { parseCron } from './cron.ts'
import { approximateSeconds, type Duration, durationSyntax, parseDuration } from './duration.ts'
import { locationSyntax, parseLocation } from './location.ts'
import { nearMiss } from './near-miss.ts'
import { describeValue, isProblem, type Problem } from './problem.ts'
import { parseRecipient, recipientSyntax } from './recipient.ts'
import { parseReference, type Reference } from './reference.ts'
import { parseTimeZone } from './time-zone.ts'

// The one definition of `holdfast.yaml`: what is checked at load, and what the JSON schema for editors is made from.
// Messages follow the name of the value and a colon; `load-config.ts` adds both, and the line and column.

function wrongType(input: unknown, expected: string): string {
  if (input === undefined) return `missing, expected ${expected}`
  if (input === null) return `nothing stands here, expected ${expected}`
  return `${describeValue(input)} stands here, expected ${expected}`
}

/** Text that `parse` understands. `expected` completes "expected …". */
function text<Parsed>(expected: string, parse: (value: string) => Parsed) {
  return z.string({ error: ({ input }) => wrongType(input, expected) }).transform((value, context) => {
    const parsed = value.trim() === '' ? { problem: wrongType(null, expected) } : parse(value)
    if (!isProblem(parsed)) return parsed as Exclude<Parsed, Problem>
    context.issues.push({ code: 'custom', message: parsed.problem, input: value })
    return z.NEVER
  })
}

function oneOf<const Values extends readonly [string, ...string[]]>(values: Values) {
  return z.enum(values, {
    error: ({ input }) => {
      const expected = values.length === 1 ? values[0] : `one of ${values.join(', ')}`
      const meant = typeof input === 'string' ? nearMiss(input, values) : undefined
      return meant === undefined
        ? wrongType(input, expected)
        : `${describeValue(input)} stands here, did you mean "${meant}"?`
    },
  })
}

/** A list, or its only entry by itself. */
function oneOrMore<Entry extends z.ZodType>(entry: Entry, expected: string, fewest: 0 | 1 = 1) {
  const message = `${expected}, or a list of them`
  const list = z.array(entry).min(fewest, { error: `an empty list stands here, expected ${message}` })
  return z.union([entry, list], { error: ({ input }) => wrongType(input, message) })
}

/** Keys that are known, and no others. */
function section<Shape extends z.ZodRawShape>(shape: Shape) {
  const expected = `keys and values (${Object.keys(shape).join(', ')})`
  // Unknown keys keep zod's own issue: `load-config.ts` reports each at its place.
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'invalid_type' ? wrongType(issue.input, expected) : undefined),
  })
}

function path(expected: string) {
  return text(expected, (value) => {
    if (value.includes('\0')) return { problem: `${describeValue(value)} holds a NUL character, which no path can` }
    if (!/^~(\/|$)/.test(value)) return value
    return { problem: `"${value}" begins with "~", which depends on who runs the backup, expected the whole path` }
  })
}

const freeText = (expected: string) => text(expected, (value) => value)
const duration = text(durationSyntax, parseDuration)
const cron = 'five cron fields, as in "0 2 * * *" for 02:00 every day'
const recipients = oneOrMore(text(recipientSyntax, parseRecipient), recipientSyntax)
const location = text(locationSyntax, parseLocation)
const command = freeText('a shell command')

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/
const nameSyntax = 'letters, digits, ".", "_" and "-", at most 63, the first a letter or digit'

const name = text(nameSyntax, (value) =>
  NAME.test(value)
    ? value
    : { problem: `${describeValue(value)} cannot be part of a file name, expected ${nameSyntax}` },
)

const owner = text('USER:GROUP, as in www-data:www-data', (value) => {
  const match = /^([A-Za-z0-9_][A-Za-z0-9_.-]*\$?)(?::([A-Za-z0-9_][A-Za-z0-9_.-]*\$?))?$/.exec(value)
  if (match === null)
    return { problem: `${describeValue(value)} is not an owner, expected USER:GROUP, as in www-data:www-data` }
  const [, user = '', group = user] = match
  return { user, group }
})

const excludeSyntax = 'a pattern in the syntax of .gitignore, as in node_modules, "*.log" or /tmp/'

const pattern = text(excludeSyntax, (value) => {
  if (value.startsWith('#')) {
    return {
      problem: `${describeValue(value)} is a comment in the syntax of .gitignore, write "\\\\${value}" for a name that begins with #`,
    }
  }
  if (value === '!' || value === '/' || /^!?\/?\.\.?(\/|$)/.test(value)) {
    return { problem: `${describeValue(value)} matches nothing, expected ${excludeSyntax}` }
  }
  if (/(?:^|[^\\])(?:\\\\)*\\$/.test(value)) {
    return {
      problem: `${describeValue(value)} ends with a lone backslash and matches nothing, expected ${excludeSyntax}`,
    }
  }
  return value
})

const patterns = oneOrMore(pattern, excludeSyntax, 0)

const webAddress = text('an address, as in http://localhost:3000/health', (value) => {
  if (!/^https?:\/\//.test(value) || !URL.canParse(value)) {
    return { problem: `${describeValue(value)} is not a web address, expected one as in http://localhost:3000/health` }
  }
  const url = new URL(value)
  return url.password === '' ? value : { problem: 'the address holds a password, which does not belong in this file' }
})

const keep = text(`${durationSyntax}, or none`, (value) => (value === 'none' ? 'none' : parseDuration(value)))

const component = section({
  kind: oneOf(['files', 'sqlite', 'secrets', 'pm2', 'systemd', 'nginx', 'command'])
    .optional()
    .describe(
      'How the component is captured. Known from the names secrets, pm2, systemd and nginx; otherwise files, in which databases are found.',
    ),
  path: path('a path')
    .optional()
    .describe('Absolute, or relative to root. For systemd also the name of a unit, for nginx of a site.'),
  paths: z
    .array(path('a path'), { error: ({ input }) => wrongType(input, 'a list of paths') })
    .min(1, { error: 'an empty list stands here, expected at least one path' })
    .optional()
    .describe('Several paths, each as in path.'),
  exclude: patterns
    .optional()
    .describe('What to leave out, in the syntax of .gitignore, relative to the path of the component.'),
  seal: recipients.optional().describe('For whom the secrets are sealed; the same as seal at the top.'),
  command: command.optional().describe('Of kind command: what it prints is what is stored.'),
}).superRefine((value, context) => {
  const isCommand = value.kind === 'command' || (value.kind === undefined && value.command !== undefined)
  if (value.path !== undefined && value.paths !== undefined) {
    context.addIssue({
      code: 'custom',
      path: ['paths'],
      message: 'both "path" and "paths" stand here, expected one of the two',
    })
  }
  if (isCommand && value.command === undefined) {
    context.addIssue({
      code: 'custom',
      path: ['command'],
      message: 'missing, expected a shell command that prints what is to be stored',
    })
  }
  if (!isCommand && value.command !== undefined) {
    context.addIssue({
      code: 'custom',
      path: ['command'],
      message: `not used by a component of kind ${value.kind}, expected kind: command`,
    })
  }
  if (!isCommand && value.path === undefined && value.paths === undefined) {
    context.addIssue({
      code: 'custom',
      path: ['path'],
      message: 'missing, expected a path, absolute or relative to root',
    })
  }
  if (isCommand && (value.path !== undefined || value.paths !== undefined)) {
    context.addIssue({
      code: 'custom',
      path: [value.path === undefined ? 'paths' : 'path'],
      message: 'not used by a component of kind command, which stores what the command prints, no files',
    })
  }
})

const componentSyntax = 'a path, a list of paths, or keys and values (kind, path, paths, exclude, seal, command)'

const channels = ['discord', 'slack', 'webhook', 'mail', 'ping', 'command'] as const

/** An address that lets its reader post is a secret, and the config file is stored with every snapshot. */
function secretAddress(what: string) {
  const expected = `env:NAME or file:PATH, where the ${what} stands`
  return text(expected, (value): Reference | Problem => {
    const reference = parseReference(value)
    if (isProblem(reference) || reference.kind !== 'literal') return reference
    return {
      problem: `the ${what} itself stands here, which is as good as a password, expected env:NAME or file:PATH to say where it is kept`,
    }
  })
}

const channel = section({
  discord: secretAddress('webhook of the Discord channel')
    .optional()
    .describe('env:NAME or file:PATH of a Discord webhook.'),
  slack: secretAddress('webhook of the Slack channel').optional().describe('env:NAME or file:PATH of a Slack webhook.'),
  webhook: secretAddress('address of the webhook')
    .optional()
    .describe('env:NAME or file:PATH of an address that gets the outcome as JSON.'),
  mail: text('an e-mail address or env:NAME', (value): Reference | Problem => {
    const reference = parseReference(value)
    if (isProblem(reference) || reference.kind !== 'literal' || /^[^\s@]+@[^\s@]+$/.test(value)) return reference
    return { problem: `${describeValue(value)} is not an e-mail address, expected one as in ops@example.com` }
  })
    .optional()
    .describe('Who gets an e-mail.'),
  ping: secretAddress("address of the dead man's switch")
    .optional()
    .describe(
      'env:NAME or file:PATH of an address (healthchecks.io and others) that raises the alarm when it is not called.',
    ),
  command: text('a shell command', (value): Reference => ({ kind: 'literal', value }))
    .optional()
    .describe('A shell command that gets the outcome as JSON on its standard input.'),
  smtp: secretAddress('SMTP server with its password')
    .optional()
    .describe('For mail: env:NAME or file:PATH of smtps://USER:PASSWORD@HOST. Without it, the mailer of the system.'),
  on: oneOrMore(
    oneOf(['succeeded', 'incomplete', 'failed', 'overdue']),
    'one of succeeded, incomplete, failed, overdue',
  )
    .optional()
    .describe(
      'Which outcomes are told. Without it: incomplete, failed, overdue; of ping: succeeded, incomplete, failed.',
    ),
}).superRefine((value, context) => {
  const given = channels.filter((key) => value[key] !== undefined)
  if (given.length === 0) {
    context.addIssue({
      code: 'custom',
      path: [],
      message: `no channel stands here, expected one of ${channels.join(', ')}`,
    })
  }
  for (const extra of given.slice(1)) {
    context.addIssue({
      code: 'custom',
      path: [extra],
      message: `a second channel beside "${given[0]}", expected in a list entry of its own`,
    })
  }
  if (value.smtp !== undefined && value.mail === undefined) {
    context.addIssue({
      code: 'custom',
      path: ['smtp'],
      message: 'used with "mail" only, expected the address to write to beside it',
    })
  }
})

const service = section({
  manager: oneOf(['pm2', 'systemd', 'command']).describe('Who starts and stops the application.'),
  name: freeText('the name of the process or unit').optional().describe('Of the process or unit.'),
  start: command.optional().describe('Of manager command: starts the application.'),
  stop: command.optional().describe('Of manager command: stops the application.'),
  install: command.optional().describe('Installs the dependencies after a restore, in root, as owner.'),
  build: command.optional().describe('Builds the application after it.'),
  health: webAddress.optional().describe('Answers with a status below 400 when the application runs.'),
  metrics: webAddress.optional().describe('Must answer as well.'),
  'expect-log': oneOrMore(freeText('a piece of text'), 'a piece of text')
    .optional()
    .describe('Texts that the log of the application holds once it runs, in any capitals.'),
}).superRefine((value, context) => {
  const own = value.manager === 'command'
  for (const key of ['start', 'stop'] as const) {
    if (own && value[key] === undefined) {
      context.addIssue({
        code: 'custom',
        path: [key],
        message: `missing, expected a shell command that makes the application ${key}`,
      })
    }
    if (!own && value[key] !== undefined) {
      context.addIssue({
        code: 'custom',
        path: [key],
        message: `not used by ${value.manager}, expected manager: command`,
      })
    }
  }
  if (!own && value.name === undefined) {
    const expected = value.manager === 'pm2' ? 'the name that "pm2 list" shows' : 'the name of the unit'
    context.addIssue({ code: 'custom', path: ['name'], message: `missing, expected ${expected}` })
  }
})

const pickSyntax = 'two ages with .. between, as in 14d..21d, or latest'

const pick = text(pickSyntax, (value): 'latest' | { youngest: Duration; oldest: Duration } | Problem => {
  if (value === 'latest') return value
  const ends = value.split('..')
  if (ends.length !== 2) return { problem: `${describeValue(value)} is not a range of ages, expected ${pickSyntax}` }
  const youngest = parseDuration(ends[0]!.trim())
  if (isProblem(youngest)) return youngest
  const oldest = parseDuration(ends[1]!.trim())
  if (isProblem(oldest)) return oldest
  if (approximateSeconds(youngest) <= approximateSeconds(oldest)) return { youngest, oldest }
  return { problem: `${describeValue(value)} runs backwards, expected the smaller age first` }
})

export const configSchema = section({
  app: name.describe('Name of the application: of its snapshots, and of the folders that hold its state.'),
  environment: oneOf(['production', 'staging', 'development'])
    .optional()
    .describe('Sets the schedule and the objectives where none are given. Without it: production.'),
  root: path('the absolute path of the application').describe(
    'Absolute path of the application. Paths of components are relative to it.',
  ),
  owner: owner.optional().describe('USER:GROUP that owns the application and runs its commands.'),

  repository: location.describe('Where snapshots are stored: a folder, s3:…, sftp:…, rest:… or rclone:….'),
  'password-file': path('the path of a file that holds the password')
    .optional()
    .describe('A file that only its owner can read. Without it: RESTIC_PASSWORD, RESTIC_PASSWORD_FILE, or asked.'),

  components: z
    .record(
      z.string().regex(NAME, { error: `not a name for a component, expected ${nameSyntax}` }),
      z.union(
        [
          path('a path'),
          z.array(path('a path')).min(1, { error: 'an empty list stands here, expected at least one path' }),
          component,
        ],
        {
          error: ({ input }) => wrongType(input, componentSyntax),
        },
      ),
      {
        error: (issue) =>
          issue.code === 'invalid_type'
            ? wrongType(issue.input, 'the parts of the application, each with a name, as in data: data/')
            : undefined,
      },
    )
    .refine((value) => Object.keys(value).length > 0, {
      error: 'no component stands here, expected at least one, as in data: data/',
    })
    .describe(
      'The parts of the application. config, data: files and databases; secrets: sealed; pm2, systemd, nginx: their configuration.',
    ),
  exclude: patterns
    .optional()
    .describe('What to leave out of every component, in the syntax of .gitignore, relative to root.'),
  seal: recipients
    .optional()
    .describe('For whom secrets are sealed: gpg:EMAIL, gpg:FINGERPRINT, gpg:FILE.asc, age:age1… or age:FILE.'),
  unseal: oneOrMore(path('the path of an age identity file'), 'the path of an age identity file')
    .optional()
    .describe('Files of age identities, for opening seals. Not on the server itself.'),
  sign: text('gpg:KEY or ssh:PATH', (value) => {
    if (/^gpg:\S+$/.test(value)) return value
    if (/^ssh:\S/.test(value) && !/^ssh:ssh-/.test(value)) return value
    return { problem: `${describeValue(value)} is not a signing key, expected gpg:KEY or ssh:PATH of a private key` }
  })
    .optional()
    .describe('Key that signs every snapshot: gpg:EMAIL, gpg:FINGERPRINT or ssh:PATH of a private key.'),

  schedule: section({
    backup: text(`${cron}, or manual`, (value) => (value === 'manual' ? 'manual' : parseCron(value)))
      .optional()
      .describe('Five cron fields, or manual.'),
    verify: text(`${cron}, or manual`, (value) => (value === 'manual' ? 'manual' : parseCron(value)))
      .optional()
      .describe('Five cron fields, or manual.'),
    timezone: text('the name of a time zone, as in UTC or Europe/Berlin', parseTimeZone)
      .optional()
      .describe('Without it: UTC.'),
  })
    .optional()
    .describe('When backups start by themselves.'),
  retention: section({
    daily: keep.optional().describe('The first snapshot of each day is kept this long.'),
    weekly: keep.optional().describe('The first of each week.'),
    monthly: keep.optional().describe('The first of each month.'),
    yearly: keep.optional().describe('The first of each year.'),
  })
    .optional()
    .describe('How long snapshots are kept. What is not given: 30d, 90d, 1y, 7y.'),
  objectives: section({
    rpo: duration.optional().describe('How much work may be lost: the age that the newest snapshot may reach.'),
    rto: duration.optional().describe('How long a restore may take.'),
  })
    .optional()
    .describe('What is promised; status and reports compare it with what was measured.'),

  'off-site': z
    .array(
      section({
        to: location.describe('Where the copy is stored.'),
        'storage-class': freeText('a storage class of S3, as in STANDARD_IA')
          .optional()
          .describe('Of S3, as in STANDARD_IA.'),
        'object-lock': duration.optional().describe('Of S3: nobody can delete a copy before this time is over.'),
        'password-file': path('the path of a file that holds the password')
          .optional()
          .describe('Without it: the password of the repository.'),
      }).superRefine((value, context) => {
        for (const key of ['storage-class', 'object-lock'] as const) {
          if (value[key] !== undefined && value.to.kind !== 's3') {
            context.addIssue({
              code: 'custom',
              path: [key],
              message: 'known to S3 alone, expected "to" to begin with s3:',
            })
          }
        }
      }),
      { error: ({ input }) => wrongType(input, 'a list, each entry with "to": - { to: "s3:https://…" }') },
    )
    .optional()
    .describe('Copies elsewhere.'),
  service: service.optional().describe('How the application is started, stopped and asked whether it runs.'),
  drill: z
    .union(
      [
        oneOf(['none']),
        section({
          every: duration.describe('How often the restore is rehearsed.'),
          pick: pick
            .optional()
            .describe('The age of the snapshot that is taken, as in 14d..21d, or latest. Without it: 14d..21d.'),
          checks: z
            .array(
              section({
                name: freeText('what the check is called').describe('What the report calls it.'),
                run: command.describe('Run as the owner in root, beside the restored application; 0 is well.'),
              }),
              { error: ({ input }) => wrongType(input, 'a list, each entry with name and run') },
            )
            .optional()
            .describe('Checks of your own of the restored application.'),
        }),
      ],
      { error: ({ input }) => wrongType(input, 'keys and values (every, pick), or none') },
    )
    .optional()
    .describe('How often the restore is rehearsed. Without it, in production: every 90d.'),
  notify: z
    .array(channel, {
      error: ({ input }) => wrongType(input, 'a list, each entry with a channel: - { discord: env:BACKUP_WEBHOOK }'),
    })
    .optional()
    .describe('Who is told.'),
  contacts: z
    .record(z.string(), freeText('a name, number or address, in quotes'), {
      error: (issue) =>
        issue.code === 'invalid_type' ? wrongType(issue.input, 'names and how to reach them') : undefined,
    })
    .optional()
    .describe('Whom to call, for the runbook: any key, any text.'),

  log: path('a path')
    .optional()
    .describe('Log file. Without it: /var/log/holdfast/APP.log, or in the state folder of the user.'),
  'work-dir': path('a path')
    .optional()
    .describe('Folder for copies that are on their way into the repository. Without it: in state-dir.'),
  'state-dir': path('a path')
    .optional()
    .describe('Folder for the history. Without it: /var/lib/holdfast/APP, or in the state folder of the user.'),
})

/** The config file with each value understood by itself: paths still as written, no defaults. */
export type WrittenConfig = z.output<typeof configSchema>
