import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../../application/config/config.ts'
import { signerFor } from '../../application/sources/signature.ts'
import { writeFileDurably } from '../../engine/os/write-file-durably.ts'
import { type DrillReport, reportJson } from './drill-report.ts'
import { reportHtml, reportMarkdown } from './report-text.ts'

/** Where the reports of an application's drills lie. */
export function reportFolder({ stateDirectory }: Pick<Config, 'stateDirectory'>): string {
  return join(stateDirectory, 'drills')
}

/**
 * Writes the report as `.json`, `.md` and `.html`, and where a signing key is configured a detached signature of each beside it.
 * Answers with the paths. Throws what signing throws: a report that should be signed and is not is no evidence.
 */
export async function writeReports(report: DrillReport, config: Config, signal: AbortSignal): Promise<string[]> {
  const folder = reportFolder(config)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const name = `${report.start.toISOString().replace(/[-:]/g, '').slice(0, 15)}-${report.snapshot.id.slice(0, 8)}`
  const signer = config.sign === undefined ? undefined : await signerFor(config.sign, { signal })
  const written: string[] = []
  const write = async (path: string, bytes: Buffer) => {
    await writeFileDurably(path, bytes, { mode: 0o600 })
    written.push(path)
  }
  const forms = [
    ['json', `${JSON.stringify(reportJson(report), null, 2)}\n`],
    ['md', reportMarkdown(report)],
    ['html', reportHtml(report)],
  ] as const
  for (const [ending, text] of forms) {
    const path = join(folder, `${name}.${ending}`)
    const bytes = Buffer.from(text)
    await write(path, bytes)
    if (signer !== undefined) await write(`${path}.sig`, await signer.sign(bytes, signal))
  }
  return written
}
