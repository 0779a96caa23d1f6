import { escapeJson } from './terminal-text.ts'

/** JSON on one line. Whole numbers that JSON readers would round become strings. */
export function jsonText(value: unknown): string {
  return escapeJson(
    JSON.stringify(value, (_, inner: unknown) => {
      if (typeof inner !== 'bigint') return inner
      return inner >= Number.MIN_SAFE_INTEGER && inner <= Number.MAX_SAFE_INTEGER ? Number(inner) : String(inner)
    }),
  )
}
