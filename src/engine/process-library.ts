import { createRequire } from 'node:module'

/** Set in the environment, to anything, it keeps the hot loops to documented interfaces of the runtime: for tests and measurements. */
export const PUBLIC_ONLY = 'HOLDFAST_PUBLIC_ONLY'

export function isPublicOnly(): boolean {
  return process.env[PUBLIC_ONLY] !== undefined
}

type Koffi = typeof import('koffi')

export interface ProcessLibrary {
  readonly koffi: Koffi
  /** Finds functions by their names: of the C library, and of whatever else the runtime is linked with. */
  readonly library: ReturnType<Koffi['load']>
}

let loaded: ProcessLibrary | undefined

/**
 * What this process itself exports, whatever its files are called. Loading takes some 10 ms, once for each thread. Throws
 * whatever the loader does where the native module koffi has no build for this system.
 */
export function processLibrary(): ProcessLibrary {
  if (loaded === undefined) {
    const koffi: Koffi = createRequire(import.meta.url)('koffi')
    loaded = { koffi, library: koffi.load(null) }
  }
  return loaded
}
