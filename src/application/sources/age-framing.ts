import { ApplicationError } from '../error.ts'
import { createFraming, type Framing, type Take } from './framing.ts'

// An age file (age-encryption.org/v1), as far as it can be read without an identity:
//
//   age-encryption.org/v1
//   -> TYPE ARGUMENT…            one or more stanzas, each with a body in lines of 64 base64 characters,
//   base64 body                  the last of which is shorter than 64 (and may be empty)
//   --- MAC                      43 characters
//   nonce (16 octets), then chunks of 64 KiB, each with 16 octets of tag; only the last may be shorter

const VERSION = 'age-encryption.org/v1'
const HEADER_LIMIT = 1024 * 1024
const NONCE_SIZE = 16
const TAG_SIZE = 16
const CHUNK_SIZE = 64 * 1024 + TAG_SIZE

export interface AgeFile {
  /** Type of each stanza: `X25519`, `ssh-ed25519`, … age does not say for whom. */
  readonly stanzas: readonly string[]
}

/** Checks binary age files. Throws `SEAL`. */
export function ageFraming(): Framing<AgeFile> {
  return createFraming(function* (take) {
    const stanzas: string[] = []
    if ((yield* line(take)) !== VERSION) throw broken(take, `no age file: expected it to begin with "${VERSION}"`)
    for (let inBody = false; ; ) {
      const text = yield* line(take)
      if (inBody) {
        if (!isCanonicalBase64(text) || text.length > 64) throw broken(take, 'a stanza that is not base64')
        inBody = text.length === 64
      } else if (text.startsWith('-> ')) {
        const words = text.slice(3).split(' ')
        if (words.some((word) => !/^[\x21-\x7e]+$/.test(word))) throw broken(take, 'a malformed stanza')
        stanzas.push(words[0] as string)
        inBody = true
      } else if (text.startsWith('--- ')) {
        const mac = text.slice(4)
        if (mac.length !== 43 || !isCanonicalBase64(mac)) throw broken(take, 'a malformed end of the header')
        break
      } else {
        throw broken(take, 'a header line that is neither a stanza nor the end')
      }
    }
    if (stanzas.length === 0) throw broken(take, 'a header without stanzas')
    yield* take.skip(NONCE_SIZE)
    let size = 0
    while (!(yield* take.atEnd())) size += (yield* take.some()).length
    const last = size % CHUNK_SIZE
    // An empty last chunk is allowed only when it is the only one.
    if (size === 0 || (last !== 0 && last < TAG_SIZE) || (last === TAG_SIZE && size > TAG_SIZE)) {
      throw broken(take, `the end of ${size} octets of data, which no number of whole chunks has`)
    }
    return { stanzas }
  })
}

function* line(take: Take): Generator<undefined, string> {
  for (let text = ''; ; ) {
    const octet = yield* take.exactly(1)
    if (octet[0] === 0x0a) return text
    text += octet.toString('latin1')
    if (take.position() > HEADER_LIMIT) throw broken(take, `a header of more than ${HEADER_LIMIT} octets`)
  }
}

function isCanonicalBase64(text: string): boolean {
  return Buffer.from(text, 'base64').toString('base64').replace(/=+$/, '') === text
}

function broken(take: Take, found: string): ApplicationError {
  return new ApplicationError('SEAL', `Cannot read the seal: at byte ${take.position()} there is ${found}`, {
    facts: { offset: take.position() },
  })
}
