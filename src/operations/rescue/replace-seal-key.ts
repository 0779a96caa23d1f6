import { chown, lstat, readFile, rename } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import { parseConfig } from '../../application/config/load-config.ts'
import { replaceSeal } from '../../application/config/replace-seal.ts'
import { prepareSealers } from '../../application/sources/seal.ts'
import { CodedError } from '../../engine/error.ts'
import { writeFileDurably } from '../../engine/os/write-file-durably.ts'
import { loadIndex } from '../../engine/repository/load-index.ts'
import { type RepositoryAccess, withRepository } from '../access.ts'
import { backupApplication } from '../backup/backup-application.ts'
import { describedSnapshots } from '../described-snapshots.ts'
import { OperationError } from '../error.ts'
import type { Observer, Outcome } from '../event.ts'
import { listEscrow } from '../interop/escrow.ts'
import { beforeName } from '../restore/before-name.ts'
import { presence } from '../restore/plan-in-place.ts'
import { stamp } from '../restore/restore-in-place.ts'
import { isBelow } from '../restore/restore-to-target.ts'
import { runOperation } from '../run-operation.ts'
import { runSteps, type Step, undoSteps } from '../steps/run-steps.ts'
import { beginStepRecord, readStepRecord, type StepState } from '../steps/step-record.ts'

export interface SealedSnapshot {
  readonly id: string
  readonly time: Date
  readonly recipients: readonly string[]
}

/** What is done by an operator, in this order. */
export interface Rotation {
  readonly title: string
  readonly why: string
  readonly commands: readonly string[]
}

export interface SealKeyPlan {
  readonly app: string
  readonly configFile: string
  /** As the config names them, those that are to go. */
  readonly old: readonly string[]
  /** Whom secrets are sealed for from now on; empty: nothing is changed. */
  readonly recipients: readonly string[]
  /** Of the newest snapshot: what the key opens, and who has it therefore knows. */
  readonly secrets: readonly string[]
  /** Those that the old keys open, newest first. */
  readonly snapshots: readonly SealedSnapshot[]
  /** Files beside the repository with its password, sealed; an old key may open them. */
  readonly escrow: readonly string[]
  /** Copies of the repository. */
  readonly copies: readonly string[]
  readonly steps: readonly { readonly id: string; readonly title: string; readonly detail: string }[]
  readonly rotation: readonly Rotation[]
  /** What could not be read, one line each. */
  readonly unseen: readonly string[]
}

export interface PlanSealKeyOptions {
  readonly config: Config
  readonly recipients: readonly string[]
  readonly signal: AbortSignal
}

export interface ReplaceSealKeyOptions extends PlanSealKeyOptions {
  /** Put the config back when the backup that follows does not succeed. */
  readonly rollback: boolean
  /** Shown the plan; false leaves everything as it is. */
  readonly confirm: (plan: SealKeyPlan) => Promise<boolean>
  readonly askRollback?: ((step: string, error: Error) => Promise<boolean>) | undefined
  readonly observe: Observer
}

export type ReplaceSealKeyReport =
  | {
      readonly outcome: Extract<Outcome, 'succeeded'>
      readonly plan: SealKeyPlan
      readonly steps: readonly StepState[]
      readonly snapshot: string
      readonly kept: string | undefined
    }
  | { readonly outcome: 'declined'; readonly plan: SealKeyPlan }

const RECORD = 'rescue-secrets.json'

/**
 * What a key that others have opens, what must be replaced because of that and in which order. Reads only. Rejects with
 * `NO_KEY`, `KEY_EXPIRED` for new recipients that cannot be sealed for, and with `USAGE` when nobody old is left out.
 */
export async function planReplaceSealKey(access: RepositoryAccess, options: PlanSealKeyOptions): Promise<SealKeyPlan> {
  const { config, signal } = options
  const recipients = recipientsIn(config, options.recipients)
  const kept = new Set(await resolved(recipients, signal))
  const old = config.seal.filter((recipient) => !recipients.includes(recipient))
  if (recipients.length > 0 && old.length === 0) {
    throw new OperationError('USAGE', `${config.file} seals for nobody but ${recipients.join(', ')} already`, {
      facts: { recipients },
      hint: 'Name whom to seal for from now on, all of them: --seal gpg:… or age:…, and not the key that others have',
    })
  }
  // One that has expired or is gone from the keyring still opens what was sealed for it: by name it is not found, then.
  const gone = new Set((await resolvedWhereKnown(old, signal)).filter((key) => !kept.has(key)))
  const unseen: string[] = []
  return withRepository(access, { lock: 'none', signal }, async (plain) => {
    const repository = await loadIndex(plain, signal)
    const snapshots: SealedSnapshot[] = []
    let secrets: readonly string[] | undefined
    const passOver = (line: string) => void unseen.push(line)
    for await (const { stored, manifest } of describedSnapshots(repository, plain, config.app, passOver, signal)) {
      const { secrets: sealed } = manifest
      if (sealed === undefined) continue
      secrets ??= filesOf(sealed.files.map(({ path }) => path))
      const opens =
        gone.size === 0
          ? sealed.recipients.filter((key) => !kept.has(key))
          : sealed.recipients.filter((key) => gone.has(key))
      if (opens.length === 0) continue
      snapshots.push({ id: stored.id, time: new Date(Number(stored.snapshot.time.ns / 1_000_000n)), recipients: opens })
    }
    const escrow = (await listEscrow(plain.storage, signal)).map(({ name }) => name)
    const draft = {
      app: config.app,
      configFile: config.file,
      old,
      recipients,
      secrets: secrets ?? [],
      snapshots,
      escrow,
      copies: config.offSite.map(({ to }) => to),
      steps: recipients.length === 0 ? [] : stepsOf(config, recipients),
      unseen,
    }
    return { ...draft, rotation: rotationOf(draft) }
  })
}

