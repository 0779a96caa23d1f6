const ENTRY_SIZE = 8
const VERSION = 2

const TAGS: ReadonlyMap<number, { readonly name: string; readonly hasId: boolean }> = new Map([
  [0x01, { name: 'user', hasId: false }],
  [0x02, { name: 'user', hasId: true }],
  [0x04, { name: 'group', hasId: false }],
  [0x08, { name: 'group', hasId: true }],
  [0x10, { name: 'mask', hasId: false }],
  [0x20, { name: 'other', hasId: false }],
])

/**
 * The long text form of an access list (acl(5)), with numbers for users and groups, of the attribute in which Linux stores it: a version,
 * then for each entry tag and permissions of 16 bits and an ID of 32, little-endian. Undefined for anything else.
 */
export function aclText(attribute: Buffer): string | undefined {
  if (attribute.length < 4 || (attribute.length - 4) % ENTRY_SIZE !== 0 || attribute.readUInt32LE(0) !== VERSION) {
    return undefined
  }
  let text = ''
  for (let at = 4; at < attribute.length; at += ENTRY_SIZE) {
    const tag = TAGS.get(attribute.readUInt16LE(at))
    if (tag === undefined) return undefined
    const bits = attribute.readUInt16LE(at + 2)
    const id = tag.hasId ? attribute.readUInt32LE(at + 4) : ''
    text += `${tag.name}:${id}:${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${bits & 1 ? 'x' : '-'}\n`
  }
  return text
}
