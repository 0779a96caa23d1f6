import { ApplicationError } from '../error.ts'

/**
 * A parser that is fed piece by piece while the bytes go elsewhere too. Both methods throw `SEAL` when the bytes cannot
 * be what they should; `end` also when they stop too early.
 */
export interface Framing<Result> {
  push(bytes: Uint8Array): void
  end(): Result
}

/** How a parser asks for bytes: each `yield` waits until more have come. */
export interface Take {
  exactly(length: number): Generator<undefined, Buffer>
  /** Whatever is there, at least one byte. */
  some(): Generator<undefined, Buffer>
  skip(length: number): Generator<undefined, void>
  atEnd(): Generator<undefined, boolean>
  /** The next bytes will be these again. */
  giveBack(bytes: Buffer): void
  /** Offset of the next byte. */
  position(): number
}

/** Runs a parser written as if it could wait for bytes. Holds no more than it asks for, plus one piece. */
export function createFraming<Result>(parse: (take: Take) => Generator<undefined, Result>): Framing<Result> {
  let waiting: Buffer[] = []
  let available = 0
  let position = 0
  let ended = false
  let result: { readonly value: Result } | undefined

  function truncated(): ApplicationError {
    return new ApplicationError(
      'SEAL',
      `Cannot read the seal: it ends after ${position + available} bytes, too early`,
      {
        facts: { offset: position + available },
      },
    )
  }
  const take: Take = {
    *exactly(length) {
      while (available < length) {
        if (ended) throw truncated()
        yield
      }
      const all = waiting.length === 1 ? (waiting[0] as Buffer) : Buffer.concat(waiting)
      waiting = all.length > length ? [all.subarray(length)] : []
      available -= length
      position += length
      return all.subarray(0, length)
    },
    *some() {
      if (yield* take.atEnd()) throw truncated()
      const bytes = waiting.shift() as Buffer
      available -= bytes.length
      position += bytes.length
      return bytes
    },
    *skip(length) {
      for (let left = length; left > 0; ) {
        const bytes = yield* take.some()
        if (bytes.length > left) take.giveBack(bytes.subarray(left))
        left -= Math.min(left, bytes.length)
      }
    },
    *atEnd() {
      while (available === 0) {
        if (ended) return true
        yield
      }
      return false
    },
    giveBack(bytes) {
      waiting.unshift(bytes)
      available += bytes.length
      position -= bytes.length
    },
    position: () => position,
  }
  const parser = parse(take)
  function advance(): void {
    if (result !== undefined) return
    const step = parser.next()
    if (step.done) result = { value: step.value }
  }
  return {
    push(bytes) {
      if (bytes.length === 0 || result !== undefined) return
      waiting.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
      available += bytes.length
      advance()
    },
    end() {
      ended = true
      advance()
      return (result as { value: Result }).value
    },
  }
}
