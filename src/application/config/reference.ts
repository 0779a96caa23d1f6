import type { Problem } from './problem.ts'

/** Where a value stands that may be secret: named in the config file, read only when it is used. */
export type Reference =
  | { readonly kind: 'env'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'literal'; readonly value: string }

/** `env:NAME` or `file:PATH`; anything else is the value itself. */
export function parseReference(text: string): Reference | Problem {
  if (text.startsWith('env:')) {
    const name = text.slice(4)
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return { kind: 'env', name }
    return {
      problem: `"${text}" names no environment variable, expected letters, digits and _, as in env:BACKUP_WEBHOOK`,
    }
  }
  if (text.startsWith('file:')) {
    const path = text.slice(5)
    if (path !== '') return { kind: 'file', path }
    return { problem: '"file:" names no file, expected a path, as in file:/etc/holdfast/webhook' }
  }
  return { kind: 'literal', value: text }
}
