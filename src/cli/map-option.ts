import { posix } from 'node:path'
import { InvalidArgumentError } from 'commander'
import type { RelocationRequest } from '../operations/recovery/recover.ts'

/** For `--map root=/srv/app --map user=app2:www --map port=3000:3100`, each on top of those before. */
export function collectMap(text: string, previous: RelocationRequest = { ports: [] }): RelocationRequest {
  const [, what, value = ''] = /^(root|user|port)=(.+)$/s.exec(text) ?? []
  if (what === 'root') return { ...previous, root: parseRoot(value) }
  if (what === 'user') return { ...previous, ...parseUser(value) }
  if (what === 'port') return { ...previous, ports: [...previous.ports, parsePort(value)] }
  throw new InvalidArgumentError('Expected root=FOLDER, user=USER, user=USER:GROUP, port=PORT or port=OLD:NEW')
}

function parseRoot(value: string): string {
  if (posix.isAbsolute(value) && posix.normalize(value) !== '/') return posix.resolve(value)
  throw new InvalidArgumentError('Expected an absolute path, as in root=/srv/app')
}

function parseUser(value: string): Pick<RelocationRequest, 'user' | 'group'> {
  const name = '[A-Za-z0-9_][A-Za-z0-9_.-]*'
  const [, user, group] = new RegExp(`^(${name})(?::(${name}))?$`).exec(value) ?? []
  if (user !== undefined) return { user, group }
  throw new InvalidArgumentError('Expected the name of a user, as in user=app2 or user=app2:www-data')
}

function parsePort(value: string): RelocationRequest['ports'][number] {
  const [, first, second] = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(value) ?? []
  const numbers = [first, second].filter((each) => each !== undefined).map(Number)
  if (numbers.length === 0 || numbers.some((port) => port < 1 || port > 65535)) {
    throw new InvalidArgumentError('Expected a port or two, as in port=3100 or port=3000:3100')
  }
  const [one, two] = numbers as [number, number?]
  return two === undefined ? { from: undefined, to: one } : { from: one, to: two }
}
