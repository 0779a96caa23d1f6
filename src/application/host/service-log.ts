import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ApplicationError } from '../error.ts'
import { minimalEnvironment, programFailure, runProgram } from '../program.ts'
import type { ApplicationService } from './application-service.ts'
import { pm2Apps } from './pm2.ts'
import { pm2Home, pm2LogFiles } from './service.ts'

/** How long log files were before a start, by path: what stands there was said by an earlier run. */
export type LogMark = ReadonlyMap<string, number>

/** Of a log, at most this much from its end is looked at. */
const LOG_LIMIT = 1024 * 1024
const JOURNAL_LINES = 5000

/** To be taken before the application is started. */
export async function markLog(application: ApplicationService, signal?: AbortSignal): Promise<LogMark> {
  const mark = new Map<string, number>()
  if (application.manager !== 'pm2') return mark // the journal and the output of a command know their runs apart
  for (const path of await pm2Files(application, signal)) {
    const size = await sizeOf(path)
    if (size !== undefined) mark.set(path, size)
  }
  return mark
}

/**
 * What the application has said since it was started last, at most 1 MiB of it: from systemd's journal, the log files that
 * pm2 names, or the output of its `start` command.
 */
export async function readServiceLog(
  application: ApplicationService,
  mark: LogMark,
  signal?: AbortSignal,
): Promise<string> {
  const { manager, name = '', account, outputFile } = application
  if (manager === 'systemd') return readJournal(name, signal)
  const files = manager === 'pm2' ? await pm2LogFiles(name, { account, signal }) : [outputFile]
  const texts: string[] = []
  for (const path of files) texts.push(await readFrom(path, mark.get(path) ?? 0))
  return texts.join('')
}

/** By the ID that systemd gives each start of a unit. */
async function readJournal(unit: string, signal: AbortSignal | undefined): Promise<string> {
  const options = { env: minimalEnvironment(), signal, maxOutput: 32 * 1024 * 1024 }
  const show = ['show', '--property=InvocationID', '--value', '--', unit]
  const asked = await runProgram('systemctl', show, options)
  const invocation = asked.stdout.toString('utf8').trim()
  if (asked.exitCode !== 0 || !/^[0-9a-f]{32}$/.test(invocation)) return '' // it was never started
  const match = `_SYSTEMD_INVOCATION_ID=${invocation}`
  const end = await runProgram('journalctl', ['--quiet', '--output=cat', '-n', String(JOURNAL_LINES), match], options)
  if (end.exitCode !== 0) {
    throw new ApplicationError('SERVICE', `Cannot read the journal of ${unit}`, { cause: programFailure(end) })
  }
  return end.stdout.subarray(-LOG_LIMIT).toString('utf8')
}

async function pm2Files(application: ApplicationService, signal: AbortSignal | undefined): Promise<string[]> {
  const { name = '', account, ecosystem } = application
  const known = await pm2LogFiles(name, { account, signal })
  const app =
    ecosystem === undefined
      ? undefined
      : (await pm2Apps(ecosystem, { ...(signal && { signal }) })).find((each) => each.name === name)
  const folder = join(pm2Home({ account }), 'logs')
  const usual = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return []
    throw error
  })
  return [...new Set([...known, ...(app?.logFiles ?? []), ...usual.map((file) => join(folder, file))])]
}

async function sizeOf(path: string): Promise<number | undefined> {
  const info = await stat(path).catch(ignoreMissing)
  return info?.isFile() ? info.size : undefined
}

async function readFrom(path: string, offset: number): Promise<string> {
  const size = await sizeOf(path)
  if (size === undefined) return ''
  // One that has shrunk was begun anew.
  const from = Math.max(size < offset ? 0 : offset, size - LOG_LIMIT)
  await using file = await open(path, 'r')
  const bytes = Buffer.alloc(size - from)
  const { bytesRead } = await file.read(bytes, 0, bytes.length, from)
  return bytes.subarray(0, bytesRead).toString('utf8')
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
  throw error
}
