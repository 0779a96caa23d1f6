import { ApplicationError } from '../../application/error.ts'
import { readJournal } from '../../application/journal/journal.ts'
import { SCHEMA_VERSION } from '../../application/journal/journal-schema.ts'
import { journalOf } from '../journal/journal-of.ts'
import { command, type DoctorCheck, type DoctorContext, type DoctorFinding, edit, holdfast } from './doctor-check.ts'

/** The journal can be read. */
export const journalHealth: DoctorCheck<'journal'> = {
  name: 'journal',
  title: 'The journal is whole',
  async run(context) {
    const path = journalOf(context.config)
    try {
      using _ = readJournal(path)
      return []
    } catch (error) {
      if (!(error instanceof ApplicationError)) throw error
      const code = error.code === 'JOURNAL_DAMAGED' ? 'journal-damaged' : 'journal-unusable'
      return [{ severity: 'warning', code, path, message: error.message, remedy: remedyOf(error, context) }]
    }
  },
}

function remedyOf(error: ApplicationError, context: DoctorContext): DoctorFinding['remedy'] {
  if (error.code === 'JOURNAL_DAMAGED') return command(holdfast(context, 'history --rebuild'))
  const { version } = error.facts
  if (typeof version === 'number' && version < SCHEMA_VERSION) return command(holdfast(context, 'backup'))
  return edit(error.hint ?? `see what is wrong with ${journalOf(context.config)}`)
}
