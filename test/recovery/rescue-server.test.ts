import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type AgeIdentity, makeAgeIdentity } from '../equipment/age-identity.ts'
import { type BareHost, bareHost, type RunResult, withoutBareHost } from '../equipment/bare-host.ts'
import {
  askNginx,
  type ExampleServer,
  lastCommitted,
  ROOT,
  rowsUpTo,
  setUpExample,
} from '../equipment/example-server.ts'

const skip = withoutBareHost()

let scratch: string
let key: AgeIdentity

/** The example on a host of its own, backed up, with the private key beside. */
async function patient(manager: ExampleServer['manager']): Promise<BareHost> {
  const host = await bareHost()
  setUpExample(host, { manager, recipient: key.recipient })
  copyFileSync(key.file, join(host.root, 'root/identity'))
  host.must(`cd ${ROOT} && holdfast backup --quiet`)
  return host
}

const rescue = (host: BareHost, words = '--yes --wait 30') => host.run(`cd ${ROOT} && holdfast rescue ${words}`)

function proposedIn({ stdout }: RunResult): string | undefined {
  return /What can help\n +(holdfast rescue .*)\n/.exec(stdout)?.[1]
}

const isWell = (host: BareHost) => assert.match(askNginx(host, '/health'), /"healthy"/)

describe('a server in trouble is helped by `holdfast rescue` alone', { skip, timeout: 9 * 60_000 }, () => {
  before(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'holdfast-rescue-'))
    key = await makeAgeIdentity(scratch)
  })
  after(() => rmSync(scratch, { recursive: true, force: true }))

  test('under systemd: stopped, failed for good after a bad change, unit gone, nginx broken, secrets gone', async () => {
    await using host = await patient('systemd')
    const committed = lastCommitted(host)
    host.must(`cd ${ROOT} && holdfast backup --quiet`)
    host.must('systemctl stop devrel-integration')
    const stopped = rescue(host)
    assert.equal(stopped.status, 0, stopped.stdout + stopped.stderr)
    assert.equal(proposedIn(stopped), 'holdfast rescue service')
    isWell(host)

    // Somebody else has its port: what must be stopped first is said, and nothing is done.
    host.must('systemctl stop devrel-integration')
    const squatter = host.start(
      `exec node -e "require('http').createServer((_, r) => r.writeHead(500).end()).listen(3000, '127.0.0.1')"`,
    )
    host.must('for i in $(seq 100); do ss -Hltn sport = :3000 | grep -q 3000 && exit; sleep 0.1; done; exit 1')
    const taken = rescue(host)
    assert.equal(taken.status, 1)
    assert.match(taken.stdout, /Port 3000 of the application is taken by process \d+ \(node\)/)
    assert.equal(proposedIn(taken), undefined)
    host.must("kill $(ss -Hltnp sport = :3000 | sed -E 's/.*pid=([0-9]+).*/\\1/')")
    await once(squatter, 'exit')

    // systemd gives up, and refuses every further start.
    writeFileSync(join(host.root, ROOT, 'config/bot.json'), '{ broken')
    host.must(`mkdir -p /etc/systemd/system/devrel-integration.service.d
      printf '[Unit]\\nStartLimitBurst=2\\nStartLimitIntervalSec=3600\\n[Service]\\nRestartSec=0\\n' > /etc/systemd/system/devrel-integration.service.d/limit.conf
      systemctl daemon-reload && systemctl restart devrel-integration
      for i in $(seq 100); do systemctl is-failed -q devrel-integration && exit; sleep 0.1; done; exit 1`)
    const failed = rescue(host)
    assert.equal(failed.status, 0, failed.stdout + failed.stderr)
    assert.match(failed.stdout, /devrel-integration is failed\n +it said: SyntaxError/)
    assert.match(proposedIn(failed)!, /^holdfast rescue component .*\bconfig\b/)
    isWell(host)

    host.must(
      'systemctl stop devrel-integration; rm -r /etc/systemd/system/devrel-integration.service*; systemctl daemon-reload',
    )
    const absent = rescue(host)
    assert.equal(absent.status, 0, absent.stdout + absent.stderr)
    assert.equal(proposedIn(absent), 'holdfast rescue component systemd')
    assert.equal(host.must('systemctl is-enabled devrel-integration').trim(), 'enabled')
    isWell(host)

    const since = host.must('systemctl show -P ActiveEnterTimestamp devrel-integration')
    host.must('echo "server {" > /etc/nginx/sites-available/devrel-integration; systemctl stop nginx')
    const site = rescue(host)
    assert.equal(proposedIn(site), 'holdfast rescue component nginx --without-secrets')
    assert.equal(site.status, 3, 'its key stayed as it is')
    isWell(host)
    assert.equal(
      host.must('systemctl show -P ActiveEnterTimestamp devrel-integration'),
      since,
      'it was not stopped for that',
    )

    host.must(`rm -r ${ROOT}/secrets; systemctl stop devrel-integration`)
    const secrets = rescue(host, '--yes --identity /root/identity')
    assert.equal(secrets.status, 0, secrets.stdout + secrets.stderr)
    assert.equal(proposedIn(secrets), 'holdfast rescue secrets --identity /root/identity')
    assert.equal(host.must(`stat -c %a:%U ${ROOT}/secrets ${ROOT}/secrets/.env.production`), '700:devrel\n600:devrel\n')
    isWell(host)
    assert.equal(rowsUpTo(host, committed), committed, 'no row was lost in all of this')
    assert.match(rescue(host, '--dry-run').stdout, /Nothing seems to be wrong/)
  })

  test('under pm2: stopped, and its ecosystem file gone with what pm2 knew of it', async () => {
    await using host = await patient('pm2')
    host.must('runuser -u devrel -- pm2 stop devrel-bot --silent')
    const stopped = rescue(host)
    assert.equal(stopped.status, 0, stopped.stdout + stopped.stderr)
    assert.equal(proposedIn(stopped), 'holdfast rescue service')
    isWell(host)
    host.must(`runuser -u devrel -- pm2 delete devrel-bot --silent; rm ${ROOT}/ecosystem.config.js`)
    const gone = rescue(host)
    assert.equal(gone.status, 0, gone.stdout + gone.stderr)
    assert.equal(proposedIn(gone), 'holdfast rescue component pm2')
    isWell(host)
    assert.match(rescue(host, '--dry-run').stdout, /pm2:devrel-bot is running[\s\S]*Nothing seems to be wrong/)
  })
})
