import { spawn } from 'node:child_process'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { minimalEnvironment } from '../../application/program.ts'
import { isolatedCommand } from '../../engine/os/isolation.ts'
import { OperationError } from '../error.ts'
import type { InsideMessage, InsidePlan } from './inside-protocol.ts'

const PROGRAM = fileURLToPath(new URL(`./inside-main${extname(import.meta.url)}`, import.meta.url))

/**
 * Runs the plan in namespaces of its own and hands on what is said there. Resolves when nothing of it runs any more; rejects
 * with `DRILL` when the program ended without saying how, and with the signal's reason.
 */
export async function runInside(
  plan: InsidePlan,
  onMessage: (message: InsideMessage) => void,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted()
  const [program, ...args] = isolatedCommand(process.execPath, ['--disable-warning=ExperimentalWarning', PROGRAM])
  const child = spawn(program, args, {
    // The language is the machine's: it is what the application is started under.
    env: minimalEnvironment({ LANG: process.env.LANG ?? 'C.UTF-8', LC_ALL: process.env.LC_ALL }),
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    cwd: '/',
  })
  let said = ''
  let isOver = false
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-16_384)
  })
  child.on('message', (message: InsideMessage) => {
    isOver ||= message.type === 'finished' || message.type === 'failed'
    onMessage(message)
  })
  const stop = () => child.kill('SIGKILL')
  signal.addEventListener('abort', stop, { once: true })
  try {
    const ended = new Promise<void>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', () => resolve())
    })
    child.send(plan, (error) => {
      if (error !== null) stop() // it is on its way out, and says why on standard error
    })
    await ended
  } finally {
    signal.removeEventListener('abort', stop)
  }
  signal.throwIfAborted()
  if (isOver) return
  throw new OperationError(
    'DRILL',
    `Cannot run the application in isolation: ${said.trim().split('\n').at(-1) || 'the process ended by itself'}`,
    {
      facts: { said },
    },
  )
}
