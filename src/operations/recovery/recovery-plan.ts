import type { ServiceConfig } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import type { WantedAccount } from '../../application/host/make-account.ts'
import type { ServiceState } from '../../application/host/service.ts'
import type { Manifest } from '../manifest.ts'
import type { InPlacePlan, Rewrite, SpaceNeed } from '../restore/plan-in-place.ts'
import type { Relocation } from '../restore/relocation.ts'
import type { StepState } from '../steps/step-record.ts'
import type { FileChanges, ListedChange } from './file-changes.ts'
import type { Prediction } from './predict-recovery.ts'
import type { ReadingSpeed } from './reading-speed.ts'
import type { RecoveryPart } from './recovery-part.ts'

export interface RecoveryComponent {
  readonly name: string
  readonly kind: string
  /** Only these of it, as they are called in the snapshot; undefined: all of it. */
  readonly paths: readonly string[] | undefined
  /** Undefined: an earlier run has restored it. */
  readonly plan: InPlacePlan | undefined
  readonly changes: FileChanges | undefined
}

export interface RecoveryCommand {
  readonly what: 'install' | 'build' | 'start'
  readonly command: string
  /** Whose rights it has. */
  readonly user: string
}

/** How pm2 comes to bring the application back at boot, or not to. */
export interface PlannedBoot {
  readonly starts: boolean
  /** The unit that has it do so. */
  readonly unit: string
  /** What makes the unit; undefined: it is there. */
  readonly command: readonly string[] | undefined
  readonly file: OwnFile | undefined
}

/** A file of Holdfast's own that is written besides the components. */
export interface OwnFile {
  readonly path: string
  readonly change: 'created' | 'changed'
}

/** What is done to a file or folder that no component holds. */
export interface OtherChange extends ListedChange {
  /** The step that does it; undefined: it is noted there how far the recovery came. */
  readonly step: string | undefined
}

export interface PlannedStep {
  readonly id: string
  readonly title: string
  /** What exactly it does. */
  readonly detail: string
  /** `done`: by an earlier run. */
  readonly state: StepState['state']
}

/** All that a recovery will do; plain data. */
export interface RecoveryPlan {
  readonly snapshot: string
  readonly time: string
  readonly app: string
  /** Undefined: all of the application is recovered. */
  readonly part: RecoveryPart | undefined
  /** The machine on which the snapshot was made. */
  readonly host: string
  /** `incomplete`: the snapshot itself lacks something of it, and so will what comes back. */
  readonly snapshotOutcome: Manifest['outcome']
  readonly root: string
  readonly owner: WantedAccount | undefined
  /** Command lines that make the owner's account. */
  readonly accountCommands: readonly (readonly string[])[]
  readonly relocation: Relocation
  readonly components: readonly RecoveryComponent[]
  readonly rewrites: readonly Rewrite[]
  readonly configFile: OwnFile | undefined
  readonly passwordFile: OwnFile | undefined
  /** `snapshot`: whoever can write to the repository says what is run and replaced. */
  readonly configFrom: 'snapshot' | 'operator'
  readonly commands: readonly RecoveryCommand[]
  /** Folders in the root that must be there before the application starts; those that are missing are made. */
  readonly folders: readonly string[]
  /** All besides the components; what commands write is not known. */
  readonly others: readonly OtherChange[]
  readonly service: { readonly name: string; readonly state: ServiceState | undefined } | undefined
  /** Whether it is stopped and started again: not for a web server's sake. */
  readonly restarts: boolean
  /** The application's unit, and whether it is to start at boot: not what is not to be started now. */
  readonly unit: { readonly name: string; readonly enable: boolean } | undefined
  readonly boot: PlannedBoot | undefined
  /** False: all is put in place, what runs now is stopped, and nothing is started. */
  readonly starts: boolean
  readonly webServer: boolean
  readonly units: boolean
  readonly checks: Pick<ServiceConfig, 'health' | 'metrics' | 'expectLog'> | undefined
  readonly files: number
  readonly bytes: number
  readonly space: readonly SpaceNeed[]
  /** How fast the repository was read while planning; undefined where there was too little to tell. */
  readonly reading: ReadingSpeed | undefined
  /** How long what is still to be done will take. */
  readonly prediction: Prediction
  readonly steps: readonly PlannedStep[]
  /** When the run that this one goes on with began. */
  readonly resumes: string | undefined
  /** That run was being taken back: that is finished, and nothing else is done. */
  readonly goesBack: boolean
  /** What is missing on this machine: nothing is done while there is one of severity `error`. */
  readonly preflight: readonly Finding[]
  readonly findings: readonly Finding[]
}
