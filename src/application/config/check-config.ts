import { dirname, resolve } from 'node:path'
import type { ComponentConfig, Config } from './config.ts'
import { createExclusion } from './exclude.ts'
import { isInside } from './normalise-config.ts'
import type { WrittenConfig } from './schema.ts'
import { label, type SchemaProblem } from './schema-problems.ts'
import type { Path } from './yaml-file.ts'

/** Mistakes that show only when values are seen together: paths that lie wrong, or in one another. */
export function checkConfig(written: WrittenConfig, config: Config): SchemaProblem[] {
  const root = checkRoot(written.root, config)
  // Every relative path hangs on the root: with a wrong one the rest would only be noise.
  if (root !== undefined) return [problem(['root'], root)]
  const places = config.components.flatMap((component) => placesOf(written, component))
  return [
    ...places.flatMap((place) => checkPlace(place, config)),
    ...checkTwice(places),
    ...checkOwnFolders(
      written,
      config,
      places.filter(({ path }) => path.startsWith('/') && senselessPath(path) === undefined),
    ),
    ...checkOffSite(config),
  ]
}

/** One path of one component. */
interface Place {
  readonly component: ComponentConfig
  /** Where it stands in the file. */
  readonly at: Path
  readonly written: string
  /** Absolute, or the name of a unit or site. */
  readonly path: string
}

function problem(path: Path, text: string): SchemaProblem {
  return { path, part: 'value', text: `${label(path)}: ${text}` }
}

function checkRoot(written: string, config: Config): string | undefined {
  if (!written.startsWith('/')) {
    return `"${written}" is relative, expected an absolute path, as in ${resolve(dirname(config.file), written)}`
  }
  const senseless = senselessPath(config.root)
  if (senseless !== undefined)
    return `"${written}" is ${senseless}, expected the folder of the application, as in /opt/${config.app}`
  return undefined
}

function placesOf(written: WrittenConfig, component: ComponentConfig): Place[] {
  const at: Path = ['components', component.name]
  const value = written.components[component.name]!
  if (typeof value === 'string') return [{ component, at, written: value, path: component.paths[0]! }]
  const isList = Array.isArray(value)
  const paths = isList ? value : value.path === undefined ? (value.paths ?? []) : [value.path]
  return paths.map((each, index) => ({
    component,
    at: isList ? [...at, index] : value.path === undefined ? [...at, 'paths', index] : [...at, 'path'],
    written: each,
    path: component.paths[index]!,
  }))
}

/** What is made by the kernel, or everything at once. */
function senselessPath(path: string): string | undefined {
  if (path === '/') return 'the whole file system'
  const made = ['/proc', '/sys', '/dev'].find((folder) => path === folder || isInside(path, folder))
  return made === undefined ? undefined : `part of ${made}, which the kernel makes and no backup brings back`
}

function checkPlace({ component, at, written, path }: Place, config: Config): SchemaProblem[] {
  if (!path.startsWith('/')) return []
  const senseless = senselessPath(path)
  if (senseless !== undefined) return [problem(at, `"${written}" is ${senseless}, expected a path of the application`)]
  if (!written.startsWith('/') && path !== config.root && !isInside(path, config.root)) {
    return [
      problem(
        at,
        `"${written}" leads out of root to ${path}, expected a path inside, or the absolute path if that one is meant`,
      ),
    ]
  }
  const bytes = Buffer.from(path)
  const pattern = config.exclude.find((each) => {
    const excluded = createExclusion([each], config.root)
    return excluded(bytes, true) || excluded(bytes, false)
  })
  // Taken back by a later pattern, it is not excluded after all.
  const all = createExclusion(config.exclude, config.root)
  if (pattern === undefined || !(all(bytes, true) || all(bytes, false))) return []
  return [
    problem(
      at,
      `"${written}" is left out by the pattern "${pattern}" of exclude, expected component "${component.name}" or the pattern, not both`,
    ),
  ]
}

function checkTwice(places: readonly Place[]): SchemaProblem[] {
  return places.flatMap((place, index) => {
    const same = places.slice(0, index).find((other) => other.path === place.path && sameSpace(other, place))
    if (same !== undefined) {
      const where =
        same.component === place.component
          ? 'already stands in this component'
          : `already belongs to component "${same.component.name}"`
      return [problem(place.at, `"${place.written}" ${where}, expected each path once`)]
    }
    // Inside of another component it is taken out of that one; inside of its own it would be there twice.
    const outer = places.find((other) => {
      return other.component === place.component && other.path !== '/' && isInside(place.path, other.path)
    })
    if (outer === undefined) return []
    return [
      problem(place.at, `"${place.written}" lies in "${outer.written}" of the same component, expected each path once`),
    ]
  })
}

/** A unit and a site may have the same name. */
function sameSpace(a: Place, b: Place): boolean {
  return a.path.startsWith('/') || a.component.kind === b.component.kind
}

/** Holdfast's own folders: with one of them inside of a component, each backup would hold the ones before. */
function checkOwnFolders(written: WrittenConfig, config: Config, places: readonly Place[]): SchemaProblem[] {
  const own: { at: Path; what: string; path: string }[] = [
    { at: ['repository'], what: 'repository', path: config.repository },
    // Without it the work folder lies in the state folder, which stands for both.
    ...(written['work-dir'] === undefined
      ? []
      : [{ at: ['work-dir'], what: 'work folder', path: config.workDirectory }]),
    { at: ['state-dir'], what: 'state folder', path: config.stateDirectory },
    ...config.offSite.map(({ to }, index) => ({ at: ['off-site', index, 'to'], what: 'off-site copy', path: to })),
  ]
  const problems: SchemaProblem[] = []
  for (const { at, what, path } of own.filter((each) => each.path.startsWith('/'))) {
    for (const place of places) {
      const isWritten = at.length > 1 || written[at[0] as keyof WrittenConfig] !== undefined
      if (path === place.path || isInside(path, place.path)) {
        const text = `the ${what} ${path} lies in component "${place.component.name}" (${place.path}), so every backup would hold the ones before, expected a folder outside of it`
        problems.push(isWritten ? problem(at, text) : problem(place.at, `${text}, given as ${at[0]}`))
      } else if (isInside(place.path, path)) {
        problems.push(
          problem(place.at, `${place.path} lies in the ${what} ${path}, expected a path of the application`),
        )
      }
    }
  }
  for (const place of places.filter(({ component }) => component.kind !== 'secrets')) {
    const { passwordFile } = config
    if (passwordFile === undefined || !(passwordFile === place.path || isInside(passwordFile, place.path))) continue
    if (place.component.elsewhere.some((other) => passwordFile === other || isInside(passwordFile, other))) continue
    problems.push(
      problem(
        ['password-file'],
        `${passwordFile} lies in component "${place.component.name}" (${place.path}), which would store the password, expected a file outside of it`,
      ),
    )
  }
  return problems
}

function checkOffSite(config: Config): SchemaProblem[] {
  return config.offSite.flatMap(({ to }, index) => {
    const at = ['off-site', index, 'to']
    if (to === config.repository) return [problem(at, `"${to}" is the repository itself, expected another place`)]
    const earlier = config.offSite.findIndex((other) => other.to === to)
    return earlier < index
      ? [problem(at, `"${to}" already stands in off-site[${earlier}], expected each place once`)]
      : []
  })
}
