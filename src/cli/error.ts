import { CodedError } from '../engine/error.ts'

export type CliErrorCode =
  | 'USAGE' // the command line says something impossible
  | 'NO_CONFIG' // no config file says which application
  | 'NO_LOCATION' // nobody said which repository
  | 'NO_PASSWORD'
  | 'PASSWORD' // a password file or command gave none
  | 'OUTPUT' // a file that was asked for cannot be written
  | 'OUTPUT_CLOSED' // the reader of standard output went away

export class CliError extends CodedError<CliErrorCode> {
  override readonly name = 'CliError'
}
