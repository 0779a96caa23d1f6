import { dirname, resolve } from 'node:path'

/** One assignment of a unit file, in the order of the file. */
export interface UnitSetting {
  readonly section: string
  readonly key: string
  readonly value: string
}

/**
 * Reads a unit file as systemd.syntax(7) says: sections, `key=value`, comments with `#` and `;`, lines continued
 * with a backslash (comments inside a continuation are passed over). Lines that are neither are ignored, as systemd
 * does with a warning.
 */
export function parseUnitFile(text: string): readonly UnitSetting[] {
  const settings: UnitSetting[] = []
  let section = ''
  let continued: string[] = []
  for (const raw of text.split(/\r?\n/)) {
    if (/^\s*[#;]/.test(raw)) continue
    const part = continued.length === 0 ? raw.trimStart() : raw
    if (part.endsWith('\\')) {
      continued.push(part.slice(0, -1))
      continue
    }
    const line = continued.length === 0 ? part : [...continued, part].join(' ')
    continued = []
    const header = /^\[(.+)\]\s*$/.exec(line)
    if (header !== null) {
      section = header[1] as string
      continue
    }
    const assignment = /^([^=\s]+)\s*=/.exec(line)
    if (assignment === null) continue
    settings.push({ section, key: assignment[1] as string, value: line.slice(assignment[0].length).trim() })
  }
  return settings
}

/** Values of a key that adds up over files, such as `EnvironmentFile`: an empty assignment forgets those before it. */
export function valuesOf(settings: readonly UnitSetting[], section: string, key: string): readonly string[] {
  const values: string[] = []
  for (const setting of settings) {
    if (setting.section !== section || setting.key !== key) continue
    if (setting.value === '') values.length = 0
    else values.push(setting.value)
  }
  return values
}

/** Splits as systemd does for `Environment=` and `ExecStart=`: at blanks, with quotes and backslashes. */
export function splitWords(value: string): readonly string[] {
  const words: string[] = []
  let word: string | undefined
  let quote = ''
  for (let index = 0; index < value.length; index++) {
    const character = value[index] as string
    if (quote === '' && /\s/.test(character)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else if (character === quote) {
      quote = ''
    } else if (quote === '' && (character === '"' || character === "'")) {
      quote = character
      word ??= ''
    } else if (character === '\\' && index + 1 < value.length) {
      index++
      word = (word ?? '') + value[index]
    } else {
      word = (word ?? '') + character
    }
  }
  if (word !== undefined) words.push(word)
  return words
}

/**
 * Absolute paths of the folders that must be there before a service starts: it works in them, may write to them, or its output
 * goes there. One with a specifier in it, which only systemd can tell, is not among them.
 */
export function foldersOfUnit(settings: readonly UnitSetting[]): readonly string[] {
  const value = (key: string) => valuesOf(settings, 'Service', key)
  const paths = [...value('ReadWritePaths'), ...value('WorkingDirectory')]
    .flatMap(splitWords)
    .map((path) => path.replace(/^[-+]+/, ''))
  const outputs = [...value('StandardOutput'), ...value('StandardError')].flatMap((output) => {
    const path = /^(?:file|append|truncate):(.*)$/.exec(output)?.[1]
    return path === undefined ? [] : [dirname(path)]
  })
  return [...paths, ...outputs]
    .filter((path) => path.startsWith('/') && !path.includes('%'))
    .map((path) => resolve(path))
}
