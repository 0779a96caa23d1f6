import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, matchesGlob, posix } from 'node:path'
import { readImports } from './read-imports.ts'

/**
 * The house: which files may import which, as globs under `src/`. The first row that matches a file holds for it, and
 * files of one row may import each other. Doors → operations → application → engine, and downwards inside a group.
 */
const HOUSE: readonly { readonly files: string; readonly may: readonly string[] }[] = [
  { files: 'index.ts', may: ['operations/**', 'application/**', 'engine/**'] },

  // Doors
  { files: 'dashboard/**', may: ['http/contract.ts', 'http/contract/**'] },
  { files: 'http/**', may: ['operations/**', 'application/**', 'engine/**'] },
  { files: 'cli/**', may: ['http/**', 'operations/**', 'application/**', 'engine/**'] },

  // The only place where sources meet the repository
  { files: 'operations/**', may: ['application/**', 'engine/**'] },

  // Of the engine, the application layer knows system calls, errors and the durable write; it knows no repository.
  ...inApplication('config/**', ['application/sources/**', 'application/host/**']),
  ...inApplication('sources/**', ['application/host/**']),
  ...inApplication('host/**', ['application/sources/**']),
  ...inApplication('journal/**', ['application/notify/**']),
  ...inApplication('notify/**', []),
  ...inApplication('*', []),

  // Engine
  { files: 'engine/index.ts', may: ['engine/**'] },
  ...inEngine('archiver/**', ['repository/**', 'storage/**', 'format/**', 'kernels/**', 'os/**']),
  ...inEngine('restorer/**', ['repository/**', 'storage/**', 'format/**', 'kernels/**', 'os/**']),
  ...inEngine('repository/**', ['storage/**', 'format/**', 'kernels/**', 'os/**']),
  ...inEngine('storage/**', ['format/**', 'kernels/**', 'os/**']),
  ...inEngine('format/**', ['kernels/**']),
  ...inEngine('kernels/**', []),
  ...inEngine('os/**', []),
  { files: 'engine/*', may: [] },
]

/** Entry points of the published package: the only files that pass on what others define, and imported by nobody. */
const ENTRY_POINTS = ['index.ts', 'engine/index.ts']

function inApplication(files: string, may: readonly string[]) {
  const ofEngine = ['engine/os/**', 'engine/error.ts']
  return [{ files: `application/${files}`, may: ['application/*', ...may, ...ofEngine] }]
}

function inEngine(folder: string, may: readonly string[]) {
  return [{ files: `engine/${folder}`, may: ['engine/*', ...may.map((other) => `engine/${other}`)] }]
}

export type Rule =
  | 'direction' // against the table above
  | 'homeless' // a file that no row of the table names
  | 'cycle' // files that import each other, however indirectly
  | 'barrel' // passing on what another file defines, or importing an entry point
  | 'test-code' // a source file that needs a test file
  | 'dependency' // a package that an installed Holdfast does not have
  | 'builtin' // a module of Node without `node:`
  | 'extension' // a relative import without `.ts`
  | 'outside' // a relative import that leaves `src/`, where the compiled package has nothing
  | 'computed' // an import that nobody can follow by reading

export interface Violation {
  /** Relative to the checkout. */
  readonly file: string
  readonly line: number
  readonly rule: Rule
  readonly message: string
}

export interface Report {
  readonly files: number
  readonly imports: number
  readonly violations: readonly Violation[]
}

