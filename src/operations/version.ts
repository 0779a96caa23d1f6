import { readFileSync } from 'node:fs'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

/** Of this package, as in its package.json. */
export const VERSION: string = version

/** What snapshots name as the program that wrote them. */
export const PROGRAM_VERSION = `holdfast ${VERSION}`
