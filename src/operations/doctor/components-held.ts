import { constants, type Stats } from 'node:fs'
import { access, readdir, stat } from 'node:fs/promises'
import { posix } from 'node:path'
import { command, type DoctorCheck, type DoctorContext, type DoctorFinding, edit, holdfast } from './doctor-check.ts'

/** Each component of files is there, holds something and can be read by this user. */
export const componentsHeld: DoctorCheck = {
  name: 'components',
  title: 'Every component protects something, and can be read',
  async run(context) {
    const found: Omit<DoctorFinding, 'check'>[] = []
    for (const { name, paths } of context.config.components) {
      for (const path of paths.filter((path) => posix.isAbsolute(path))) {
        const finding = await lookAt(path, name, context)
        if (finding !== undefined) found.push(finding)
      }
    }
    return found
  },
}

async function lookAt(
  path: string,
  component: string,
  context: DoctorContext,
): Promise<Omit<DoctorFinding, 'check'> | undefined> {
  const status = await stat(path).catch((error: NodeJS.ErrnoException) => error.code)
  const common = { severity: 'error', component, path } as const
  if (status === 'ENOENT' || status === 'ENOTDIR') {
    return {
      ...common,
      code: 'component-missing',
      message: `Component ${component} protects nothing: ${path} is not there`,
      remedy: edit(
        `${context.config.file}: correct the path of ${component}, or take it out; \`${context.program} protect --dry-run\` shows what there is`,
      ),
    }
  }
  if (typeof status !== 'object' || (await isClosed(path, status))) {
    return {
      ...common,
      code: 'permission-denied',
      message: `Cannot read ${path}: permission denied; a backup as this user would leave it out`,
      hint: 'Put the schedule into the crontab of root: `sudo crontab -e`',
      remedy: command(`sudo ${holdfast(context, 'doctor')}`),
    }
  }
  if (status.isDirectory() && (await readdir(path)).length === 0) {
    return {
      ...common,
      severity: 'warning',
      code: 'component-empty',
      message: `Component ${component} protects nothing: ${path} is empty`,
      remedy: edit(`${context.config.file}: correct the path of ${component}, or take it out`),
    }
  }
  return undefined
}

async function isClosed(path: string, status: Stats): Promise<boolean> {
  const wanted = status.isDirectory() ? constants.R_OK | constants.X_OK : constants.R_OK
  return access(path, wanted).then(
    () => false,
    () => true,
  )
}
