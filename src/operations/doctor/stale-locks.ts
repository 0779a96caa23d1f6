import { hostname } from 'node:os'
import { CodedError } from '../../engine/error.ts'
import { type LockId, parseId } from '../../engine/format/id.ts'
import { parseLock } from '../../engine/format/lock.ts'
import { processLives } from '../../engine/os/process-lives.ts'
import { readParsed } from '../../engine/repository/unpacked-files.ts'
import { withRepository } from '../access.ts'
import { command, type DoctorCheck, type Found, holdfast } from './doctor-check.ts'

/** Locks that processes of this host left when they were killed: an exclusive one keeps others out for half an hour. */
export const staleLocks: DoctorCheck<'locks'> = {
  name: 'locks',
  title: 'No lock was left behind',
  async run(context) {
    const { access, signal } = context
    try {
      return await withRepository(access, { lock: 'none', signal }, async (repository) => {
        const found: Found<'locks'>[] = []
        for await (const { name } of repository.storage.list('lock', signal)) {
          const lock = await readParsed(repository, 'lock', parseId<LockId>(name.id), parseLock, signal).catch(
            () => undefined,
          )
          if (lock === undefined || lock.hostname !== hostname() || processLives(lock.pid)) continue
          found.push({
            severity: 'warning',
            code: 'lock-stale',
            message: `Process ${lock.pid} of this machine is gone and has left ${lock.exclusive ? 'an exclusive' : 'a'} lock in the repository`,
            remedy: command(holdfast(context, 'unlock')),
            fix: { kind: 'unlock' },
          })
        }
        return found
      })
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof CodedError) return [] // that it does not open is said by another check
      throw error
    }
  },
}
