import { hasProgram } from '../../application/host/requirements.ts'
import { runProgram } from '../../application/program.ts'
import { command, type DoctorCheck, edit, type Found } from './doctor-check.ts'

/**
 * Releases of SQLite in which a sound program can corrupt its database (https://www.sqlite.org/changes.html):
 * - WAL-reset bug, 3.7.0 to 3.51.2: two connections that write or checkpoint at the same moment (https://www.sqlite.org/wal.html);
 *   fixed in 3.51.3, and for older branches in 3.50.7 and 3.44.6
 * - 3.35.0 to 3.37.1: a savepoint rolled back with `temp_store=MEMORY`
 */
export function corruptionBug(version: string): string | undefined {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number)
  if (major !== 3) return undefined
  if ((minor >= 35 && minor < 37) || (minor === 37 && patch < 2))
    return 'a rolled back savepoint can corrupt a database'
  const isFixed =
    minor > 51 || (minor === 51 && patch >= 3) || (minor === 50 && patch >= 7) || (minor === 44 && patch >= 6)
  return minor < 7 || isFixed
    ? undefined
    : 'two connections that write in WAL mode at the same moment can corrupt a database'
}

/** The SQLite that Holdfast itself uses, and the one of the system. */
export const sqliteVersions: DoctorCheck<'sqlite'> = {
  name: 'sqlite',
  title: 'SQLite has no known bug that corrupts databases',
  async run({ signal }) {
    const found: Found<'sqlite'>[] = []
    const own = corruptionBug(process.versions.sqlite ?? '')
    if (own !== undefined) {
      found.push({
        severity: 'warning',
        code: 'sqlite-bug',
        message: `Node.js ${process.versions.node} has SQLite ${process.versions.sqlite}, in which ${own}`,
        remedy: command('npm install --global node@24'),
      })
    }
    if (!(await hasProgram('sqlite3'))) return found
    const { stdout } = await runProgram('sqlite3', ['--version'], { signal })
    const version = stdout.toString().split(' ')[0] ?? ''
    const bug = corruptionBug(version)
    if (bug !== undefined) {
      found.push({
        severity: 'note',
        code: 'sqlite-bug',
        message: `The sqlite3 of this system is ${version}, in which ${bug}; programs that use the system's library are affected`,
        remedy: edit(
          'install 3.51.3 or later, or 3.50.7 or 3.44.6, when the distribution has it; applications mostly bring their own',
        ),
      })
    }
    return found
  },
}
