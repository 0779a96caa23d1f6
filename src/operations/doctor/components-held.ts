import { readdir, stat } from 'node:fs/promises'
import { posix } from 'node:path'
import { canRead } from './can-read.ts'
import { command, type DoctorCheck, type DoctorContext, edit, type Found, holdfast } from './doctor-check.ts'

/** Each component of files is there, holds something and can be read by this user. */
export const componentsHeld: DoctorCheck<'components'> = {
  name: 'components',
  title: 'Every component protects something, and can be read',
  async run(context) {
    const found: Found<'components'>[] = []
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
): Promise<Found<'components'> | undefined> {
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
  if (typeof status !== 'object' || !(await canRead(path))) {
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
