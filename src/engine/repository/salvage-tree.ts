import { EngineError } from '../error.ts'
import { elementSpans, memberSpan } from '../format/json-spans.ts'
import { parseTree } from '../format/tree.ts'
import type { TreeNode } from '../format/tree-node.ts'
import { isDamage } from './file-problem.ts'

export interface SalvagedTree {
  readonly nodes: readonly TreeNode[]
  /** How many entries there are that cannot be read. */
  readonly unreadable: number
}

/**
 * The entries of a tree that can be read, each on its own: one that is of an unknown type or has a broken name must not take the
 * whole folder with it. Throws `CORRUPT` when the bytes are no list of entries at all.
 */
export function salvageTree(bytes: Buffer): SalvagedTree {
  assertJson(bytes)
  const whole = { start: 0, end: bytes.length }
  const list = memberSpan(bytes, whole, 'nodes')
  if (list === undefined || bytes[list.start] !== 0x5b) throw noTree()
  const nodes: TreeNode[] = []
  let unreadable = 0
  for (const { start, end } of elementSpans(bytes, list)) {
    const alone = Buffer.concat([Buffer.from('{"nodes":['), bytes.subarray(start, end), Buffer.from(']}\n')])
    try {
      nodes.push(...parseTree(alone))
    } catch (error) {
      if (!isDamage(error)) throw error
      unreadable += 1
    }
  }
  return { nodes, unreadable }
}

function assertJson(bytes: Buffer): void {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return
  } catch (cause) {
    throw noTree(cause) // a syntax error, or more text than a string holds: not to be taken apart either way
  }
  throw noTree()
}

function noTree(cause?: unknown): EngineError {
  return new EngineError('CORRUPT', 'Cannot read tree: it is no list of entries', { facts: { what: 'tree' }, cause })
}
