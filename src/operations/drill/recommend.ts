import type { DrillReport } from './drill-report.ts'

/** What would make the next recovery, or the next drill, better; nothing when all was well. */
export function recommend(report: Omit<DrillReport, 'recommendations'>): string[] {
  const { checks, predicted, objective, snapshot, level } = report
  const found: string[] = []
  const failed = checks.filter(({ state }) => state === 'failed')
  if (failed.length > 0) {
    found.push(`Mend what failed (${failed.map(({ title }) => title).join('; ')}), back up, and rehearse again`)
  }
  if (checks.some(({ title, state }) => title === 'Secrets decrypted' && state === 'skipped') && level !== 'running') {
    found.push('Open the seal where the private key is kept, at least once: nobody has shown here that it opens')
  }
  const start = checks.find(({ title }) => title === 'Application started')
  if (start?.state === 'skipped') found.push(`Let the drill start the application: ${start.detail}`)
  if (predicted !== undefined && objective !== undefined && predicted.milliseconds > objective) {
    found.push('A recovery would take longer than promised: speed it up, or promise less (`objectives.rto`)')
  }
  if (objective === undefined) found.push('Say how long a recovery may take (`objectives.rto`)')
  if (snapshot.note !== undefined)
    found.push('Keep snapshots for longer than the drill looks back (`retention`, `drill.pick`)')
  return found
}
