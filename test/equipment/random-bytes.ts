import { createCipheriv, hash } from 'node:crypto'

/** Bytes that do not compress, the same ones for the same seed. */
export function randomBytes(length: number, seed: string | number): Buffer {
  const key = hash('sha256', String(seed), 'buffer')
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
}
