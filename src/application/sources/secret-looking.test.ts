import assert from 'node:assert/strict'
import { test } from 'node:test'
import { holdsPrivateKey, looksSecret } from './secret-looking.ts'

const judged = (name: string) => looksSecret(Buffer.from(`/opt/app/config/${name}`))

test('environment files and keys are secrets by name, whatever their case', () => {
  for (const name of ['.env', '.env.production', '.ENV.local', '.envrc', 'production.env', 'server.key', 'Server.KEY'])
    assert.equal(judged(name), 'yes', name)
  for (const name of ['id_rsa', 'id_ed25519', 'id_ecdsa_sk', 'store.p12', 'store.pfx', 'store.jks'])
    assert.equal(judged(name), 'yes', name)
})

test('samples without values are not', () => {
  for (const name of ['.env.example', '.env.sample', '.env.template', '.env.production.example', 'app.env.dist'])
    assert.equal(judged(name), 'no', name)
})

test('ordinary names are not, and a folder that looks secret does not colour its files', () => {
  for (const name of ['environment.json', 'keys.json', 'id_rsa.pub', 'readme.md', 'monkey', '.key/readme', 'idle'])
    assert.equal(judged(name), 'no', name)
})

test('where the name leaves it open the content decides', () => {
  for (const name of ['fullchain.pem', 'privkey.PEM', 'id_rsa.old', 'id_map.json'])
    assert.equal(judged(name), 'by-content', name)
})

test('a private key is seen in every textual form', () => {
  const kinds = ['', 'RSA ', 'EC ', 'DSA ', 'ENCRYPTED ', 'OPENSSH ', 'ANY ']
  for (const kind of kinds)
    assert.ok(holdsPrivateKey(Buffer.from(`chain\n-----BEGIN ${kind}PRIVATE KEY-----\nMII`)), kind)
  assert.ok(holdsPrivateKey(Buffer.from('-----BEGIN PGP PRIVATE KEY BLOCK-----')))
  assert.ok(holdsPrivateKey(Buffer.from('PuTTY-User-Key-File-3: ssh-ed25519')))
  assert.ok(holdsPrivateKey(Buffer.from('# created\nAGE-SECRET-KEY-1QQ')))
})

test('certificates and public keys hold none', () => {
  for (const kind of ['CERTIFICATE', 'PUBLIC KEY', 'RSA PUBLIC KEY', 'DH PARAMETERS', 'EC PARAMETERS'])
    assert.equal(holdsPrivateKey(Buffer.from(`-----BEGIN ${kind}-----\nMII`)), false)
})
