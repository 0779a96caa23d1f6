import { readdir, readlink } from 'node:fs/promises'
import { posix } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import { isWithin } from '../../application/host/host-path.ts'
import { pm2ListFile } from '../../application/host/pm2-boot.ts'
import { parseUnitFile, splitWords, type UnitSetting, valuesOf } from '../../application/host/unit-file.ts'
import { journalOf } from '../journal/journal-of.ts'
import type { Manifest } from '../manifest.ts'
import { beforeName } from '../restore/before-name.ts'
import { presence, type RestoreUnit } from '../restore/plan-in-place.ts'
import { relocatePath } from '../restore/relocation.ts'
import type { ChosenSnapshot } from '../restore/snapshot-choice.ts'
import { findNode } from '../snapshot-files.ts'
import { pm2OwnerOf } from './boot-step.ts'
import { missingParents } from './file-changes.ts'
import { readSmall } from './read-small.ts'
import type { OtherChange, RecoveryPlan } from './recovery-plan.ts'

export interface OtherChangesOptions {
  readonly config: Config
  readonly manifest: Manifest
  readonly units: readonly RestoreUnit[]
  /** Folders that restores make on the way; those that are made beside are added. */
  readonly made: Set<string>
  /** Where it is noted how far the recovery came. */
  readonly recordFile: string
  readonly stamp: string
  readonly isDone: (step: string) => boolean
  readonly signal: AbortSignal
}

type Draft = Pick<
  RecoveryPlan,
  | 'accountCommands'
  | 'boot'
  | 'configFile'
  | 'folders'
  | 'owner'
  | 'passwordFile'
  | 'relocation'
  | 'root'
  | 'starts'
  | 'unit'
  | 'units'
>

/**
 * What is created, changed or removed besides the components: by making the account, for the files of Holdfast itself, folders that
 * must be there, what enables units. What commands of the config write is theirs, and nobody knows it beforehand. Reads only.
 */
export async function otherChanges(
  chosen: ChosenSnapshot,
  draft: Draft,
  options: OtherChangesOptions,
): Promise<OtherChange[]> {
  const changes = new OtherChanges(chosen, options)
  await changes.own(options.recordFile, undefined)
  await changes.own(journalOf(options.config), undefined)
  if (!options.isDone('account')) await changes.account(draft)
  if (!options.isDone('config')) await changes.ownFiles(draft)
  if (!options.isDone('permissions')) await changes.folders(draft)
  if (!options.isDone('systemd')) await changes.unit(draft)
  if (!options.isDone('start')) await changes.start(draft)
  if (!options.isDone('boot')) await changes.boot(draft)
  return changes.list
}

/** passwd(5), shadow(5), group(5), gshadow(5) */
const ACCOUNT_FILES: Readonly<Record<string, readonly string[]>> = {
  useradd: ['/etc/passwd', '/etc/shadow'],
  groupadd: ['/etc/group', '/etc/gshadow'],
}
/** What a new home begins with (useradd(8)). */
const SKELETON = '/etc/skel'
const ENABLED = '/etc/systemd/system'

class OtherChanges {
  readonly list: OtherChange[] = []
  readonly #chosen: ChosenSnapshot
  readonly #with: OtherChangesOptions

  constructor(chosen: ChosenSnapshot, options: OtherChangesOptions) {
    this.#chosen = chosen
    this.#with = options
  }

  #add(path: string, change: OtherChange['change'], step: string | undefined, isFolder = false): void {
    if (isFolder && change === 'created') {
      if (this.#with.made.has(path)) return
      this.#with.made.add(path)
    }
    this.list.push({ path, change, isFolder, step })
  }

