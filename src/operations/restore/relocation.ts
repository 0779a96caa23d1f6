import { isBelow } from './restore-to-target.ts'

/** What is different on the machine to which an application is brought back. All of it absent: nothing is. */
export interface Relocation {
  readonly root?: Change<string>
  readonly user?: Change<string>
  readonly group?: Change<string>
  readonly ports: readonly Change<number>[]
}

export interface Change<Value> {
  readonly from: Value
  readonly to: Value
}

export const STAY: Relocation = { ports: [] }

/** Where a path of the snapshot lies on this machine. */
export function relocatePath(path: string, { root }: Relocation): string {
  return root === undefined || !isBelow(path, root.from) ? path : root.to + path.slice(root.from.length)
}

/** The path of the snapshot that lies at a path of this machine. */
export function originOf(path: string, { root }: Relocation): string {
  return root === undefined || !isBelow(path, root.to) ? path : root.from + path.slice(root.to.length)
}

export function relocateOwner(relocation: Relocation): {
  readonly user: (name: string) => string
  readonly group: (name: string) => string
} {
  const renamed = (change: Change<string> | undefined) => (name: string) =>
    change !== undefined && name === change.from ? change.to : name
  return { user: renamed(relocation.user), group: renamed(relocation.group) }
}

export interface RewrittenLine {
  /** From 1. */
  readonly line: number
  readonly before: string
  readonly after: string
}

/**
 * A text file of the application as it must be on this machine: the root's path wherever it stands as a path, the port where
 * it is one (`PORT=3000`, `port: 3000`, `127.0.0.1:3000`, `listen 3000`, `--port 3000`), the user and the group where a
 * unit, an ecosystem file, nginx or Holdfast names them. Nothing else: each changed line is in the answer.
 */
export function rewriteText(
  text: string,
  relocation: Relocation,
): { readonly text: string; readonly lines: readonly RewrittenLine[] } {
  const rules = rulesFor(relocation)
  const lines: RewrittenLine[] = []
  const rewritten = text.split('\n').map((before, index) => {
    const after = rules.reduce((line, rule) => rule(line), before)
    if (after !== before) lines.push({ line: index + 1, before: before.trim(), after: after.trim() })
    return after
  })
  return { text: lines.length === 0 ? text : rewritten.join('\n'), lines }
}

/** Of a line of a secret file, only the name before the `=` and what is replaced are shown. */
export function maskLine(
  { line, before, after }: RewrittenLine,
  { root, user, group, ports }: Relocation,
): RewrittenLine {
  const name = /^(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*=/.exec(before)?.[0] ?? ''
  const changes = [root, user, group, ...ports].flatMap((change) =>
    change === undefined ? [] : [{ from: String(change.from), to: String(change.to) }],
  )
  const replaced = changes.filter(({ from, to }) => before.includes(from) && after.includes(to))
  const shown = (side: 'from' | 'to') => `${name}…${[...new Set(replaced.map((change) => change[side]))].join('…')}…`
  return { line, before: shown('from'), after: shown('to') }
}

type Rule = (line: string) => string

function rulesFor({ root, user, group, ports }: Relocation): Rule[] {
  return [
    ...(root === undefined ? [] : [pathRule(root)]),
    ...(ports.length === 0 ? [] : portRules(ports)),
    ...(user === undefined ? [] : userRules(user, group ?? user)),
  ]
}

/** Not as a part of a longer path or name: neither `/mnt/opt/app` nor `/opt/app-old`. */
function pathRule({ from, to }: Change<string>): Rule {
  const pattern = new RegExp(`(?<![\\w.~]|[^/]/)${escaped(from)}(?![\\w.~-])`, 'g')
  return (line) => line.replace(pattern, () => to)
}

const PORT_CONTEXTS = [
  /(?<![A-Za-z])port\b["']?\s*[=:]\s*["']?/.source,
  /--port[= ]/.source,
  /(?:localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1?\]|\*):/.source,
  /^\s*listen\s+/.source,
  /^\s*ListenStream\s*=\s*/.source,
].join('|')

function portRules(ports: readonly Change<number>[]): Rule[] {
  const numbers = new Map(ports.map(({ from, to }) => [String(from), String(to)]))
  const pattern = new RegExp(`(${PORT_CONTEXTS})(${[...numbers.keys()].join('|')})(?!\\d)`, 'gi')
  return [(line) => line.replace(pattern, (_, context: string, port: string) => context + numbers.get(port))]
}

function userRules(user: Change<string>, group: Change<string>): Rule[] {
  const [u, g] = [escaped(user.from), escaped(group.from)]
  const replace =
    (pattern: RegExp, to: string): Rule =>
    (line) =>
      line.replace(pattern, (_, before: string, after = '') => before + to + after)
  return [
    // A unit
    replace(new RegExp(`^(\\s*User\\s*=\\s*)${u}(\\s*)$`), user.to),
    replace(new RegExp(`^(\\s*Group\\s*=\\s*)${g}(\\s*)$`), group.to),
    // An ecosystem file
    replace(new RegExp(`(\\b(?:user|uid|username)["']?\\s*:\\s*["'])${u}(["'])`, 'g'), user.to),
    replace(new RegExp(`(\\b(?:group|gid)["']?\\s*:\\s*["'])${g}(["'])`, 'g'), group.to),
    // holdfast.yaml
    replace(new RegExp(`^(\\s*owner\\s*:\\s*["']?)${u}(?::${g})?(["']?\\s*(?:#.*)?)$`), `${user.to}:${group.to}`),
    // nginx
    replace(new RegExp(`^(\\s*user\\s+)${u}(?:\\s+${g})?(\\s*;)`), `${user.to} ${group.to}`),
  ]
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\/-]/g, String.raw`\$&`)
}
