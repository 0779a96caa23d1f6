import { applicationTargets } from './application-targets.ts'
import { engineTargets } from './engine-targets.ts'
import type { FuzzTarget } from './fuzz-target.ts'

/** Every parser of bytes from outside. A new one is an entry in one of the two tables. */
export const fuzzTargets: readonly FuzzTarget[] = [...engineTargets, ...applicationTargets]
