import { rename, rm } from 'node:fs/promises'
import type { Config } from '../../application/config/config.ts'
import type { Finding } from '../../application/finding.ts'
import {
  copyPm2List,
  findPm2Unit,
  makePm2Unit,
  type Pm2Owner,
  pm2ListFile,
  pm2UnitOf,
  putBackPm2List,
  savePm2List,
} from '../../application/host/pm2-boot.ts'
import { forgetInPm2, pm2Home, type ServiceOptions } from '../../application/host/service.ts'
import { isEnabled, isSystemdRunning, reloadUnits, setEnabled } from '../../application/host/unit-state.ts'
import { accountOf } from '../application-here.ts'
import { beforeName } from '../restore/before-name.ts'
import { presence } from '../restore/plan-in-place.ts'
import type { StepTools } from '../steps/run-steps.ts'
import type { OwnFile, PlannedBoot } from './recovery-plan.ts'

// An application under pm2 comes back after a boot when pm2 has saved its list, and a unit has it read that. Neither is in a
// backup: the list holds every variable in the clear, and the unit names where pm2 lies on one machine. pm2 makes both anew.

interface BootCircumstances {
  readonly start: boolean
  /** Whether pm2 has it in its list now. */
  readonly isKnown: boolean
  /** Paths that a component brings back. */
  readonly restored: readonly string[]
  /** The unit among them that has pm2 bring back this owner's list; undefined: there is none. */
  readonly restoredUnit: string | undefined
}

/** How an application under pm2 is to be started at boot; undefined where something else does, or where it is for the operator. */
export async function planBoot(
  config: Config,
  { start, isKnown, restored, restoredUnit }: BootCircumstances,
): Promise<{ readonly boot: PlannedBoot | undefined; readonly findings: readonly Finding[] }> {
  if (config.service?.manager !== 'pm2' || (!start && !isKnown)) return { boot: undefined, findings: [] }
  const owner = pm2OwnerOf(config)
  if (!start) {
    const unit = pm2UnitOf(owner).name
    return { boot: { starts: false, unit, command: undefined, file: undefined }, findings: [] }
  }
  if (process.geteuid?.() !== 0 || !(await isSystemdRunning())) return { boot: undefined, findings: [notAtBoot(owner)] }
  const unit = restoredUnit ?? (await findPm2Unit(owner))
  if (unit !== undefined) return { boot: { starts: true, unit, command: undefined, file: undefined }, findings: [] }
  const { name, path, command } = pm2UnitOf(owner)
  const isThere = restored.includes(path) || (await presence(path)) !== 'nothing'
  const file: OwnFile = { path, change: isThere ? 'changed' : 'created' }
  return { boot: { starts: true, unit: name, command, file }, findings: [] }
}

function notAtBoot({ user }: Pm2Owner): Finding {
  return {
    severity: 'warning',
    code: 'not-at-boot',
    message: 'pm2 will not bring the application back at the next boot: having that done takes root, and systemd',
    hint: `Once it runs, run \`pm2 save\` as ${user}, and \`pm2 startup -u ${user}\` as root`,
  }
}

export function pm2OwnerOf(config: Config): Pm2Owner {
  const account = accountOf(config)
  const user = config.owner?.user ?? 'root'
  // An account that is still to be made gets its home there.
  const home = config.owner === undefined || account !== undefined ? pm2Home({ account }) : `/home/${user}/.pm2`
  return { user, pm2Home: home }
}

/** What the step notes before it changes anything. */
interface BootFacts {
  /** A unit that does it already; null: there was none. */
  readonly unit?: string | null
  readonly wasEnabled?: boolean
  /** Whether a unit that does something else has the name. */
  readonly other?: boolean
  /** The copy of pm2's list; null: there was none. */
  readonly list?: string | null
}

export async function startAtBoot(config: Config, stamp: string, tools: StepTools): Promise<string> {
  const { note, signal } = tools
  const owner = pm2OwnerOf(config)
  const pm2 = { account: accountOf(config), signal }
  const { name, path } = pm2UnitOf(owner)
  const found = await findPm2Unit(owner)
  const unit = found ?? name
  if ((tools.facts as BootFacts).unit === undefined) {
    const other = found === undefined && (await presence(path)) !== 'nothing'
    await note({ unit: found ?? null, wasEnabled: await isEnabled(unit, signal), other })
  }
  await keepList(pm2, stamp, tools)
  await savePm2List(pm2)
  if (found === undefined) {
    const before = beforeName(path, stamp)
    if ((tools.facts as BootFacts).other && (await presence(before)) === 'nothing') await rename(path, before)
    await makePm2Unit(owner, signal)
  }
  await reloadUnits(signal)
  await setEnabled(unit, true, signal)
  return `pm2 has saved its list, and ${unit} is enabled`
}

/** It is in pm2's list no more; what is to come back at boot is what is in it now. */
export async function keepFromBoot(config: Config, stamp: string, tools: StepTools): Promise<string> {
  const pm2 = { account: accountOf(config), signal: tools.signal }
  if ((await presence(pm2ListFile(pm2Home(pm2)))) === 'nothing') return 'pm2 has saved no list'
  await keepList(pm2, stamp, tools)
  await forgetInPm2(config.service!.name!, pm2)
  await savePm2List(pm2)
  return 'pm2 has saved its list without it'
}

/** Before it is saved anew. */
async function keepList(pm2: ServiceOptions, stamp: string, { facts, note }: StepTools): Promise<void> {
  if ((facts as BootFacts).list !== undefined) return
  const file = pm2ListFile(pm2Home(pm2))
  const copy = (await presence(file)) === 'nothing' ? null : beforeName(file, stamp)
  if (copy !== null) await copyPm2List(pm2, copy)
  await note({ list: copy, ...(copy === null ? {} : { kept: [{ path: file, before: copy }] }) })
}

export async function startAtBootAsBefore(config: Config, stamp: string, tools: StepTools): Promise<string> {
  const { signal } = tools
  const { unit, wasEnabled = false, other, list } = tools.facts as BootFacts
  if (list !== undefined) await putBackPm2List({ account: accountOf(config), signal }, list)
  if (unit === undefined) {
    await tools.note({ list: undefined, kept: undefined })
    return 'as before'
  }
  const { name, path } = pm2UnitOf(pm2OwnerOf(config))
  if (unit === null) {
    const before = beforeName(path, stamp)
    if ((await presence(before)) !== 'nothing') await rename(before, path)
    else if (other !== true && (await presence(path)) !== 'nothing') {
      await setEnabled(name, false, signal)
      await rm(path)
    }
    await reloadUnits(signal)
  }
  if (unit !== null || other === true) await setEnabled(unit ?? name, wasEnabled, signal)
  await tools.note({ unit: undefined, wasEnabled: undefined, other: undefined, list: undefined, kept: undefined })
  return wasEnabled ? `${unit ?? name} is enabled, as before` : 'nothing starts it at boot, as before'
}
