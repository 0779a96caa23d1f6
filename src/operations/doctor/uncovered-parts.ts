import { posix } from 'node:path'
import { detectApplication } from '../../application/config/detect.ts'
import type { FoundComponent } from '../../application/config/detection.ts'
import { CodedError } from '../../engine/error.ts'
import { type DoctorCheck, type DoctorContext, edit } from './doctor-check.ts'

/** Databases, units, sites and PM2 apps of the application that no component holds. */
export const uncoveredParts: DoctorCheck<'coverage'> = {
  name: 'coverage',
  title: 'Nothing of the application is left out',
  async run(context) {
    const { config, hostRoot, signal } = context
    try {
      const { components } = await detectApplication(config.root, { hostRoot, signal })
      return components.flatMap((component) =>
        component.paths
          .filter((path) => !isCovered(path, component, context))
          .map((path) => ({
            severity: 'warning',
            code: 'not-covered',
            path,
            message: `No component holds ${path}${component.reasons[0] === undefined ? '' : ` (${component.reasons[0]})`}`,
            remedy: edit(`${config.file}: add \`${nameFor(component, context)}: ${path}\` to components`),
          })),
      )
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CodedError)) throw error
      return [
        {
          severity: 'error',
          code: 'root-missing',
          path: config.root,
          message: error.message,
          remedy: edit(`${config.file}: correct root`),
        },
      ]
    }
  },
}

function isCovered(path: string, { kind }: FoundComponent, { config }: DoctorContext): boolean {
  const isName = !path.includes('/') && (kind === 'systemd' || kind === 'nginx')
  const absolute = isName ? path : posix.resolve(config.root, path)
  return config.components.some((component) => {
    if (
      isName &&
      component.kind === kind &&
      component.paths.some((own) => posix.basename(own, '.service') === posix.basename(path, '.service'))
    )
      return true
    return component.paths.some((own) => absolute === own || absolute.startsWith(own === '/' ? own : `${own}/`))
  })
}

function nameFor({ name, paths }: FoundComponent, { config }: DoctorContext): string {
  const isTaken = (name: string) => config.components.some((component) => component.name === name)
  return isTaken(name) ? `${name}-${posix.basename(paths[0] ?? '2')}` : name
}
