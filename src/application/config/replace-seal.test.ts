import assert from 'node:assert/strict'
import { test } from 'node:test'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { parseConfig } from './load-config.ts'
import { replaceSeal } from './replace-seal.ts'

const recipient = async () => `age:${await identityToRecipient(await generateIdentity())}`
const [old, other, next, second] = [await recipient(), await recipient(), await recipient(), await recipient()]

const BEGIN = `# Mine, do not touch.
app: shop
root: /opt/shop
repository: /backup
`

const FORMS: Readonly<Record<string, string>> = {
  'a list in brackets': `${BEGIN}seal: [${old}, "${other}"]  # us two\ncomponents:\n  data: data/\n`,
  'a list of lines': `${BEGIN}seal:\n  - ${old} # me\n  - ${other}\ncomponents:\n  data: data/ # rows\n`,
  'one name': `${BEGIN}seal: ${old}\ncomponents:\n  data: data/\n`,
  'a component of its own': `${BEGIN}seal: [${old}]\ncomponents:\n  secrets:\n    path: secrets/\n    seal:\n      - ${other}\n  data: data/\n`,
  'only a component': `${BEGIN}components:\n  secrets: { path: secrets/, seal: ["${old}"] }\n`,
  nobody: `${BEGIN}components:\n  data: data/\n`,
  JSON: JSON.stringify({
    app: 'shop',
    root: '/opt/shop',
    repository: '/backup',
    components: { data: 'data' },
    seal: [old],
  }),
}

for (const [form, text] of Object.entries(FORMS)) {
  test(`where the config names ${form}, others are named in their place, and all else stays`, () => {
    const file = '/opt/shop/holdfast.yaml'
    const replaced = replaceSeal({ text, file }, [next, second])
    assert.deepEqual(parseConfig(replaced, file).seal, [next, second])
    assert.ok(!replaced.includes(old) && !replaced.includes(other))
    const comments = (all: string) => all.match(/# .*$/gm)?.filter((comment) => comment !== '# me')
    assert.deepEqual(comments(replaced), comments(text))
    assert.equal(replaceSeal({ text: replaced, file }, [next, second]), replaced)
  })
}

test('what cannot be put in its place is refused with what to write', () => {
  const text = JSON.stringify({ app: 'shop', root: '/opt/shop', repository: '/backup', components: { data: 'data' } })
  assert.throws(() => replaceSeal({ text, file: '/opt/shop/holdfast.yaml' }, [next]), {
    code: 'CONFIG',
    hint: `Write it by hand: seal: ["${next}"]`,
  })
  assert.throws(() => replaceSeal({ text: FORMS['one name']!, file: '/opt/shop/holdfast.yaml' }, ['nobody']), {
    code: 'CONFIG',
  })
})
