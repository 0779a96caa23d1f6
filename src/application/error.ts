import { CodedError } from '../engine/error.ts'

export type ApplicationErrorCode =
  | 'CONFIG' // the config file is missing, unreadable or says something impossible
  | 'DATABASE' // a database cannot be captured or verified
  | 'DATABASE_CORRUPT'
  | 'DATABASE_IN_USE'
  | 'NO_KEY' // no usable key for a recipient or signer
  | 'KEY_EXPIRED'
  | 'SEAL' // sealing or unsealing failed
  | 'SIGNATURE'
  | 'TOOL_MISSING' // a program of the system is needed and absent
  | 'SERVICE' // a process manager or web server refused
  | 'COMMAND' // a shell command of the config failed
  | 'SOURCE'
  | 'NOTIFY' // a notice could not be delivered
  | 'JOURNAL' // the journal cannot be read or written
  | 'JOURNAL_DAMAGED'

export class ApplicationError extends CodedError<ApplicationErrorCode> {
  override readonly name = 'ApplicationError'
}
