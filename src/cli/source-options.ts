import type { Command } from 'commander'

/** Options about a second repository, which something is taken from; restic's names. */
export interface SourceOptions {
  readonly fromRepo?: string
  readonly fromRepositoryFile?: string
  readonly fromPasswordFile?: string
  readonly fromPasswordCommand?: string
  readonly fromInsecureNoPassword?: boolean
}

export function addSourceOptions(command: Command): Command {
  return command
    .option('--from-repo <location>', 'the repository to take from')
    .option('--from-repository-file <file>', 'read its location from a file')
    .option('--from-password-file <file>', 'read its password from a file')
    .option('--from-password-command <command>', 'run a command that prints its password')
    .option('--from-insecure-no-password', 'it has an empty password')
}

export function sourceOptionsGiven(options: SourceOptions): boolean {
  const { fromRepo, fromRepositoryFile, fromPasswordFile, fromPasswordCommand, fromInsecureNoPassword } = options
  return [fromRepo, fromRepositoryFile, fromPasswordFile, fromPasswordCommand, fromInsecureNoPassword].some(
    (value) => value !== undefined,
  )
}
