import { ApplicationError } from '../../application/error.ts'
import { readJournal } from '../../application/journal/journal.ts'
import { journalOf } from '../journal/journal-of.ts'
import { command, type DoctorCheck, holdfast } from './doctor-check.ts'

/** The journal can be read. */
export const journalHealth: DoctorCheck = {
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
      const remedy = command(holdfast(context, 'history --rebuild'))
      return [{ severity: 'warning', code, path, message: error.message, remedy }]
    }
  },
}
