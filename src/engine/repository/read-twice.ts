import { isDamage } from './file-problem.ts'

/**
 * Reads, and reads again before anything is called damaged: the fault may lie with the line, not with what is stored. For those who
 * give up what they take for damaged.
 */
export async function readTwice<R>(read: () => Promise<R>): Promise<R> {
  try {
    return await read()
  } catch (error) {
    if (!isDamage(error)) throw error
    return read()
  }
}
