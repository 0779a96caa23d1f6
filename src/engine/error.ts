/** What an error is about, for programs: the same facts as in its message, by name. */
export type Facts = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>

export interface CodedErrorOptions extends ErrorOptions {
  /** What the operator can do next: an imperative sentence without a full stop. */
  readonly hint?: string | undefined
  readonly facts?: Facts
}

/**
 * Every error that Holdfast throws on purpose. Programs match `code`, never the message;
 * anything thrown that is not a `CodedError` is a defect.
 */
export abstract class CodedError<Code extends string = string> extends Error {
  readonly code: Code
  readonly facts: Facts
  readonly hint: string | undefined

  constructor(code: Code, message: string, options: CodedErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.facts = options.facts ?? {}
    this.hint = options.hint
  }
}

export type EngineErrorCode =
  | 'INVALID_ID'
  | 'CORRUPT' // stored bytes do not say what they must
  | 'UNAUTHENTIC' // a message authentication code does not match
  | 'UNSUPPORTED' // well-formed, but not for this version or platform
  | 'WRONG_PASSWORD'
  | 'NO_REPOSITORY'
  | 'REPOSITORY_EXISTS'
  | 'LOCKED'
  | 'NOT_FOUND'
  | 'AMBIGUOUS' // an ID prefix names more than one
  | 'EXISTS'
  | 'TRUNCATED'
  | 'NOT_A_DIRECTORY'
  | 'NO_SPACE'
  | 'PERMISSION'
  | 'STORAGE'
  | 'SOURCE' // a file of the source could not be read
  | 'TARGET' // something could not be written to a restore's target
  | 'HOSTILE' // a repository asks for something no honest one asks for
  | 'REFUSED' // it would lose what must not be lost, or nobody said what is meant
  | 'SYSTEM' // a system call failed in an unforeseen way
  | 'SELF_CHECK' // what was just encoded does not decode to the same: faulty memory, processor or runtime
  | 'INTERRUPTED'

export class EngineError extends CodedError<EngineErrorCode> {
  override readonly name = 'EngineError'
}
