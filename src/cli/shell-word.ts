import { escapeText } from './terminal-text.ts'

/** A word of a shell command as it can be copied, quoted where it must be. */
export function shellWord(text: string): string {
  const shown = escapeText(text)
  return /^[A-Za-z0-9_./@:+=,-]+$/.test(shown) ? shown : `'${shown.replaceAll("'", "'\\''")}'`
}
