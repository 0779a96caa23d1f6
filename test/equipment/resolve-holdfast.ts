import { registerHooks } from 'node:module'

// For `--import`: `holdfast` and `holdfast/engine` are then the sources of this checkout, as they are the compiled package
// where it is installed. Programs in examples/ run unchanged in both.
const ENTRY_POINTS: Readonly<Record<string, string>> = {
  holdfast: '../../src/index.ts',
  'holdfast/engine': '../../src/engine/index.ts',
}

registerHooks({
  resolve(specifier, context, nextResolve) {
    const source = ENTRY_POINTS[specifier]
    return nextResolve(source === undefined ? specifier : new URL(source, import.meta.url).href, context)
  },
})
