import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { isDatabaseSize, isJournalHeader, isSqliteHeader, parseSqliteHeader } from './sqlite-header.ts'

test('what SQLite writes is recognised, with its page size and journal mode', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-header-'))
  t.after(() => rmSync(directory, { recursive: true }))
  for (const pageSize of [512, 4096, 65536]) {
    for (const mode of ['delete', 'wal'] as const) {
      const file = join(directory, `${pageSize}-${mode}.db`)
      const database = new DatabaseSync(file)
      database.exec(`PRAGMA page_size=${pageSize}; PRAGMA journal_mode=${mode}; CREATE TABLE t(x)`)
      if (mode === 'wal') assert.ok(isJournalHeader(readFileSync(`${file}-wal`)))
      database.close()
      const bytes = readFileSync(file)
      assert.ok(isSqliteHeader(bytes.subarray(0, 16)))
      assert.ok(isDatabaseSize(bytes.length))
      const header = parseSqliteHeader(bytes)
      assert.equal(header?.pageSize, pageSize)
      assert.equal(header?.journalMode, mode === 'wal' ? 'wal' : 'rollback')
    }
  }
})

test('what is short, empty, encrypted or of an impossible page size is no header', () => {
  assert.equal(isSqliteHeader(Buffer.alloc(0)), false)
  assert.equal(isSqliteHeader(Buffer.from('SQLite format 3')), false)
  assert.equal(isSqliteHeader(Buffer.alloc(100, 0xa5)), false)
  const header = Buffer.alloc(100)
  header.write('SQLite format 3\0', 'latin1')
  header.writeUInt16BE(1000, 16)
  assert.equal(isSqliteHeader(header), true)
  assert.equal(parseSqliteHeader(header), undefined)
  assert.equal(isDatabaseSize(0), false)
  assert.equal(isDatabaseSize(4097), false)
  assert.equal(isJournalHeader(Buffer.alloc(8)), false)
  assert.equal(isJournalHeader(Buffer.alloc(3)), false)
})
