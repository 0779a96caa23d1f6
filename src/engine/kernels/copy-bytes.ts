/**
 * Copies all of `source` to the beginning of `target`. For memory that threads share: `set` and `copy` take its words one by one there,
 * which takes 13 times as long (440 µs for 1.4 MB).
 */
export function copyBytes(source: Uint8Array, target: Uint8Array): void {
  const { length } = source
  if (length > target.length) throw new RangeError(`Cannot copy ${length} bytes into ${target.length}`)
  if (length > 0) Buffer.from(target.buffer, target.byteOffset, length).fill(source)
}
