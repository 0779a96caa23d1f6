import { resolve } from 'node:path'
import type { Detection, FoundComponent } from './detection.ts'
import { createExclusion } from './exclude.ts'
import { NAMED_KINDS } from './normalise-config.ts'

/** What detection cannot know. */
export interface ConfigChoices {
  readonly repository: string
  readonly passwordFile: string
  /** Recipients: `gpg:…`, `age:…`. Without one, secrets stay out of the backup. */
  readonly seal: readonly string[]
  /** Where Holdfast keeps what belongs to it on this machine, its log too; absent: the default places. */
  readonly stateDirectory?: string | undefined
}

const WIDTH = 100

/**
 * The config file for an application that was found: commented, so that an operator sees why each component is there and
 * what is left out. `loadConfig` reads it again. Holds no secret: of secrets only paths are known here.
 */
export function renderConfig(detection: Detection, choices: ConfigChoices): string {
  const { app, root, owner } = detection
  const blocks = [
    comment(`What Holdfast protects of ${app}, and how. Written after a look at ${root}: correct what is wrong.`),
    [
      `app: ${scalar(app)}`,
      'environment: production  # production | staging | development: sets the default schedule',
      `root: ${scalar(root)}`,
      ...(owner === undefined ? [] : [`owner: ${scalar(`${owner.user}:${owner.group}`)}`]),
    ],
    [
      `repository: ${scalar(choices.repository)}`,
      ...comment(
        'Whoever has this file and the repository can read the backups. Keep a copy of it away from this machine.',
      ),
      `password-file: ${scalar(choices.passwordFile)}`,
    ],
    [
      'components:',
      ...detection.components.flatMap((component, index) => renderComponent(component, index > 0)).map(indent),
    ],
    renderSeal(detection, choices.seal),
    renderExclude(detection),
    [
      'schedule: { backup: "0 2 * * *", timezone: UTC }',
      ...comment('The first snapshot of each day, week, month and year is kept this long.'),
      'retention: { daily: 30d, weekly: 90d, monthly: 1y, yearly: 7y }',
      ...comment('How much work may be lost, and how long a restore may take.'),
      'objectives: { rpo: 24h, rto: 4h }',
    ],
    renderService(detection),
    renderState(choices),
  ]
  return `${blocks
    .filter((block) => block.length > 0)
    .map((block) => block.join('\n'))
    .join('\n\n')}\n`
}

function renderComponent({ name, kind, paths, reasons }: FoundComponent, spaced: boolean): string[] {
  const value = paths.length === 1 ? scalar(paths[0]!) : list(paths)
  const implied = NAMED_KINDS[name] ?? 'files'
  const written =
    kind === implied ? value : `{ kind: ${kind}, ${paths.length === 1 ? `path: ${value}` : `paths: ${value}`} }`
  return [...(spaced ? [''] : []), ...reasons.flatMap((reason) => comment(reason)), `${scalar(name)}: ${written}`]
}

function renderSeal({ components }: Detection, seal: readonly string[]): string[] {
  if (seal.length > 0) {
    return [
      ...comment('Secrets are encrypted for these keys before they are stored. This machine cannot open them again.'),
      `seal: ${list(seal)}`,
    ]
  }
  const needed = components.some(({ kind }) => kind === 'secrets')
    ? 'As long as nobody is named here, secrets stay out of the backup, and every backup is incomplete.'
    : 'For whom files that look secret are encrypted before they are stored.'
  return [...comment(needed), '# seal: [gpg:admin@example.com]']
}

function renderExclude({ components, leftOut, root }: Detection): string[] {
  const explained = leftOut.flatMap(({ names, reason }) => comment(`- ${someNames(names)}: ${reason}`, '  '))
  const paths = components.flatMap((component) => component.paths)
  const names = leftOut.flatMap((each) => each.names)
  // A component that is the whole folder needs each of them said; else no component holds them.
  const patterns = ['node_modules', '.git', '*.log', ...(paths.includes('.') ? names.map(patternFor) : [])]
  const useful = [...new Set(patterns)].filter((pattern) => {
    const excluded = createExclusion([pattern], root)
    return !paths.some((path) => excluded(Buffer.from(resolve(root, path)), path.endsWith('/')))
  })
  return [
    ...(explained.length === 0 ? [] : [...comment('Not backed up:'), ...explained]),
    ...comment('Left out of every component, wherever it lies; the syntax is that of .gitignore.'),
    `exclude: ${list(useful)}`,
  ]
}

/** A name in the root as a pattern of .gitignore. */
function patternFor(name: string): string {
  return `/${name.replaceAll(/[\\*?[ ]/g, '\\$&')}`
}

function renderService({ service, port }: Detection): string[] {
  const health = `http://localhost:${port ?? 3000}/health`
  if (service === undefined) {
    return [
      ...comment(
        'How the application is started and asked whether it runs. Without it, a restore cannot show that it does.',
      ),
      `# service: { manager: systemd, name: NAME.service, health: ${health} }`,
    ]
  }
  return [
    'service:',
    `  manager: ${service.manager}`,
    `  name: ${scalar(service.name)}`,
    ...(service.install === undefined ? [] : [`  install: ${scalar(service.install)}`]),
    ...(service.build === undefined ? [] : [`  build: ${scalar(service.build)}`]),
    ...comment('An address that answers when the application runs: a restore is proven by it.').map(indent),
    `  # health: ${health}`,
  ]
}

function renderState({ stateDirectory }: ConfigChoices): string[] {
  if (stateDirectory === undefined) return []
  return [
    ...comment('What Holdfast keeps on this machine.'),
    `state-dir: ${scalar(stateDirectory)}`,
    `log: ${scalar(`${stateDirectory}/holdfast.log`)}`,
  ]
}

function someNames(names: readonly string[]): string {
  const shown = names.slice(0, 12).join(', ')
  return names.length > 12 ? `${shown} and ${names.length - 12} more` : shown
}

function list(values: readonly string[]): string {
  return `[${values.map(scalar).join(', ')}]`
}

/** Plain where that is safe in every place of YAML, in double quotes (where YAML takes JSON's escapes) otherwise. */
function scalar(text: string): string {
  const plain = /^[A-Za-z0-9_./][A-Za-z0-9_./@:+=-]*( [A-Za-z0-9_./@+=-][A-Za-z0-9_./@:+=-]*)*$/
  const isPlain = plain.test(text) && !/:( |$)/.test(text) && !/^([0-9.+-]+|null|true|false)$/i.test(text)
  return isPlain ? text : escaped(JSON.stringify(text))
}

/** What JSON lets stand although it cannot be seen. */
function escaped(text: string): string {
  return text.replaceAll(/[\0-\x1f\x7f-\x9f\u2028\u2029\ufeff]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

/** Wrapped at the words. A name with a line break in it must not end the comment: it is shown escaped. */
function comment(text: string, hanging = ''): string[] {
  const safe = escaped(text)
  const lines: string[] = []
  for (const word of safe.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + word.length < WIDTH) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(last === undefined ? word : `${hanging}${word}`)
  }
  return lines.map((line) => `# ${line}`)
}

function indent(line: string): string {
  return line === '' ? '' : `  ${line}`
}
