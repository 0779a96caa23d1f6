import { stat } from 'node:fs/promises'
import { CodedError } from '../../engine/error.ts'
import { withRepository } from '../access.ts'
import { canRead } from './can-read.ts'
import {
  command,
  type DoctorCheck,
  type DoctorContext,
  type DoctorFinding,
  edit,
  type Found,
  holdfast,
  word,
} from './doctor-check.ts'

/** The password is there, and opens the repository. */
export const repositoryAccess: DoctorCheck<'repository'> = {
  name: 'repository',
  title: 'The repository opens with its password',
  async run(context) {
    const missing = await passwordFileFinding(context)
    if (missing !== undefined) return [missing]
    try {
      await withRepository(context.access, { lock: 'none', signal: context.signal }, async () => {})
      return []
    } catch (error) {
      context.signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      return [
        {
          severity: 'error',
          code: CODES[error.code] ?? 'repository-unreachable',
          message: error.message,
          ...(error.code === 'NO_REPOSITORY'
            ? {
                hint: 'If there was one, find out first where it went: a disk that is not mounted, a path that has changed',
              }
            : {}),
          remedy: remedyOf(error, context),
        },
      ]
    }
  },
}

const CODES: Readonly<Record<string, Found<'repository'>['code']>> = {
  NO_REPOSITORY: 'repository-missing',
  WRONG_PASSWORD: 'password-wrong',
  PERMISSION: 'repository-closed',
}

async function passwordFileFinding(context: DoctorContext): Promise<Found<'repository'> | undefined> {
  const { passwordFile: path } = context.config
  if (path === undefined) return undefined
  const status = await stat(path).catch((error: NodeJS.ErrnoException) => error.code)
  const isClosed = status === 'EACCES' || (typeof status === 'object' && !(await canRead(path)))
  if (isClosed) {
    return {
      severity: 'error',
      code: 'permission-denied',
      path,
      message: `Cannot read the password file ${path}: permission denied; backups must run as the user it belongs to`,
      hint: 'Put the schedule into the crontab of root: `sudo crontab -e`',
      remedy: command(`sudo ${holdfast(context, 'doctor')}`),
    }
  }
  if (typeof status === 'object' && status.size > 0) return undefined
  const why =
    status === 'ENOENT' ? 'is not there' : typeof status === 'object' ? 'is empty' : `cannot be read (${status})`
  return {
    severity: 'error',
    code: 'password-missing',
    path,
    message: `The password file ${path} ${why}: without it nothing can be backed up or restored`,
    remedy: edit(`${path}: bring back the copy that is kept away from this machine, mode 0600`),
  }
}

function remedyOf(error: CodedError, context: DoctorContext): DoctorFinding['remedy'] {
  const { config } = context
  switch (error.code) {
    case 'NO_REPOSITORY':
      return command(
        `${context.program} init --repo ${word(config.repository)}` +
          (config.passwordFile === undefined ? '' : ` --password-file ${word(config.passwordFile)}`),
      )
    case 'WRONG_PASSWORD':
      return edit(
        `${config.passwordFile ?? config.file}: put the password of this repository there; see the copy that is kept away from this machine`,
      )
    case 'PERMISSION':
      return command(`sudo ${holdfast(context, 'doctor')}`)
    default:
      return edit(error.hint ?? `${config.file}: see that \`repository: ${word(config.repository)}\` is right`)
  }
}
