import { ApplicationError } from '../error.ts'
import { minimalEnvironment, type ProgramResult, programFailure, runProgram } from '../program.ts'
import { serviceState, startService, stopService } from './service.ts'
import { isSystemdRunning } from './unit-state.ts'

const UNIT = 'systemd:nginx.service'

/** `nginx -t`: rejects with `SERVICE` when nginx would not take its configuration as it lies there. */
export async function testWebServer(signal?: AbortSignal): Promise<void> {
  const result = await nginx(['-t', '-q'], signal)
  if (result.exitCode === 0) return
  // `2026/11/27 14:27:25 [emerg] 785#785: unexpected end of file…`
  const [first = ''] = result.stderr.trim().split('\n')
  const said = first.replace(/^\S+ \S+ \[\w+\] \d+#\d+: |^nginx: \[\w+\] /, '') || 'nothing'
  throw new ApplicationError('SERVICE', 'nginx does not accept its configuration', {
    facts: { said },
    hint: `Run \`nginx -t\`. It said: ${said}`,
    cause: programFailure(result),
  })
}

/** Makes nginx read its configuration anew, or starts it where it does not run. Resolves with which of the two it was. */
export async function reloadWebServer(signal?: AbortSignal): Promise<'reloaded' | 'started'> {
  if (await isSystemdRunning()) {
    const state = await serviceState(UNIT, { signal })
    if (state !== 'absent') {
      if (state === 'running') {
        requireSuccess(
          await runProgram('systemctl', ['reload', 'nginx.service'], { env: minimalEnvironment(), signal }),
        )
        return 'reloaded'
      }
      await startService(UNIT, { signal })
      return 'started'
    }
  }
  if ((await nginx(['-s', 'reload'], signal)).exitCode === 0) return 'reloaded'
  requireSuccess(await nginx([], signal))
  return 'started'
}

/** Whether it runs as a unit of systemd; undefined where nobody can tell. */
export async function isWebServerRunning(signal?: AbortSignal): Promise<boolean | undefined> {
  if (!(await isSystemdRunning())) return undefined
  const state = await serviceState(UNIT, { signal })
  return state === 'running' || state === 'changing'
}

/** One that does not run is no error. */
export async function stopWebServer(signal?: AbortSignal): Promise<void> {
  if (await isWebServerRunning(signal)) await stopService(UNIT, { signal })
}

function nginx(args: readonly string[], signal: AbortSignal | undefined): Promise<ProgramResult> {
  return runProgram('nginx', args, { env: minimalEnvironment(), signal })
}

function requireSuccess(result: ProgramResult): void {
  if (result.exitCode === 0) return
  throw new ApplicationError('SERVICE', `Cannot reload nginx: ${programFailure(result).message}`, {
    hint: 'See `nginx -t` and `journalctl -u nginx -n 50`',
    cause: programFailure(result),
  })
}
