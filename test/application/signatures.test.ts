import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import test from 'node:test'
import { openGpgHome, without } from '../../src/application/sources/gpg-home.test-fixture.ts'
import { briefly, type ProtectedApplication, protectedApplication } from '../equipment/protected-application.ts'
import { rewriteSnapshot } from '../equipment/rewrite-snapshot.ts'

function sshKey(app: ProtectedApplication, name = 'signing-key'): string {
  const file = join(app.base, name)
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file])
  return `ssh:${file}`
}

async function filled() {
  const app = await protectedApplication({ config: 'config' })
  app.put('config/bot.json', 'one')
  return app
}

const KINDS = { ssh: without('ssh-keygen'), gpg: without('gpg') }

for (const [kind, skip] of Object.entries(KINDS)) {
  test(`a manifest signed with ${kind} is verified, and every change after it is found`, { skip }, async () => {
    using gpg = openGpgHome()
    using app = await filled()
    const sign = kind === 'ssh' ? sshKey(app) : `gpg:${gpg.makeKey('Signer <signer@example.com>', { signOnly: true })}`
    const { snapshot, outcome } = await app.backUp({ sign })
    assert.equal(outcome, 'succeeded')
    const honest = await app.verify({ sign })
    assert.deepEqual([honest.outcome, honest.signature, honest.findings], ['succeeded', 'valid', []])

    const repository = () => app.open()
    const changed = {
      'the manifest': await rewriteSnapshot(await repository(), snapshot, {
        manifest: (manifest) => ({ ...manifest, reason: 'another' }),
      }),
      'the manifest and the files': await rewriteSnapshot(await repository(), snapshot, {
        files: { [app.at('config/bot.json')]: 'two' },
        manifest: (manifest, tree) => ({ ...manifest, tree }),
      }),
    }
    for (const [what, id] of Object.entries(changed)) {
      const verified = await app.verify({ sign }, id)
      assert.deepEqual([verified.outcome, verified.signature], ['failed', 'invalid'], what)
      assert.ok(briefly(verified.findings).includes('error signature-invalid /.holdfast/manifest.json.sig'), what)
      await assert.rejects(app.restore({ sign }, { choice: { name: id } }), {
        code: 'MANIFEST',
        message: /^Cannot restore in place/,
      })
      assert.equal(app.read('config/bot.json'), 'one')
    }
    const files = await rewriteSnapshot(await repository(), snapshot, { files: { [app.at('config/bot.json')]: 'two' } })
    const self = await rewriteSnapshot(await repository(), snapshot, {
      files: { '/.holdfast/holdfast.yaml': 'app: evil' },
    })
    const extra = await rewriteSnapshot(await repository(), snapshot, {
      files: { '/.holdfast/secrets.tar.gz.gpg': 'x' },
    })
    const outside = await rewriteSnapshot(await repository(), snapshot, { files: { '/etc/cron.d/evil': 'x' } })
    const time = await rewriteSnapshot(await repository(), snapshot, {
      snapshot: (stored) => ({ ...stored, time: { ...stored.time, ns: stored.time.ns + 86_400_000_000_000n } }),
    })
    const app2 = await rewriteSnapshot(await repository(), snapshot, {
      snapshot: (stored) => ({ ...stored, tags: ['app:other'] }),
    })
    for (const [id, path] of [
      [files, '/'],
      [outside, '/'],
      [self, '/.holdfast/holdfast.yaml'],
      [extra, '/.holdfast/secrets.tar.gz.gpg'],
      [time, '/.holdfast/manifest.json'],
      [app2, '/.holdfast/manifest.json'],
    ] as const) {
      const verified = await app.verify({ sign }, id)
      assert.deepEqual([verified.outcome, verified.signature], ['failed', 'valid'], path)
      assert.ok(
        briefly(verified.findings).includes(`error manifest-contradicts ${path}`),
        briefly(verified.findings).join(),
      )
      await assert.rejects(app.restore({ sign }, { choice: { name: id } }), { code: 'MANIFEST' })
    }
    assert.equal((await app.restore({ sign }, { choice: { name: snapshot } })).outcome, 'succeeded')
  })
}

test('a signature of another key is invalid, one that is absent is said to be, one that cannot be checked too', {
  skip: KINDS.ssh || KINDS.gpg,
}, async () => {
  using gpg = openGpgHome()
  using app = await filled()
  const [sign, other] = [sshKey(app), sshKey(app, 'other-key')]
  await app.backUp({ sign: other })
  assert.equal((await app.verify({ sign })).signature, 'invalid')
  await app.backUp()
  const unsigned = await app.verify({ sign })
  assert.deepEqual(
    [unsigned.outcome, unsigned.signature, briefly(unsigned.findings)],
    ['failed', 'none', ['error signature-missing /.holdfast/manifest.json.sig']],
  )
  // A restore of what was made before the key was configured goes on, with a warning.
  const report = await app.restore({ sign })
  assert.deepEqual(
    [report.outcome, briefly(report.plan.findings)],
    ['succeeded', ['warning signature-missing /.holdfast/manifest.json.sig']],
  )
  await app.backUp({ sign: `gpg:${gpg.makeKey('Signer <signer@example.com>', { signOnly: true })}` })
  const unknown = await app.verify({ sign: 'gpg:nobody@example.com' })
  assert.deepEqual([unknown.outcome, unknown.signature], ['succeeded', 'unchecked'])
})

test('a signing key that cannot be used does not keep the backup from being made', { skip: KINDS.ssh }, async () => {
  using app = await filled()
  const report = await app.backUp({ sign: `ssh:${join(app.base, 'absent')}` })
  assert.equal(report.outcome, 'incomplete')
  assert.deepEqual(briefly(report.findings), ['error manifest-not-signed'])
  assert.deepEqual(
    briefly(report.manifest.findings as never),
    ['error manifest-not-signed'],
    'the manifest says so itself',
  )
  assert.equal((await app.restore()).outcome, 'succeeded')
})
