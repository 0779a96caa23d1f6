import type { BackupPlan, PlannedComponent } from '../operations/backup/plan-backup.ts'
import type { FinishedSummary } from './command.ts'
import { counted, formatBytes, formatCount, shortId } from './format.ts'
import type { Style } from './style.ts'
import { type Column, formatTable } from './table.ts'

interface Surroundings {
  readonly style: Style
  readonly width: number | undefined
}

/** The summary of a backup as an operation reports it; `restic backup` prints the same lines. */
interface BackupFacts {
  readonly snapshot_id?: string
  readonly dry_run?: boolean
  readonly parent?: string
  readonly files_new: number
  readonly files_changed: number
  readonly files_unmodified: number
  readonly dirs_new: number
  readonly dirs_changed: number
  readonly dirs_unmodified: number
  readonly data_added: number
  readonly data_added_packed: number
  readonly total_files_processed: number
  readonly total_bytes_processed: number
  readonly errors: number
  readonly components?: readonly ComponentFacts[]
}

interface ComponentFacts {
  readonly name: string
  readonly files: number
  readonly bytes: number
  readonly databases: number
  readonly secrets_sealed: number
  readonly outcome: 'succeeded' | 'incomplete'
}

export function backupLines(summary: FinishedSummary, { style, width }: Surroundings): string[] {
  // What `backupSummary` of the operation makes.
  const facts = summary as unknown as BackupFacts
  const { components } = facts
  return [
    '',
    ...(components === undefined
      ? []
      : [formatTable(COMPONENT_COLUMNS, components.map(componentRow), { style, width }), '']),
    changes('Files', facts.files_new, facts.files_changed, facts.files_unmodified),
    changes('Folders', facts.dirs_new, facts.dirs_changed, facts.dirs_unmodified),
    `${(facts.dry_run ? 'Would add:' : 'Added:').padEnd(10)}  ${formatBytes(facts.data_added)}${facts.dry_run ? '' : `, ${formatBytes(facts.data_added_packed)} stored`}`,
    '',
    `Processed ${counted(facts.total_files_processed, 'file')}, ${formatBytes(facts.total_bytes_processed)}`,
    facts.snapshot_id === undefined
      ? 'Nothing was stored: this was a dry run'
      : `Snapshot ${style.bold(shortId(facts.snapshot_id))} saved${facts.parent === undefined ? '' : `, compared with ${shortId(facts.parent)}`}`,
    ...(facts.errors > 0 && facts.snapshot_id !== undefined
      ? [style.yellow('It is not complete: what the errors above name is not in it')]
      : []),
  ]
}

function changes(what: string, added: number, changed: number, unmodified: number): string {
  return `${`${what}:`.padEnd(10)}  ${formatCount(added)} new, ${formatCount(changed)} changed, ${formatCount(unmodified)} unmodified`
}

const COMPONENT_COLUMNS: readonly Column[] = [
  { title: 'Component', cut: 'end' },
  { title: 'Files', align: 'right' },
  { title: 'Size', align: 'right' },
  { title: 'Of these', cut: 'end' },
  { title: 'Outcome' },
]

function componentRow({ name, files, bytes, databases, secrets_sealed, outcome }: ComponentFacts): string[] {
  return [
    name,
    formatCount(files),
    bytes === 0 && files === 0 ? '' : formatBytes(bytes),
    ofThese(databases, secrets_sealed, 'sealed'),
    outcome === 'succeeded' ? 'complete' : 'INCOMPLETE',
  ]
}

function ofThese(databases: number, secrets: number, sealed: string): string {
  return [
    ...(databases > 0 ? [counted(databases, 'database')] : []),
    ...(secrets > 0 ? [`${counted(secrets, 'secret')} ${sealed}`] : []),
  ].join(', ')
}

/** For `backup --dry-run` of an application. */
export function planLines(plan: BackupPlan, { style, width }: Surroundings): string[] {
  const databases = plan.components.flatMap((component) => component.databases)
  const added = plan.components.reduce((sum, { dataAdded }) => sum + dataAdded, 0)
  const copied = databases.filter(({ change }) => change !== 'unchanged')
  const secrets = plan.components.reduce((sum, component) => sum + component.secrets, 0)
  return [
    formatTable(PLAN_COLUMNS, plan.components.map(planRow), { style, width }),
    '',
    plan.previous === undefined
      ? 'Compared with nothing: this would be the first snapshot'
      : `Compared with snapshot ${shortId(plan.previous)}`,
    `Files would add at most ${formatBytes(added)} before compression`,
    ...(copied.length > 0
      ? [
          `${counted(copied.length, 'database')} would be copied, ${formatBytes(sumOf(copied))}; only changed pages are stored`,
        ]
      : []),
    ...(secrets > 0 && plan.recipients.length > 0
      ? [`${counted(secrets, 'secret')} would be sealed for ${plan.recipients.join(', ')}`]
      : []),
    'Nothing was stored: this was a dry run',
  ]
}

const PLAN_COLUMNS: readonly Column[] = [
  { title: 'Component', cut: 'end' },
  { title: 'Files', align: 'right' },
  { title: 'Size', align: 'right' },
  { title: 'New', align: 'right' },
  { title: 'Changed', align: 'right' },
  { title: 'To add', align: 'right' },
  { title: 'Besides', cut: 'end' },
]

function planRow({
  name,
  files,
  bytes,
  filesNew,
  filesChanged,
  dataAdded,
  databases,
  secrets,
}: PlannedComponent): string[] {
  return [
    name,
    formatCount(files),
    files === 0 ? '' : formatBytes(bytes),
    formatCount(filesNew),
    formatCount(filesChanged),
    formatBytes(dataAdded),
    ofThese(databases.length, secrets, 'to seal'),
  ]
}

function sumOf(databases: readonly { readonly bytes: number }[]): number {
  return databases.reduce((sum, { bytes }) => sum + bytes, 0)
}

/** The same for programs. */
export function planJson({ app, previous, components, recipients, findings }: BackupPlan) {
  return {
    message_type: 'plan',
    app,
    previous,
    components: components.map((component) => ({
      name: component.name,
      kind: component.kind,
      files: component.files,
      bytes: component.bytes,
      files_new: component.filesNew,
      files_changed: component.filesChanged,
      data_added: component.dataAdded,
      databases: component.databases,
      secrets: component.secrets,
    })),
    recipients,
    errors: findings.filter(({ severity }) => severity === 'error').length,
  }
}
