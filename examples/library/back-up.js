// Backs up an application, verifies the snapshot, and restores it into a folder:
//
//   node back-up.js /opt/my-app/holdfast.yaml /tmp/my-app-restored
import { readFile } from 'node:fs/promises'
import { backupApplication, CodedError, loadConfig, restoreToTarget, verifyApplication } from 'holdfast'

const [configFile, target] = process.argv.slice(2)
const interruption = new AbortController()
process.once('SIGINT', () => interruption.abort(new Error('interrupted')))

// Every operation reports what it does, and takes a signal that stops it in good order.
const surroundings = {
  observe: (event) => {
    if (event.type === 'finding') console.error(`${event.finding.severity}: ${event.finding.message}`)
  },
  signal: interruption.signal,
}

try {
  const config = await loadConfig(configFile)
  const access = {
    location: config.repository,
    password: async () => Buffer.from((await readFile(config.passwordFile, 'utf8')).trim()),
  }

  const backup = await backupApplication(config, access, { reason: 'from a program', ...surroundings })
  console.log(`backup ${backup.outcome}: ${backup.files} files, ${backup.bytes} bytes`)
  const choice = { name: backup.snapshot }

  const verified = await verifyApplication(access, { config, choice, readData: false, ...surroundings })
  console.log(`verify ${verified.outcome}: ${verified.databases} databases opened`)

  const unseal = { identities: config.unsealIdentities }
  const restored = await restoreToTarget(access, { choice, target, unseal, verify: true, ...surroundings })
  console.log(`restore ${restored.outcome}: ${restored.files} files, ${restored.secrets} of them unsealed`)
} catch (error) {
  // Whatever Holdfast throws on purpose has a code for programs and a hint for people.
  if (!(error instanceof CodedError)) throw error
  console.error(`${error.code}: ${error.message}${error.hint === undefined ? '' : ` (${error.hint})`}`)
  process.exitCode = 1
}
