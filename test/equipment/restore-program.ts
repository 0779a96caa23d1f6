/**
 * `restore-program.ts CONFIG REPOSITORY`: restores the latest snapshot in place, and says `at PHASE` as it goes. Run by
 * tests that kill it.
 */
import { writeSync } from 'node:fs'
import { loadConfig } from '../../src/application/config/load-config.ts'
import { restoreInPlace } from '../../src/operations/restore/restore-in-place.ts'
import { PASSWORD } from './test-repository.ts'

const [configFile, location] = process.argv.slice(2)
const config = await loadConfig(configFile!)
const { outcome } = await restoreInPlace(
  { location: location!, password: async () => PASSWORD, noLock: true },
  {
    choice: { name: 'latest', app: config.app },
    config,
    identities: config.unsealIdentities,
    confirm: async () => true,
    observe: (event) => {
      if (event.type === 'phase') writeSync(1, `at ${event.phase}\n`)
    },
    signal: new AbortController().signal,
  },
)
writeSync(1, `ended ${outcome}\n`)
