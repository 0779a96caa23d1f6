import { EngineError } from '../error.ts'
import { CHUNKER_DEGREE, degree, isIrreducible } from '../kernels/polynomial.ts'
import { isId } from './id.ts'
import { parseJson } from './json.ts'
import { asObject, type Place, textField, unexpected, unsignedField } from './json-fields.ts'

// The plaintext of the file `config`: JSON in one line, never compressed, in both versions.
//
//   {"version":2,"id":"<64 hex digits>","chunker_polynomial":"<hex digits>"}

/** 2 added compression. */
export type RepositoryVersion = 1 | 2

export interface RepositoryConfig {
  readonly version: RepositoryVersion
  /** 64 hex digits, random: names the repository wherever it is moved or copied to. */
  readonly id: string
  /** Irreducible and of degree 53: decides where files are cut, hence the same for ever. */
  readonly polynomial: bigint
}

/**
 * `UNSUPPORTED` for another version, and for a polynomial that would cut files in a way no other program does;
 * `CORRUPT` for what is no config.
 */
export function parseRepositoryConfig(plaintext: Buffer): RepositoryConfig {
  const place: Place = { what: 'config' }
  const fields = asObject(parseJson(plaintext, place.what), place)
  const version = unsignedField(fields, 'version', place)
  if (version !== 1 && version !== 2) {
    throw new EngineError('UNSUPPORTED', `Cannot use a repository of version ${version}: expected 1 or 2`, {
      facts: { version },
    })
  }
  const id = textField(fields, 'id', place)
  if (!isId(id)) throw unexpected(place, 'id', id, '64 lower-case hex digits')
  const digits = textField(fields, 'chunker_polynomial', place)
  if (!/^[0-9a-f]{1,16}$/i.test(digits)) throw unexpected(place, 'chunker_polynomial', digits, '1 to 16 hex digits')
  const polynomial = BigInt(`0x${digits}`)
  const fault =
    degree(polynomial) !== CHUNKER_DEGREE
      ? `is of degree ${degree(polynomial)}, expected ${CHUNKER_DEGREE}`
      : isIrreducible(polynomial)
        ? undefined
        : 'is a product of others, expected an irreducible one'
  if (fault !== undefined) {
    throw new EngineError('UNSUPPORTED', `Cannot use a repository whose chunker polynomial ${digits} ${fault}`, {
      facts: { polynomial: digits },
    })
  }
  return { version, id, polynomial }
}

/** Refuses what `parseRepositoryConfig` would: nobody could open the repository. */
export function encodeRepositoryConfig({ version, id, polynomial }: RepositoryConfig): Buffer {
  const json = `{"version":${version},"id":"${id}","chunker_polynomial":"${polynomial.toString(16)}"}`
  const plaintext = Buffer.from(json)
  parseRepositoryConfig(plaintext)
  return plaintext
}
