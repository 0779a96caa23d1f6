/** Whether a process of this host has the ID now. It may be another one than the ID was noted of. */
export function processLives(pid: number): boolean {
  if (pid <= 0) return false // kill(2) takes 0 and negative numbers for groups
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH' // EPERM: it lives, under another user
  }
}
