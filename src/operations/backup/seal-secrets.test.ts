import assert from 'node:assert/strict'
import test from 'node:test'
import { collectingSink } from '../../../test/equipment/collecting-sink.ts'
import { POLYNOMIAL } from '../../../test/equipment/test-repository.ts'
import { ContentStore } from '../../engine/archiver/store-content.ts'
import { createChunker } from '../../engine/kernels/chunker.ts'
import { storeStream } from './seal-secrets.ts'

/** Says whether its consumer let it go. */
function stream(pieces: readonly string[], failure?: Error) {
  const state = { released: false }
  async function* generate() {
    try {
      for (const piece of pieces) yield Buffer.from(piece)
      if (failure) throw failure
    } finally {
      state.released = true
    }
  }
  return { state, stream: generate() }
}

test('a stream of pieces of any size, empty ones too, is stored as one content', async () => {
  const sink = collectingSink()
  const { stream: pieces } = stream(['', 'one ', '', 'two', ''])
  const seen: Buffer[] = []
  const stored = await storeStream(new ContentStore(sink, createChunker(POLYNOMIAL)), pieces, (bytes) =>
    seen.push(Buffer.from(bytes)),
  )
  assert.equal(stored.size, 7)
  assert.equal(Buffer.concat(stored.content.map((id) => sink.blob('data', id))).toString(), 'one two')
  assert.equal(Buffer.concat(seen).toString(), 'one two')
})

test('a stream is released when it fails and when the repository does', async () => {
  const sink = collectingSink()
  const failing = stream(['one'], new Error('the program failed'))
  const chunker = createChunker(POLYNOMIAL)
  await assert.rejects(storeStream(new ContentStore(sink, chunker), failing.stream), /the program failed/)
  assert.ok(failing.state.released)

  const full = { ...sink, save: () => Promise.reject(new Error('no space left')) }
  const abandoned = stream(['one', 'two'])
  await assert.rejects(storeStream(new ContentStore(full, chunker), abandoned.stream), /no space left/)
  assert.ok(abandoned.state.released)
})
