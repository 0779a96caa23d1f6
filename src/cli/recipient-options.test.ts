import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkedRecipients, readRecipient, recipientProblem } from './recipient-options.ts'

const AGE = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p'
const never = new AbortController().signal

test('the program is guessed where it is plain, and a key file gets an absolute path', () => {
  for (const [typed, read] of [
    ['admin@example.com', 'gpg:admin@example.com'],
    [AGE, `age:${AGE}`],
    ['gpg:admin@example.com', 'gpg:admin@example.com'],
    ['keys/admin.asc', 'gpg:/home/op/keys/admin.asc'],
    ['age:recipients.txt', 'age:/home/op/recipients.txt'],
    ['0123456789ABCDEF0123456789ABCDEF01234567', 'gpg:0123456789ABCDEF0123456789ABCDEF01234567'],
  ] as const) {
    assert.equal(readRecipient(typed, '/home/op'), read)
  }
})

test('what is no recipient is refused', () => {
  for (const typed of ['everybody', 'age1tooshort', 'gpg:12345678']) {
    assert.throws(() => readRecipient(typed, '/'), { code: 'USAGE' })
  }
})

test('a secret key that was pasted is not repeated', () => {
  assert.throws(
    () => readRecipient('AGE-SECRET-KEY-1QQQQ', '/'),
    (error: Error) => !error.message.includes('QQQQ'),
  )
})

test('an empty answer names nobody, a comma list several', async () => {
  assert.deepEqual(await checkedRecipients([''], '/', never), [])
  assert.deepEqual(await checkedRecipients([`${AGE}, ${AGE}`], '/', never), [`age:${AGE}`, `age:${AGE}`])
  assert.equal(await recipientProblem(AGE, '/', never), undefined)
  assert.match((await recipientProblem('age:/no/such/file', '/', never)) ?? '', /no\/such\/file/)
})