  /** What was there is kept beside it. */
  #written({ path, change }: Pick<OtherChange, 'path' | 'change'>, step: string): void {
    this.#add(path, change, step)
    if (change === 'changed') this.#add(beforeName(path, this.#with.stamp), 'created', step)
  }

  async #parents(path: string, step: string | undefined): Promise<void> {
    for (const folder of await missingParents(path)) {
      if (!(await this.#comesBack(folder))) this.#add(folder, 'created', step, true)
    }
  }

  /** Written by Holdfast, with the folders on the way. */
  async own(path: string, step: string | undefined): Promise<void> {
    await this.#parents(path, step)
    const isThere = (await presence(path)) !== 'nothing' || (await this.#comesBack(path))
    this.#add(path, isThere ? 'changed' : 'created', step)
  }

  /** With a component, from the snapshot. */
  async #comesBack(path: string): Promise<boolean> {
    const { units, signal } = this.#with
    const unit = units.find((each) => isWithin(each.path, path))
    if (unit === undefined) return false
    if (unit.kept.some((kept) => isWithin(kept, path) || isWithin(path, kept))) return true
    if (unit.secrets.some((secret) => isWithin(path, secret))) return true
    const { repository, stored } = this.#chosen
    const source = unit.source + path.slice(unit.path.length)
    return (await findNode(repository, stored.snapshot.tree, source, signal)) !== undefined
  }

  async account({ accountCommands, owner }: Draft): Promise<void> {
    for (const [program = ''] of accountCommands) {
      for (const file of ACCOUNT_FILES[program] ?? []) this.#add(file, 'changed', 'account')
    }
    if (owner === undefined || !accountCommands.some(([program]) => program === 'useradd')) return
    const home = `/home/${owner.user}`
    await this.#parents(home, 'account')
    if ((await presence(home)) !== 'nothing') return // then useradd leaves it as it is
    this.#add(home, 'created', 'account', true)
    if ((await presence(SKELETON)) !== 'folder') return
    for (const entry of await readdir(SKELETON, { recursive: true, withFileTypes: true })) {
      const path = posix.join(home, entry.parentPath.slice(SKELETON.length), entry.name)
      this.#add(path, 'created', 'account', entry.isDirectory())
    }
  }

  async ownFiles({ configFile, passwordFile }: Draft): Promise<void> {
    for (const file of [configFile, passwordFile]) {
      if (file === undefined) continue
      await this.#parents(file.path, 'config')
      this.#written(file, 'config')
    }
  }

  async folders({ folders, root }: Draft): Promise<void> {
    for (const folder of [root, ...folders]) {
      await this.#parents(posix.join(folder, 'x'), 'permissions')
      // A folder that is there now, in a unit that the snapshot has without it, goes aside with that.
      const unit = this.#with.units.find((each) => isWithin(each.path, folder))
      if (unit === undefined || (await presence(folder)) === 'nothing' || (await this.#comesBack(folder))) continue
      this.#add(folder, 'created', 'permissions', true)
    }
  }

  /** The links that have systemd start the application's unit at boot. */
  async unit({ unit, units, relocation }: Draft): Promise<void> {
    if (!units || unit === undefined) return
    const file = unit.name.includes('.') ? unit.name : `${unit.name}.service`
    const paths = this.#with.manifest.components.flatMap(({ kind, paths }) => (kind === 'systemd' ? paths : []))
    const stored = paths.find(({ path }) => posix.basename(path) === file && !/\.(wants|requires)\//.test(path))?.path
    const text = stored === undefined ? undefined : await readSmall(this.#chosen, stored, this.#with.signal)
    if (stored === undefined || text === undefined) return
    const at = relocatePath(stored, relocation)
    for (const link of enablingLinks(file, parseUnitFile(text))) {
      if (unit.enable) await this.#link(link, 'systemd')
      else if ((await this.#isLinkTo(link, at)) || (await this.#comesBack(link))) this.#add(link, 'removed', 'systemd')
    }
  }

  async #link(link: string, step: string): Promise<void> {
    if ((await presence(link)) !== 'nothing' || (await this.#comesBack(link))) return
    await this.#parents(link, step)
    this.#add(link, 'created', step)
  }

  async #isLinkTo(link: string, target: string): Promise<boolean> {
    if ((await presence(link)) !== 'other') return false
    return posix.resolve(posix.dirname(link), await readlink(link)) === target
  }

  /** Where what a command of the config starts says what it has to say. */
  async start({ starts }: Draft): Promise<void> {
    const { config } = this.#with
    if (!starts || config.service?.manager !== 'command' || config.service.start === undefined) return
    await this.own(posix.join(config.stateDirectory, 'service.log'), 'start')
  }

  async boot({ boot }: Draft): Promise<void> {
    if (boot === undefined) return
    const { config, stamp } = this.#with
    if (boot.file !== undefined) this.#written(boot.file, 'boot')
    const list = pm2ListFile(pm2OwnerOf(config).pm2Home)
    const isThere = (await presence(list)) !== 'nothing'
    if (!boot.starts && !isThere) return // then pm2 has nothing to forget
    await this.own(list, 'boot')
    if (isThere) this.#add(beforeName(list, stamp), 'created', 'boot')
    // What `pm2 startup` makes says so, too.
    if (boot.starts) await this.#link(posix.join(ENABLED, 'multi-user.target.wants', boot.unit), 'boot')
  }
}

/** systemctl(1), `enable`: what `[Install]` of a unit asks for. */
function enablingLinks(file: string, settings: readonly UnitSetting[]): string[] {
  const names = (key: string) => valuesOf(settings, 'Install', key).flatMap(splitWords)
  return [
    ...names('WantedBy').map((target) => posix.join(ENABLED, `${target}.wants`, file)),
    ...names('RequiredBy').map((target) => posix.join(ENABLED, `${target}.requires`, file)),
    ...names('UpheldBy').map((target) => posix.join(ENABLED, `${target}.upholds`, file)),
    ...names('Alias').map((alias) => posix.join(ENABLED, alias)),
  ]
}
