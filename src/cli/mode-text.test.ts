import assert from 'node:assert/strict'
import { test } from 'node:test'
import { goMode } from '../engine/format/mode.ts'
import { goModeText, modeText } from './mode-text.ts'

test('modes read as ls prints them, and as Go does for programs', () => {
  for (const [type, stat, ls, go] of [
    ['file', 0o100644, '-rw-r--r--', '-rw-r--r--'],
    ['dir', 0o040755, 'drwxr-xr-x', 'drwxr-xr-x'],
    ['symlink', 0o120777, 'lrwxrwxrwx', 'Lrwxrwxrwx'],
    ['file', 0o104755, '-rwsr-xr-x', 'urwxr-xr-x'],
    ['file', 0o102644, '-rw-r-Sr--', 'grw-r--r--'],
    ['dir', 0o041777, 'drwxrwxrwt', 'dtrwxrwxrwx'],
    ['fifo', 0o010600, 'prw-------', 'prw-------'],
    ['dev', 0o060660, 'brw-rw----', 'Drw-rw----'],
    ['chardev', 0o020666, 'crw-rw-rw-', 'Dcrw-rw-rw-'],
  ] as const) {
    const mode = goMode(stat)
    assert.equal(modeText(type, mode), ls)
    assert.equal(goModeText(mode), go)
  }
})
