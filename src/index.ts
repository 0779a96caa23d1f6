/**
 * `holdfast`: the operations of the command line, for programs. Each takes an observer for its events and a signal to stop
 * it. See docs/library.md for an example.
 */
export type { ComponentConfig, Config } from './application/config/config.ts'
export { type DetectOptions, detectApplication } from './application/config/detect.ts'
export type { Detection } from './application/config/detection.ts'
export { findConfig, loadConfig, parseConfig } from './application/config/load-config.ts'
export { renderConfig } from './application/config/write-config.ts'
export { ApplicationError, type ApplicationErrorCode } from './application/error.ts'
export type { Finding } from './application/finding.ts'
export { CodedError, EngineError, type EngineErrorCode } from './engine/error.ts'
export type { RepositoryAccess } from './operations/access.ts'
export { type BackupOptions, type BackupReport, backupApplication } from './operations/backup/backup-application.ts'
export { type BackupPathsOptions, type BackupPathsReport, backupPaths } from './operations/backup/backup-paths.ts'
export { dumpFile } from './operations/browse/dump-file.ts'
export { type FileListener, type ListFilesOptions, listFiles } from './operations/browse/list-files.ts'
export { listSnapshots, type SnapshotList } from './operations/browse/list-snapshots.ts'
export type { ListedFile } from './operations/browse/listed-file.ts'
export { OperationError, type OperationErrorCode } from './operations/error.ts'
export { combine, type Observer, type OperationEvent, type Outcome, type Progress } from './operations/event.ts'
export { escrowedPassword, placeEscrow } from './operations/interop/escrow.ts'
export { type ExportOptions, type ExportReport, exportSnapshot } from './operations/interop/export-snapshot.ts'
export { type ImportOptions, type ImportReport, importFolders } from './operations/interop/import-folders.ts'
export type { Manifest } from './operations/manifest.ts'
export { makeRepository } from './operations/protect/create-repository.ts'
export { type ProtectionPlan, planProtection } from './operations/protect/plan-protection.ts'
export { type SetUpReport, setUp } from './operations/protect/set-up.ts'
export { planRecover, type RecoverOptions, type RecoverReport, recover } from './operations/recovery/recover.ts'
export type { RecoveryPart } from './operations/recovery/recovery-part.ts'
export type { RecoveryPlan } from './operations/recovery/recovery-plan.ts'
export { type Diagnosis, diagnose, type Playbook } from './operations/rescue/diagnose.ts'
export { type LookOptions, look } from './operations/rescue/look.ts'
export {
  type ReplaceSealKeyOptions,
  type ReplaceSealKeyReport,
  replaceSealKey,
  type SealKeyPlan,
} from './operations/rescue/replace-seal-key.ts'
export {
  type RescueDatabaseOptions,
  type RescueDatabaseReport,
  rescueDatabase,
} from './operations/rescue/rescue-database.ts'
export {
  type RescueServiceOptions,
  type RescueServiceReport,
  rescueService,
} from './operations/rescue/rescue-service.ts'
export type { Situation } from './operations/rescue/situation.ts'
export type { InPlacePlan, RestoreUnit } from './operations/restore/plan-in-place.ts'
export {
  type RestoreInPlaceOptions,
  type RestoreInPlaceReport,
  restoreInPlace,
} from './operations/restore/restore-in-place.ts'
export {
  type RestoreReport,
  type RestoreToTargetOptions,
  restoreToTarget,
} from './operations/restore/restore-to-target.ts'
export { unlock } from './operations/unlock.ts'
export { type CheckRunReport, check } from './operations/verify/check.ts'
export { type VerifyOptions, type VerifyReport, verifyApplication } from './operations/verify/verify-application.ts'
export { VERSION } from './operations/version.ts'
