import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { shellWord } from './shell-word.ts'

/** The command as it must be typed in `cwd` to work on the application of a config file. */
export function commandFor(verb: string, configFile: string, cwd: string): string {
  const isFound = configFile.endsWith('/holdfast.yaml') && dirname(configFile) === cwd
  return isFound ? `holdfast ${verb}` : `holdfast ${verb} --config ${shellWord(configFile)}`
}

/** In full: cron looks for programs in /usr/bin and /bin only. */
export const PROGRAM = fileURLToPath(new URL('../../bin/holdfast', import.meta.url))

/** What an operator does after the first backup. */
export function nextSteps(configFile: string, app: string, cwd: string): string[] {
  const target = `/tmp/${app.replaceAll(/[^A-Za-z0-9._-]/g, '-')}-restore-test`
  // A command stands on a line of its own and is never wrapped: it is to be copied.
  return [
    '  Try the restore, into a folder of its own:',
    `    ${commandFor(`restore --target ${target}`, configFile, cwd)}`,
    '  See what is there, and whether it can be brought back:',
    `    ${commandFor('status', configFile, cwd)}`,
    '  Let it run by itself, every night at two, in crontab:',
    `    0 2 * * * ${shellWord(PROGRAM)} backup --quiet --config ${shellWord(configFile)}`,
  ]
}
