export const NOBODY = 65534

/** For the `skip` option of tests that become somebody else, or make what only root can. */
export const unlessRoot = process.getuid?.() === 0 ? false : 'needs root'

/**
 * Runs the task as a user who may do nothing in particular. Only the effective user changes, which is what the kernel
 * asks for files, so that the way back is open; nothing else may run in this process meanwhile.
 */
export async function asNobody<R>(task: () => Promise<R>): Promise<R> {
  process.setegid!(NOBODY)
  process.seteuid!(NOBODY)
  try {
    return await task()
  } finally {
    process.seteuid!(0)
    process.setegid!(0)
  }
}
