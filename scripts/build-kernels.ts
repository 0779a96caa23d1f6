/**
 * Compiles src/engine/kernels/assembly to WebAssembly and writes it as src/engine/kernels/kernels-module.ts, so that
 * neither a checkout nor the package needs a compiler. A test fails when that file is not what the sources compile to.
 *
 *   node scripts/build-kernels.ts
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const SOURCES = join(import.meta.dirname, '../src/engine/kernels/assembly')
const TARGET = join(import.meta.dirname, '../src/engine/kernels/kernels-module.ts')
const COMPILER = join(import.meta.dirname, '../node_modules/assemblyscript/bin/asc.js')

const OPTIONS = [
  ...['--optimizeLevel', '3', '--noAssert'],
  ...['--runtime', 'stub'],
  // The memory comes from the caller, who made it: all zeros, of at most 1 GiB, and shared with other threads.
  ...['--importMemory', '--noExportMemory', '--zeroFilledMemory'],
  ...['--sharedMemory', '--maximumMemory', '16386'],
  // Address 0 stays unused, as a pointer that was forgotten would point there.
  ...['--memoryBase', '1024'],
]

/** The same sources, for runtimes with and without the instructions of relaxed SIMD. */
const VARIANTS = [
  { name: 'RELAXED_SIMD', features: 'threads,simd,relaxed-simd' },
  { name: 'SIMD', features: 'threads,simd' },
]

/** The text of kernels-module.ts. Where the sources do not compile, the compiler says so on stderr and this throws. */
export function buildKernels(): string {
  const lines = [
    '// Written by scripts/build-kernels.ts from the sources in assembly/. Do not edit.',
    '',
    '// Each is a WebAssembly module in base64, named after the instructions that it needs.',
  ]
  for (const { name, features } of VARIANTS) {
    const pieces = compile(features)
      .toString('base64')
      .match(/.{1,100}/g)!
    lines.push('', `export const ${name} = [`, ...pieces.map((piece) => `  '${piece}',`), `].join('')`)
  }
  return `${lines.join('\n')}\n`
}

function compile(features: string): Buffer {
  const files = readdirSync(SOURCES)
    .filter((file) => file.endsWith('.ts'))
    .sort()
  const work = mkdtempSync(join(tmpdir(), 'holdfast-kernels-'))
  try {
    const outFile = join(work, 'kernels.wasm')
    // As a program of its own: the compiler's types declare globals that are not those of Node.
    execFileSync(process.execPath, [COMPILER, ...files, '--outFile', outFile, '--enable', features, ...OPTIONS], {
      cwd: SOURCES,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    return readFileSync(outFile)
  } finally {
    rmSync(work, { recursive: true })
  }
}

if (import.meta.main) writeFileSync(TARGET, buildKernels())
