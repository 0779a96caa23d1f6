import { readFile } from 'node:fs/promises'
import { ApplicationError } from '../error.ts'
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

/** How the config file writes it; holds no secret unless that does. */
export function describeReference(reference: Reference): string {
  switch (reference.kind) {
    case 'env':
      return `env:${reference.name}`
    case 'file':
      return `file:${reference.path}`
    case 'literal':
      return reference.value
  }
}

/** The value itself, without space around it. Throws `CONFIG` where nothing stands there; no message repeats what does. */
export async function readReference(
  reference: Reference,
  env: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  if (reference.kind === 'literal') return reference.value
  if (reference.kind === 'env') {
    const value = env[reference.name]?.trim()
    if (value) return value
    throw new ApplicationError('CONFIG', `the environment variable ${reference.name} is not set`, {
      hint: `Set ${reference.name} where the program is started: a line of its own in the crontab, or Environment= in the unit`,
    })
  }
  const { path } = reference
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.syscall === undefined) throw error
    throw new ApplicationError('CONFIG', `the file ${path} cannot be read: ${error.code}`, {
      cause: error,
      hint: `Write what is secret into ${path}, mode 0600`,
    })
  })
  if (text.trim() !== '') return text.trim()
  throw new ApplicationError('CONFIG', `the file ${path} is empty`, {
    hint: `Write what is secret into ${path}, mode 0600`,
  })
}
