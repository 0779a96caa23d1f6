/**
 * Bundles, of a built package, what is started as a program: the command line, and the programs of threads and child processes.
 * Opening a module costs more than compiling it, and a backup opened 150 of them. What other packages import stays as the
 * compiler wrote it. See docs/decisions/0023-bundled-programs.md.
 *
 *   node scripts/bundle-programs.ts     what is in dist/
 */
import { copyFileSync, globSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join, posix, relative } from 'node:path'
import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild'

const SOURCE = join(import.meta.dirname, '../src')
const COMMAND_LINE = 'cli/main.ts'
const COMMANDER = join(import.meta.dirname, '../node_modules/commander')

/**
 * What of the command line goes into one file each: these modules with all that they import, save what an earlier row has. The
 * first row is what every command line loads, and the thin half of every command, which help and `--version` need; a later one is
 * loaded as a whole with the first thing in it. All else is divided by who needs it.
 */
const LAYERS: readonly (readonly string[])[] = [
  [COMMAND_LINE, ...globSync('cli/commands/*.ts', { cwd: SOURCE, exclude: ['**/*.test.ts'] }).sort()],
  // A command on a repository.
  [
    'cli/json-text.ts',
    'cli/repository-access.ts',
    'cli/repository-location.ts',
    'cli/snapshot-json.ts',
    'cli/table.ts',
    'cli/terminal-text.ts',
    'engine/format/timestamp.ts',
    'engine/repository/snapshot-groups.ts',
    'engine/repository/unseal-long.ts',
    'engine/storage/cache.ts',
    'operations/access.ts',
    'operations/app-snapshots.ts',
    'operations/browse/list-snapshots.ts',
  ],
  // A backup.
  ['cli/backup-text.ts', 'operations/backup/backup-paths.ts'],
]

const COMMON = {
  absWorkingDir: SOURCE,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  // Of Node.js 24, which esbuild does not know yet.
  supported: { using: true },
  packages: 'external',
  // For `node --enable-source-maps`: the line of the source. Names stay, so traces can be read without. Nothing reads them at a start.
  sourcemap: 'linked',
  sourcesContent: false,
  logLevel: 'warning',
  metafile: true,
} as const satisfies BuildOptions

/** Every program of a thread or a child process, relative to `src/`: each lies where `new URL` beside its starter finds it. */
export function threadPrograms(): string[] {
  return globSync('**/*-main.ts', { cwd: SOURCE }).sort()
}

/** Bundles into a folder where the compiler has put all of `src/`. What only the command line is made of is replaced. */
export async function bundlePrograms(dist: string): Promise<void> {
  for (const program of threadPrograms()) {
    await build({
      ...COMMON,
      entryPoints: [program],
      outfile: join(dist, compiled(program)),
      plugins: [adjustModules(dirname(program), new Map())],
    })
  }
  const folder = dirname(COMMAND_LINE)
  const commandLine = {
    ...COMMON,
    entryPoints: [COMMAND_LINE],
    outdir: join(dist, folder),
    splitting: true,
    // Beside the program itself: what a module finds by its own place is found from all of them alike.
    chunkNames: '[name]-[hash]',
  } as const satisfies BuildOptions
  const { metafile } = await build({ ...commandLine, plugins: [takeCommander], write: false })
  rmSync(join(dist, folder), { recursive: true, force: true })
  await build({ ...commandLine, plugins: [takeCommander, adjustModules(folder, neededByLayers(metafile))] })
  copyFileSync(join(COMMANDER, 'LICENSE'), join(dist, folder, 'commander.LICENSE'))
}

/**
 * The one package that every command line loads is part of the bundle. It imports modules of Node.js of which opening one costs as
 * much as all of its own files do, for commands that are programs of their own, which Holdfast has none of.
 */
const takeCommander: Plugin = {
  name: 'take-commander',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^commander$/ }, () => ({ path: join(COMMANDER, 'index.js') }))
    onResolve({ filter: /^node:(child_process|process)$/ }, ({ path, importer }) =>
      importer.startsWith(COMMANDER) ? { path, namespace: 'when-used' } : undefined,
    )
    onLoad({ filter: /./, namespace: 'when-used' }, ({ path }) => ({
      contents:
        path === 'node:process'
          ? 'export default globalThis.process'
          : `export default { spawn: (...all) => process.getBuiltinModule('${path}').spawn(...all) }`,
    }))
  },
}

function compiled(module: string): string {
  return module.replace(/\.ts$/, '.js')
}

/**
 * What each entry must import besides, so that a layer becomes one file: esbuild puts together what is reached from exactly the
 * same entries, the program and whatever is loaded later.
 */
function neededByLayers({ inputs }: Metafile): Map<string, readonly string[]> {
  const importsOf = (module: string, kind: 'import-statement' | 'dynamic-import') =>
    inputs[module]!.imports.filter((found) => !found.external && found.kind === kind).map(({ path }) => path)
  const closure = (module: string, found = new Set<string>()): Set<string> => {
    if (found.has(module)) return found
    found.add(module)
    for (const next of importsOf(module, 'import-statement')) closure(next, found)
    return found
  }

  const loadedLater = new Set(Object.keys(inputs).flatMap((module) => importsOf(module, 'dynamic-import')))
  const entries = new Set([COMMAND_LINE, ...loadedLater])
  const unknown = LAYERS.flat().filter((module) => !entries.has(module))
  if (unknown.length > 0) throw new Error(`No longer loaded by itself, so no part of a layer: ${unknown.join(', ')}`)

  const taken = new Set<string>()
  const layers = LAYERS.map((heads) => {
    const own = new Set(heads.flatMap((head) => [...closure(head)]).filter((module) => !taken.has(module)))
    for (const module of own) taken.add(module)
    // Nobody imports the program itself: it would run.
    const imports = heads.flatMap((head) => (head === COMMAND_LINE ? importsOf(head, 'import-statement') : [head]))
    return { own, imports }
  })
  return new Map(
    [...entries].map((entry) => {
      const reached = closure(entry)
      const needed = layers.filter(({ own }, layer) => layer === 0 || [...reached].some((module) => own.has(module)))
      return [entry, needed.flatMap(({ imports }) => imports).filter((module) => module !== entry)]
    }),
  )
}

/**
 * In a bundle in `folder`, every module still goes by the place where the compiler put it: what it finds by `import.meta.url` does
 * not move with its code. `besides` is what modules are to import that they do not.
 */
function adjustModules(folder: string, besides: ReadonlyMap<string, readonly string[]>): Plugin {
  return {
    name: 'adjust-modules',
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const module = relative(SOURCE, path)
        const source = readFileSync(path, 'utf8')
        const other = /import\.meta\.(?!url\b|main\b)\w+/.exec(source)?.[0]
        if (other !== undefined) return { errors: [{ text: `${module} uses ${other}, which moves with its code` }] }
        const own = `new URL('${specifier(folder, compiled(module))}', import.meta.url).href`
        // At the end, for the lines of the source map.
        const imports = (besides.get(module) ?? []).map((next) => `\nimport '${specifier(dirname(module), next)}'`)
        return { contents: source.replaceAll('import.meta.url', own) + imports.join(''), loader: 'ts' }
      })
    },
  }
}

function specifier(from: string, to: string): string {
  const path = posix.relative(from, to)
  return path.startsWith('.') ? path : `./${path}`
}

if (import.meta.main) await bundlePrograms(join(import.meta.dirname, '../dist'))
