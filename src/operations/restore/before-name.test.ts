import assert from 'node:assert/strict'
import { test } from 'node:test'
import { beforeName } from './before-name.ts'

test('what was there is kept beside its place', () => {
  assert.equal(beforeName('/opt/app/data', '20261101-020000'), '/opt/app/data.before-20261101-020000')
  assert.equal(beforeName('/data', '20261101-020000'), '/data.before-20261101-020000')
})

test('a site that is replaced is not loaded a second time by nginx', () => {
  assert.equal(
    beforeName('/etc/nginx/sites-enabled/app', '20261101-020000'),
    '/etc/nginx/sites-enabled/.app.before-20261101-020000',
  )
  assert.equal(
    beforeName('/etc/nginx/conf.d/app.conf', '20261101-020000'),
    '/etc/nginx/conf.d/.app.conf.before-20261101-020000',
  )
  assert.equal(
    beforeName('/etc/nginx/sites-available/app', '20261101-020000'),
    '/etc/nginx/sites-available/app.before-20261101-020000',
  )
})
