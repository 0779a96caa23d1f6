import assert from 'node:assert/strict'
import { test } from 'node:test'
import { styleFor } from './style.ts'
import { type Column, formatTable } from './table.ts'
import { displayWidth } from './terminal-text.ts'

const columns: Column[] = [{ title: 'ID' }, { title: 'Path', cut: 'middle' }, { title: 'Size', align: 'right' }]
const rows = [
  ['01234567', '/opt/app/data/auth.db', '1.50 MiB'],
  ['89abcdef', '/opt/app/文件/notes.txt', '7 B'],
]

test('columns are aligned, also below wide characters', () => {
  assert.equal(
    formatTable(columns, rows),
    [
      'ID        Path                         Size',
      '01234567  /opt/app/data/auth.db    1.50 MiB',
      '89abcdef  /opt/app/文件/notes.txt       7 B',
    ].join('\n'),
  )
})

test('a table keeps to the width, at the cost of the column that may be cut', () => {
  const table = formatTable(columns, rows, { width: 36 })
  for (const line of table.split('\n')) assert.ok(displayWidth(line) <= 36, line)
  assert.match(table, /^01234567 {2}\/opt\/app.*…/m)
  assert.match(table, /1\.50 MiB$/m)
})

test('a terminal too narrow for a table gets a block per row', () => {
  assert.equal(
    formatTable(columns, rows.slice(0, 1), { width: 24 }),
    ['ID    01234567', 'Path  /opt/app/…/auth.db', 'Size  1.50 MiB'].join('\n'),
  )
})

test('a hostile name stays within its cell', () => {
  const table = formatTable([{ title: 'Name' }], [['x\x1b[2J\nroot  fine']])
  assert.equal(table, 'Name\nx\\x1b[2J\\nroot  fine')
})

test('headings are bold where there are colours, and a missing value is empty', () => {
  assert.equal(
    formatTable([{ title: 'A' }, { title: 'B' }], [['1']], { style: styleFor(true) }),
    '\x1b[1mA  B\x1b[22m\n1',
  )
})
