import { userInfo } from 'node:os'
import { codeOfErrno, errnoOf } from './errno.ts'

export interface CurrentUser {
  /** `''` where the user has no account, as in a container that was started with just a number. */
  readonly username: string
  readonly uid: number
  readonly gid: number
}

/** Whom this process acts as. Unlike `userInfo` of Node it needs no account to be there. */
export function currentUser(): CurrentUser {
  try {
    const { username, uid, gid } = userInfo()
    return { username, uid, gid }
  } catch (error) {
    if (codeOfErrno(errnoOf(error)) !== 'NOT_FOUND') throw error
    return { username: '', uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }
  }
}
