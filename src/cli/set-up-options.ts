import type { Command } from 'commander'
import { collectList } from './snapshot-options.ts'

/** Options of `init` and `protect`, about an application. */
export function addSetUpOptions(command: Command): Command {
  return command
    .option('-y, --yes', 'ask nothing: take what is found and suggested', false)
    .option('--dry-run', 'show what is found and would be set up, and write nothing', false)
    .option('--replace', 'write the config anew where there is one; the old one is kept beside it', false)
    .option(
      '--seal <recipients>',
      'whose keys may open the secrets: gpg:EMAIL, gpg:FINGERPRINT, gpg:FILE.asc, age:age1…, age:FILE; with commas (repeatable)',
      collectList,
      [],
    )
    .option('--host-root <dir>', "where the host's own files begin: the root of a mounted system (default: /)")
    .option('--state-dir <dir>', 'where Holdfast keeps what belongs to it on this machine')
}