/** A folder that is secret is an entry of its own. */
function filesOf(paths: readonly string[]): string[] {
  return paths.filter((path) => !paths.some((other) => other !== path && isBelow(other, path)))
}

/** As a config of this place would name them. */
function recipientsIn(config: Config, recipients: readonly string[]): readonly string[] {
  if (recipients.length === 0) return []
  return parseConfig(replaceSeal(config, recipients), config.file).seal
}

async function resolved(recipients: readonly string[], signal: AbortSignal): Promise<string[]> {
  return (await prepareSealers(recipients, { signal })).flatMap((sealer) => sealer.recipients)
}

async function resolvedWhereKnown(recipients: readonly string[], signal: AbortSignal): Promise<string[]> {
  const found: string[] = []
  for (const recipient of recipients) {
    try {
      found.push(...(await resolved([recipient], signal)))
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      const fingerprint = /^gpg:([0-9A-F]{40,64})$/.exec(recipient)?.[1]
      if (fingerprint !== undefined) found.push(fingerprint)
    }
  }
  return found
}

function stepsOf({ file }: Config, recipients: readonly string[]): SealKeyPlan['steps'] {
  return [
    { id: 'config', title: 'Seal for the new key from now on', detail: `${file}: seal: ${recipients.join(', ')}` },
    { id: 'backup', title: 'Back up', detail: 'every secret is sealed anew' },
  ]
}

/** First what stops more from getting known, then what is known already, and the old key last: it is still needed. */
function rotationOf(draft: Omit<SealKeyPlan, 'rotation'>): Rotation[] {
  const { old, recipients, secrets, snapshots, escrow, copies } = draft
  const ids = snapshots.map(({ id }) => id.slice(0, 8))
  return [
    ...(recipients.length > 0
      ? []
      : [
          {
            title: 'Make a new key, on a machine that is not this one',
            why: 'Whoever has the old one may be on this machine.',
            commands: [
              "gpg --quick-generate-key 'Admin <admin@your-company.com>' default default 2y",
              'age-keygen -o age-identity.txt',
            ],
          },
          {
            title: 'Seal for it from now on',
            why: 'Until then every backup gives away the secrets again.',
            commands: ['holdfast rescue secrets --compromised --seal gpg:FILE.asc'],
          },
        ]),
    {
      title: `Replace what the secrets open: tokens, passwords and keys in ${secrets.length} ${secrets.length === 1 ? 'file' : 'files'}`,
      why: 'Whoever has the old key and a copy of the repository knows them. Take the old ones back where they were given out, then restart.',
      commands: [],
    },
    {
      title: 'Back up, and see that it succeeds',
      why: 'The new secrets are in a snapshot that the old key does not open.',
      commands: ['holdfast backup --reason "secrets replaced"', 'holdfast verify'],
    },
    ...(escrow.length === 0
      ? []
      : [
          {
            title: "Replace the repository's password",
            why: `It lies sealed beside the repository (${escrow.join(', ')}), and the old key may open that. Who has copied the repository keeps reading that copy.`,
            commands: ['holdfast key passwd', 'holdfast key escrow'],
          },
        ]),
    ...(ids.length === 0
      ? []
      : [
          {
            title: `Remove what the old key opens, ${ids.length === 1 ? 'one snapshot' : `${ids.length} snapshots`}, once you need nothing of it`,
            why: `The old secrets in it are worth nothing by then.${copies.length === 0 ? '' : ` Also in the copies: ${copies.join(', ')}.`}`,
            commands: [`holdfast forget ${ids.join(' ')} --prune`],
          },
        ]),
    {
      title: 'Revoke the old key, and keep its private half as long as one of those snapshots is there',
      why: 'Without it nobody opens them again.',
      commands: old.some((recipient) => recipient.startsWith('gpg:')) ? ['gpg --gen-revoke FINGERPRINT'] : [],
    },
  ]
}

