import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { hashId } from '../format/id.ts'
import { PACK_FOLDERS, pathOf, TYPE_FOLDERS } from './layout.ts'

describe('layout', () => {
  it('each type has its path', () => {
    const id = hashId(Buffer.from('abc')) // ba7816bf…
    assert.equal(pathOf({ type: 'config', id: '' }), 'config')
    assert.equal(pathOf({ type: 'key', id }), `keys/${id}`)
    assert.equal(pathOf({ type: 'lock', id }), `locks/${id}`)
    assert.equal(pathOf({ type: 'snapshot', id }), `snapshots/${id}`)
    assert.equal(pathOf({ type: 'index', id }), `index/${id}`)
    assert.equal(pathOf({ type: 'pack', id }), `data/ba/${id}`)
  })

  it('packs are spread over one folder for each first byte', () => {
    assert.deepEqual([...TYPE_FOLDERS].sort(), ['data', 'index', 'keys', 'locks', 'snapshots'])
    assert.equal(PACK_FOLDERS.length, 256)
    assert.equal(PACK_FOLDERS[0], 'data/00')
    assert.equal(PACK_FOLDERS[255], 'data/ff')
  })
})