/** Holds every import under `src/` of a checkout against the house rules. Tests are free to import what they like. */
export function checkArchitecture(checkout: string): Report {
  const source = join(checkout, 'src')
  const dependencies = runtimeDependencies(checkout)
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .sort()
  const violations: Violation[] = []
  const graph = new Map<string, { readonly target: string; readonly line: number }[]>()
  let imports = 0

  for (const file of files) {
    const report = (line: number, rule: Rule, message: string) =>
      violations.push({ file: `src/${file}`, line, rule, message })
    const edges: { target: string; line: number }[] = []
    const isTest = isTestFile(file)
    if (!isTest && rowOf(file) === undefined) report(1, 'homeless', 'no part of the house has room for this file')

    for (const { specifier, line, kind } of readImports(readFileSync(join(source, file), 'utf8'))) {
      imports++
      if (specifier === undefined) {
        if (!isTest) report(line, 'computed', 'the name of what is imported is computed; write it out')
        continue
      }
      if (!specifier.startsWith('.')) {
        if (kind === 'url' || isTest) continue
        if (isBuiltin(specifier)) {
          if (!specifier.startsWith('node:')) report(line, 'builtin', `write "node:${specifier}"`)
        } else if (!dependencies.has(packageOf(specifier))) {
          report(line, 'dependency', `"${packageOf(specifier)}" is not among the dependencies in package.json`)
        }
        continue
      }

      const target = posix.join(posix.dirname(file), specifier)
      if (kind === 'url') {
        if (target.startsWith('..') || !existsSync(join(source, target)) || !/\.[jt]s$/.test(target)) continue
      } else {
        if (!/\.(ts|json)$/.test(specifier))
          report(line, 'extension', `write "${specifier}.ts" or what the file is called`)
        if (target.startsWith('..')) {
          if (!isTest && target !== '../package.json') report(line, 'outside', `"${specifier}" leads out of src/`)
          continue
        }
      }
      if (isTest) continue

      edges.push({ target, line })
      if (kind === 're-export' && !ENTRY_POINTS.includes(file)) {
        report(line, 'barrel', `passes on "${specifier}"; whoever needs it imports the file that defines it`)
      }
      if (ENTRY_POINTS.includes(target))
        report(line, 'barrel', `src/${target} is for other packages; import the defining file`)
      else if (isTestFile(target)) report(line, 'test-code', `src/${target} is test code, which no package holds`)
      else if (!mayImport(file, target)) report(line, 'direction', directionMessage(file, target))
    }
    if (!isTest) graph.set(file, edges)
  }
  violations.push(...findCycles(graph))
  return { files: files.length, imports, violations }
}

/** `x.test.ts`, and what only tests share: `x.test-suite.ts`, `x.test-fixture.ts`… */
function isTestFile(file: string): boolean {
  return /\.test(-[a-z]+)*\.ts$/.test(file)
}

function rowOf(file: string) {
  return HOUSE.find((row) => matchesGlob(file, row.files))
}

function mayImport(file: string, target: string): boolean {
  const row = rowOf(file)
  if (row === undefined) return true // reported as homeless
  return rowOf(target) === row || row.may.some((allowed) => matchesGlob(target, allowed))
}

function directionMessage(file: string, target: string): string {
  const row = rowOf(file)!
  const allowed = row.may.length === 0 ? 'nothing else' : `only ${row.may.join(', ')}`
  return `must not import src/${target}: ${row.files} imports itself and ${allowed}`
}

function runtimeDependencies(checkout: string): ReadonlySet<string> {
  const manifest: { dependencies?: Record<string, string> } = JSON.parse(
    readFileSync(join(checkout, 'package.json'), 'utf8'),
  )
  return new Set(Object.keys(manifest.dependencies ?? {}))
}

function packageOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
}

/** Each import that closes a circle, found by walking depth first; type-only imports count, for they bind readers too. */
function findCycles(graph: ReadonlyMap<string, readonly { target: string; line: number }[]>): Violation[] {
  const violations: Violation[] = []
  const done = new Set<string>()
  const path: string[] = []

  const visit = (file: string) => {
    path.push(file)
    for (const { target, line } of graph.get(file) ?? []) {
      const start = path.indexOf(target)
      if (start !== -1) {
        const circle = [...path.slice(start), target].map((name) => `src/${name}`)
        violations.push({ file: `src/${file}`, line, rule: 'cycle', message: circle.join(' → ') })
      } else if (!done.has(target)) visit(target)
    }
    path.pop()
    done.add(file)
  }
  for (const file of graph.keys()) if (!done.has(file)) visit(file)
  return violations
}

if (import.meta.main) {
  const { files, imports, violations } = checkArchitecture(dirname(import.meta.dirname))
  for (const { file, line, rule, message } of violations) console.error(`${file}:${line}: ${rule}: ${message}`)
  if (violations.length > 0) process.exitCode = 1
  else console.log(`Architecture: ${imports} imports in ${files} files point the way the house says`)
}
