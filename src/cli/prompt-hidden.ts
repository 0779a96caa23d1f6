import { EngineError } from '../engine/error.ts'
import type { Io } from './io.ts'

const ENTER = [0x0d, 0x0a]
const BACKSPACE = [0x08, 0x7f]
const CTRL_C = 0x03
const CTRL_D = 0x04
const CTRL_U = 0x15
const ESCAPE = 0x1b

/**
 * Asks on the terminal and shows nothing of what is typed. The bytes come as typed, in the terminal's encoding. Ctrl-C
 * throws `INTERRUPTED`: without echo the terminal sends it as a key, not as a signal.
 */
export async function promptHidden(io: Io, question: string, signal?: AbortSignal): Promise<Buffer> {
  signal?.throwIfAborted()
  const { stdin, stderr } = io
  stderr.write(question)
  stdin.setRawMode?.(true)
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      let typed: number[] = []
      let sequence = false
      const finish = (settle: () => void) => {
        stdin.off('data', onData)
        stdin.off('end', onEnd)
        stdin.off('error', onError)
        signal?.removeEventListener('abort', onAbort)
        stdin.pause()
        settle()
      }
      const done = () => finish(() => resolve(Buffer.from(typed)))
      const onData = (chunk: Buffer | string) => {
        const bytes = Buffer.from(chunk as Buffer)
        for (const [at, byte] of bytes.entries()) {
          if (sequence) {
            // The rest of an arrow or function key: ESC, [ or O, digits, and one final letter or tilde.
            if (byte !== 0x5b && byte !== 0x4f && byte >= 0x40) sequence = false
          } else if (ENTER.includes(byte) || (byte === CTRL_D && typed.length === 0)) {
            const rest = bytes.subarray(at + 1)
            done()
            // Typed ahead: it answers the next question.
            if (rest.length > 0) stdin.unshift(rest)
            return
          } else if (byte === CTRL_C) {
            finish(() => reject(new EngineError('INTERRUPTED', 'Interrupted by Ctrl-C')))
            return
          } else if (BACKSPACE.includes(byte)) typed = withoutLastCharacter(typed)
          else if (byte === CTRL_U) typed = []
          else if (byte === ESCAPE) sequence = true
          else if (byte >= 0x20) typed.push(byte)
        }
      }
      const onEnd = () => done()
      const onError = (error: Error) => finish(() => reject(error))
      const onAbort = () => finish(() => reject(signal?.reason))
      stdin.on('data', onData)
      stdin.on('end', onEnd)
      stdin.on('error', onError)
      signal?.addEventListener('abort', onAbort)
      stdin.resume()
    })
  } finally {
    stdin.setRawMode?.(false)
    stderr.write('\n')
  }
}

/** One character of UTF-8: its last byte, and before it all continuation bytes down to the lead byte. */
function withoutLastCharacter(bytes: readonly number[]): number[] {
  let end = bytes.length - 1
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end -= 1
  return bytes.slice(0, Math.max(0, end))
}
