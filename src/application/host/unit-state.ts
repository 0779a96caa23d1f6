import { stat } from 'node:fs/promises'
import { ApplicationError } from '../error.ts'
import { minimalEnvironment, type ProgramResult, programFailure, runProgram } from '../program.ts'

/** Whether systemd is what runs this machine (sd_booted(3)). */
export async function isSystemdRunning(): Promise<boolean> {
  try {
    return (await stat('/run/systemd/system')).isDirectory()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/** systemd looks at its unit files again. Rejects with `SERVICE`. */
export async function reloadUnits(signal?: AbortSignal): Promise<void> {
  const result = await systemctl(['daemon-reload'], signal)
  if (result.exitCode !== 0) throw refused('Cannot reload the units', result)
}

/** Whether the unit is started at boot. */
export async function isEnabled(unit: string, signal?: AbortSignal): Promise<boolean> {
  return (await systemctl(['is-enabled', '--quiet', '--', unit], signal)).exitCode === 0
}

export async function setEnabled(unit: string, enabled: boolean, signal?: AbortSignal): Promise<void> {
  const verb = enabled ? 'enable' : 'disable'
  const result = await systemctl([verb, '--quiet', '--', unit], signal)
  if (result.exitCode !== 0) throw refused(`Cannot ${verb} ${unit}`, result)
}

function systemctl(args: readonly string[], signal: AbortSignal | undefined): Promise<ProgramResult> {
  return runProgram('systemctl', args, { env: minimalEnvironment(), signal })
}

function refused(what: string, result: ProgramResult): ApplicationError {
  const cause = programFailure(result)
  return new ApplicationError('SERVICE', `${what}: ${cause.message}`, { hint: 'See `systemctl --failed`', cause })
}
