import { hasProgram, installCommand } from '../../application/host/requirements.ts'
import { command, type DoctorCheck, type DoctorContext, type Found } from './doctor-check.ts'

/** Programs that a backup or a recovery of this application calls. */
export const recoveryTools: DoctorCheck<'tools'> = {
  name: 'tools',
  title: 'Programs that backups and recovery need are installed',
  async run(context) {
    const found: Found<'tools'>[] = []
    for (const { program, severity, why } of neededPrograms(context.config)) {
      if (await hasProgram(program, context.env.PATH)) continue
      found.push({
        severity,
        code: 'tool-missing',
        message: `${program} is not installed: ${why}`,
        remedy: command(await installCommand(program)),
      })
    }
    return found
  },
}

interface Needed {
  readonly program: string
  readonly severity: 'error' | 'warning'
  readonly why: string
}

function neededPrograms({ seal, sign, components, service }: DoctorContext['config']): Needed[] {
  const kinds = new Set(components.map(({ kind }) => kind))
  const commands = [service?.install, service?.build, service?.start].join(' ')
  const gpg = [...seal, sign ?? ''].some((key) => key.startsWith('gpg:'))
  const needed: (Needed | false)[] = [
    gpg && { program: 'gpg', severity: 'error', why: 'secrets cannot be sealed or opened without it' },
    kinds.has('nginx') && { program: 'nginx', severity: 'warning', why: 'the site is tested and reloaded with it' },
    (kinds.has('systemd') || service?.manager === 'systemd') && {
      program: 'systemctl',
      severity: 'warning',
      why: 'the unit is enabled and started with it',
    },
    (kinds.has('pm2') || service?.manager === 'pm2') && {
      program: 'pm2',
      severity: 'warning',
      why: 'the application is started with it',
    },
    /\bnpm\b/.test(commands) && { program: 'npm', severity: 'warning', why: 'the config installs or builds with it' },
    /\bnode\b/.test(commands) && {
      program: 'node',
      severity: 'warning',
      why: 'the config starts the application with it',
    },
  ]
  return needed.filter((each) => each !== false)
}
