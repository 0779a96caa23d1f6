import { CodedError } from '../engine/error.ts'

export type OperationErrorCode =
  | 'MANIFEST' // a snapshot does not describe itself as it should
  | 'NO_COMPONENT' // a component that is not in the config or not in the snapshot
  | 'NO_PATH' // a path that is not in the snapshot
  | 'IN_USE' // a live process has open what would be replaced
  | 'BEYOND_CONFIG' // a snapshot wants to replace what the config does not name
  | 'MOUNTED' // a file system is mounted where something would be replaced
  | 'NOTHING' // there is nothing to do where something was expected
  | 'EXISTS' // something that must not be overwritten is there
  | 'SWAP' // what was restored could not take its place
  | 'USAGE' // options that do not go together
  | 'NO_ROOM' // a file system cannot hold what is to be restored
  | 'PREFLIGHT' // something that a recovery needs is missing on this machine
  | 'RESUME' // an earlier run was cut off, and cannot be gone on with
  | 'RECOVERY' // a step of a recovery failed
  | 'UNHEALTHY' // the application does not answer as it should
  | 'RESCUE' // a step of a rescue failed
  | 'DRILL' // a restore could not be rehearsed
  | 'DEMO'

export class OperationError extends CodedError<OperationErrorCode> {
  override readonly name = 'OperationError'
}
