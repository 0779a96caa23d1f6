import { access, constants } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { detectApplication } from '../../application/config/detect.ts'
import type { Detection } from '../../application/config/detection.ts'
import { OperationError } from '../error.ts'
import { CONFIG } from '../manifest.ts'

/** What was found in an application's folder, and what would be set up for it; nothing is written yet. */
export interface ProtectionPlan {
  readonly detection: Detection
  readonly configFile: string
  /** There is one already, which is kept under another name. */
  readonly replacesConfig: boolean
  /** Places that this user can write to. */
  readonly suggested: { readonly repository: string; readonly passwordFile: string }
}

export interface PlanProtectionOptions {
  readonly hostRoot?: string
  /** Take the place of a config file that is there. */
  readonly replace?: boolean
  /** Absolute path of the config file, instead of `holdfast.yaml` in the folder. */
  readonly configFile?: string | undefined
  readonly signal: AbortSignal
}

/** Rejects with `EXISTS` when there is a config file and `replace` does not say what to do about it. */
export async function planProtection(folder: string, options: PlanProtectionOptions): Promise<ProtectionPlan> {
  const { hostRoot, replace, signal } = options
  const detection = await detectApplication(folder, { ...(hostRoot === undefined ? {} : { hostRoot }), signal })
  const configFile = options.configFile ?? join(detection.root, CONFIG)
  const replacesConfig = await exists(configFile)
  if (!replace && replacesConfig) {
    throw new OperationError('EXISTS', `${detection.root} is protected already: ${configFile} is there`, {
      facts: { file: configFile },
      hint: 'Run `holdfast backup` there, or look again and write the config anew with `--replace`',
    })
  }
  const root = process.getuid?.() === 0
  const { app } = detection
  return {
    detection,
    configFile,
    replacesConfig,
    suggested: root
      ? { repository: `/var/backups/${app}`, passwordFile: `/etc/holdfast/${app}.key` }
      : {
          repository: join(homedir(), 'backups', app),
          passwordFile: join(process.env.XDG_CONFIG_HOME ?? join(homedir(), '.config'), 'holdfast', `${app}.key`),
        },
  }
}

export async function exists(path: string): Promise<boolean> {
  try {
    await access(path, constants.F_OK)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