/**
 * Seals for other keys from now on: puts them into the config, whose old text is kept beside it, and backs up. Rejects with
 * `RESCUE` when the backup is not complete.
 */
export async function replaceSealKey(
  access: RepositoryAccess,
  options: ReplaceSealKeyOptions,
): Promise<ReplaceSealKeyReport> {
  const { config, confirm, observe, signal } = options
  return runOperation<ReplaceSealKeyReport>(
    { operation: 'rescue', subject: `the key of the secrets of ${config.app}`, observe, signal },
    async () => {
      observe({ type: 'phase', phase: 'look' })
      const plan = await planReplaceSealKey(access, options)
      if (!(await confirm(plan))) return { outcome: 'declined', plan }
      return apply(access, plan, options)
    },
    summaryOf,
  )
}

async function apply(
  access: RepositoryAccess,
  plan: SealKeyPlan,
  options: ReplaceSealKeyOptions,
): Promise<ReplaceSealKeyReport> {
  const { config, observe, signal } = options
  const kept = beforeName(config.file, stamp(new Date()))
  let snapshot = ''
  const [first, second] = plan.steps
  const steps: readonly Step[] = [
    {
      ...first!,
      async run({ note }) {
        await note({ before: kept })
        await writeLike(config.file, kept, config.text)
        await writeLike(config.file, config.file, replaceSeal(config, plan.recipients))
        return `the old one is kept as ${kept}`
      },
      async undo({ facts }) {
        const { before } = facts
        if (typeof before !== 'string' || (await presence(before)) === 'nothing') return 'as before'
        await rename(before, config.file)
        return 'the config is as before'
      },
    },
    {
      ...second!,
      async run() {
        const text = await readFile(config.file, 'utf8')
        const report = await backupApplication(parseConfig(text, config.file), access, {
          reason: 'sealed for another key',
          // It is a part of this operation, which has begun and will end by itself.
          observe: (event) => {
            if (event.type !== 'started' && event.type !== 'finished') observe(event)
          },
          signal,
        })
        const wrong = report.findings.find(({ severity }) => severity === 'error')
        if (report.outcome === 'succeeded') {
          snapshot = report.snapshot
          return `snapshot ${report.snapshot.slice(0, 8)}`
        }
        throw new OperationError('RESCUE', `The backup is incomplete: ${wrong?.message ?? 'see what it said'}`, {
          facts: { snapshot: report.snapshot },
          ...(wrong?.hint === undefined ? {} : { hint: wrong.hint }),
        })
      },
    },
  ]
  const file = posix.join(config.stateDirectory, RECORD)
  await readStepRecord(file) // rejects while another one is at it
  const request = { recipients: [...plan.recipients] }
  const record = await beginStepRecord(file, {
    operation: 'rescue secrets --compromised',
    subject: plan.app,
    request,
    steps,
  })
  const running = { file, steps, observe, signal }
  try {
    const done = await runSteps({ ...running, record })
    return { outcome: 'succeeded', plan, steps: done.steps, snapshot, kept }
  } catch (error) {
    return await failed(error as Error, running, options)
  }
}

async function writeLike(model: string, path: string, text: string): Promise<void> {
  const { mode, uid, gid } = await lstat(model)
  await writeFileDurably(path, Buffer.from(text), { mode: mode & 0o777 })
  if (process.geteuid?.() === 0) await chown(path, uid, gid)
}

async function failed(
  error: Error,
  running: Omit<Parameters<typeof undoSteps>[0], 'record'>,
  { rollback, askRollback, signal }: ReplaceSealKeyOptions,
): Promise<never> {
  if (signal.aborted) throw error
  const record = (await readStepRecord(running.file))!
  const title = record.steps.find(({ state }) => state === 'failed')?.title ?? 'a step'
  const wanted = rollback || (await askRollback?.(title, error)) === true
  if (wanted) await undoSteps({ ...running, record })
  const hint = error instanceof CodedError && error.hint !== undefined ? `${error.hint}\n` : ''
  throw new OperationError(
    'RESCUE',
    `"${title}" failed${wanted ? ', and the config is as before' : ''}: ${error.message}`,
    {
      facts: { rolled_back: wanted },
      hint: `${hint}Put it right and run the same again${wanted ? '' : ', or `holdfast backup`: the config names the new key'}`,
      cause: error,
    },
  )
}

function summaryOf(report: ReplaceSealKeyReport): Readonly<Record<string, unknown>> {
  const { plan } = report
  const shared = { playbook: 'secrets', app: plan.app, recipients: plan.recipients }
  if (report.outcome === 'declined') return { ...shared, declined: true }
  return {
    ...shared,
    snapshot_id: report.snapshot,
    kept: report.kept,
    sealed_to_old: plan.snapshots.map(({ id }) => id),
    rotation: plan.rotation,
  }
}
