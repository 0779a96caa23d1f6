import { EngineError } from '../error.ts'
import { type ProcessLibrary, processLibrary } from '../process-library.ts'
import { codeOfErrno, errnoName } from './errno.ts'

const ARCHITECTURES = new Set(['x64', 'arm64', 'riscv64', 'ppc64', 'loong64'])

/**
 * Declares a function of the C library that returns −1 and sets `errno` when it fails. Called, it returns what the C
 * function returns, or the negated error number (the convention of the kernel), so success is `>= 0`.
 *
 * Nothing is loaded before the first call: most commands never need it, and loading takes some 20 ms.
 * That call throws `UNSUPPORTED` where the constants and structures used here do not hold: outside Linux, and on
 * 32-bit machines. An unknown function throws `UNSUPPORTED` too.
 */
export function cFunction<Arguments extends readonly unknown[]>(prototype: string): (...args: Arguments) => number {
  let bound: { readonly call: (...args: unknown[]) => number; readonly errno: () => number } | undefined
  const negated = (result: number) => (result === -1 ? -bound!.errno() : result)
  // Where a folder of 50,000 entries is looked at, an array for the arguments of each call takes a tenth of its time.
  const plain =
    prototype.split(',').length === 5
      ? (a: unknown, b: unknown, c: unknown, d: unknown, e: unknown) => {
          bound ??= bind(prototype)
          return negated(bound.call(a, b, c, d, e))
        }
      : (...args: unknown[]) => {
          bound ??= bind(prototype)
          return negated(bound.call(...args))
        }
  return plain as unknown as (...args: Arguments) => number
}

/** The process's own C library, whatever it is called: Node is linked with it. Throws as `cFunction` does. */
export function cLibrary(): ProcessLibrary {
  if (process.platform !== 'linux' || !ARCHITECTURES.has(process.arch)) {
    throw new EngineError(
      'UNSUPPORTED',
      `Cannot use system calls on ${process.platform} ${process.arch}: expected 64-bit Linux`,
      { facts: { platform: process.platform, architecture: process.arch } },
    )
  }
  try {
    return processLibrary()
  } catch (cause) {
    throw new EngineError('UNSUPPORTED', 'Cannot use system calls: the native module koffi does not load', {
      cause,
      hint: 'Install with optional dependencies, on a system koffi has a build for',
    })
  }
}

function bind(prototype: string) {
  const { koffi, library } = cLibrary()
  try {
    return { call: library.func(prototype) as (...args: unknown[]) => number, errno: () => koffi.errno() }
  } catch (cause) {
    throw new EngineError('UNSUPPORTED', `Cannot use \`${prototype}\`: the C library does not have it`, { cause })
  }
}

/**
 * The bytes as C wants them. Throws `HOSTILE` if they hold a NUL byte: C would stop there and the call would reach
 * another file than the one that was named.
 */
export function cString(bytes: Buffer): Buffer {
  if (bytes.includes(0)) {
    throw new EngineError('HOSTILE', `Cannot hand ${display(bytes)} to the system: a name cannot hold a NUL byte`)
  }
  const terminated = Buffer.allocUnsafe(bytes.length + 1)
  terminated.set(bytes)
  terminated[bytes.length] = 0
  return terminated
}

/** The error for a call that failed: `SYSTEM` unless `codeOfErrno` knows better. `action` reads like `set the times of`. */
export function systemCallError(action: string, path: Buffer, errno: number): EngineError {
  const name = errnoName(errno)
  return new EngineError(codeOfErrno(name) ?? 'SYSTEM', `Cannot ${action} ${display(path)}: ${name}`, {
    facts: { path: path.toString(), errno: name },
  })
}

/** Quoted, so that a name cannot rewrite a terminal. */
function display(bytes: Buffer): string {
  return JSON.stringify(bytes.toString())
}
