import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readSettingFile, trimWhiteSpace } from './setting-file.ts'

test('a file is read as restic reads a password file', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-setting-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'file')
  const read = async (bytes: Buffer) => {
    writeFileSync(path, bytes)
    return (await readSettingFile(path)).content
  }
  const cases: [string, Buffer, Buffer][] = [
    ['plain', Buffer.from('geheim\n'), Buffer.from('geheim')],
    ['white space inside stays', Buffer.from('  a b \r\n\n'), Buffer.from('a b')],
    ['UTF-8 with a mark', Buffer.from('\ufeffgrün\n'), Buffer.from('grün')],
    ['UTF-16, little end first', Buffer.from('\ufeffgrün\n', 'utf16le'), Buffer.from('grün')],
    ['UTF-16, big end first', Buffer.from('\ufeffgrün\n', 'utf16le').swap16(), Buffer.from('grün')],
    ['bytes that are no UTF-8', Buffer.from([0xff, 0x80, 0x0a]), Buffer.from([0xff, 0x80])],
    ['decomposed characters stay', Buffer.from('e\u0301'), Buffer.from('e\u0301')],
    ['empty', Buffer.from(' \n'), Buffer.from('')],
  ]
  for (const [what, bytes, expected] of cases) assert.deepEqual(await read(bytes), expected, what)

  await assert.rejects(readSettingFile('/dev/zero'), RangeError)
  await assert.rejects(readSettingFile(folder), { code: 'EISDIR' })
})

test('white space is what Unicode says, as in Go: with U+0085, without U+FEFF', () => {
  const trim = (text: string) => trimWhiteSpace(Buffer.from(text)).toString()
  assert.equal(trim('\u0085\u00a0\u2003\u3000a\u3000\u2028\u0085'), 'a')
  assert.equal(trim('a\ufeff'), 'a\ufeff')
  assert.equal(trim('\u200ba'), '\u200ba')
})
