// The first process in the namespaces of a drill: makes the isolated root, runs the application there, looks how it is, and
// ends, which ends all that runs there.

import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { startApplication } from '../../application/host/application-service.ts'
import { checkApplication } from '../../application/host/health.ts'
import { runShell } from '../../application/host/run-shell.ts'
import { markLog, readServiceLog } from '../../application/host/service-log.ts'
import { CodedError } from '../../engine/error.ts'
import { enterIsolatedRoot } from '../../engine/os/isolated-root.ts'
import { dropLeadingOut, startLoopback } from '../../engine/os/isolation.ts'
import type { InsideMessage, InsidePhase, InsidePlan } from './inside-protocol.ts'
import { type StartedUnit, startUnit } from './start-unit.ts'

const { signal } = new AbortController()
let phase: InsidePhase = 'isolate'

// Whoever started this is gone, or had enough.
process.on('disconnect', () => process.exit(1))
process.once('message', (plan: InsidePlan) => {
  drill(plan)
    .then(() => end({ type: 'finished' }))
    .catch((error: unknown) => {
      const { message } = error instanceof Error ? error : new Error(String(error))
      return end({ type: 'failed', phase, message, hint: error instanceof CodedError ? error.hint : undefined })
    })
})

function send(message: InsideMessage): void {
  process.send?.(message)
}

async function end(message: InsideMessage): Promise<void> {
  await new Promise<void>((resolve) => process.send?.(message, () => resolve()))
  process.exit()
}

async function during<R>(name: InsidePhase, task: () => R | Promise<R>): Promise<R> {
  phase = name
  send({ type: 'phase', phase })
  const begun = performance.now()
  const result = await task()
  send({ type: 'ended', phase, milliseconds: Math.round(performance.now() - begun) })
  return result
}

async function drill(plan: InsidePlan): Promise<void> {
  const { application, install, build, checks } = plan
  const { root, account, outputFile } = application
  await during('isolate', () => {
    for (const { path, note } of enterIsolatedRoot(plan.root)) send({ type: 'note', message: `${path}: ${note}` })
    startLoopback()
    dropLeadingOut()
    mkdirSync(dirname(outputFile), { recursive: true, mode: 0o700 })
  })
  for (const [name, command] of [
    ['install', install],
    ['build', build],
  ] as const) {
    if (command === undefined) continue
    await during(name, () => runShell(command, { what: name, cwd: root, account, signal }))
    send({ type: 'check', check: name, passed: true, detail: command })
  }
  const { unit, mark } = await during('start', () => start(plan))
  send({ type: 'check', check: 'start', passed: true, detail: describeStart(plan) })
  await during('health', () =>
    checkApplication({
      ...plan,
      // A unit's output is in a file here, as that of a command is.
      readLog: () =>
        readServiceLog(unit === undefined ? application : { ...application, manager: 'command' }, mark, signal),
      givenUp: async () => unit?.ended(),
      onCheck: ({ check, subject, passed, detail }) =>
        send({ type: 'check', check: `${check} ${subject}`, passed, detail }),
      signal,
    }),
  )
  if (checks.length === 0) return
  await during('checks', async () => {
    for (const { name, run, asRoot } of checks) {
      try {
        const said = await runShell(run, { what: name, cwd: root, account: asRoot ? undefined : account, signal })
        send({ type: 'check', check: name, passed: true, detail: said.trim().split('\n').at(-1) || 'passed' })
      } catch (error) {
        if (!(error instanceof CodedError)) throw error
        const last = String(error.facts.said ?? '')
          .trim()
          .split('\n')
          .at(-1)
        send({ type: 'check', check: name, passed: false, detail: [error.message, last].filter(Boolean).join(': ') })
      }
    }
  })
}

async function start({
  application,
  unit: file,
}: InsidePlan): Promise<{ unit: StartedUnit | undefined; mark: Awaited<ReturnType<typeof markLog>> }> {
  if (file === undefined) {
    const mark = await markLog(application, signal)
    await startApplication(application, signal)
    return { unit: undefined, mark }
  }
  const unit = await startUnit(file, application.outputFile, signal)
  send({ type: 'note', message: `There is no systemd in the isolated place: what ${file} starts was started directly` })
  if (unit.without.length > 0) {
    send({ type: 'note', message: `Settings of the unit that only systemd puts in force: ${unit.without.join(', ')}` })
  }
  return { unit, mark: new Map() }
}

function describeStart({ application, unit }: InsidePlan): string {
  if (unit !== undefined) return `what ${unit} starts`
  return application.manager === 'pm2'
    ? `pm2 start ${application.ecosystem ?? application.name}`
    : (application.start ?? '')
}
