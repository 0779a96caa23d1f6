import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { type BareHost, bareHost, withoutBareHost } from '../equipment/bare-host.ts'
import {
  askNginx,
  type ExampleServer,
  lastCommitted,
  ownersAndModes,
  PASSWORD,
  REPOSITORY,
  ROOT,
  rowsUpTo,
  setUpExample,
  untilHealthy,
} from '../equipment/example-server.ts'

const skip = withoutBareHost()

/** What is left of a server that was thrown away, and what it was like. */
interface Lost {
  readonly repository: string
  readonly entries: readonly string[]
  /** The highest row that was committed when the last backup began. */
  readonly committed: number
}

let scratch: string
let gpgKey: string
let identity: string
let bySystemd: Lost
let byPm2: Lost

/** A key for the tests, made on a host that is thrown away: its agent goes with it. */
async function makeGpgKey(): Promise<{ readonly secret: string; readonly open: string }> {
  await using host = await bareHost()
  host.must(`gpg --batch --quiet --passphrase '' --quick-generate-key admin@example.com default default never`)
  return { secret: host.must('gpg --armor --export-secret-keys'), open: host.must('gpg --armor --export') }
}

async function loseServer(name: string, server: ExampleServer, publicKey?: string): Promise<Lost> {
  const repository = join(scratch, name)
  mkdirSync(repository)
  await using host = await bareHost({ [REPOSITORY]: repository })
  if (publicKey !== undefined) host.run('gpg --batch --quiet --import', { input: publicKey })
  setUpExample(host, server)
  if (server.manager === 'pm2') {
    // An operator may well have the unit of pm2 backed up with the application's own.
    host.must(`pm2 startup systemd -u devrel --hp /home/devrel && runuser -u devrel -- pm2 save --silent
      sed -i 's/systemd: .*/systemd: [devrel-integration.service, pm2-devrel.service]/' ${ROOT}/holdfast.yaml`)
  }
  host.must(`cd ${ROOT} && holdfast backup --quiet && holdfast key escrow --quiet`)
  const committed = lastCommitted(host)
  host.must(`cd ${ROOT} && holdfast backup --quiet`)
  const entries = ownersAndModes(host)
  assert.ok(lastCommitted(host) > committed, 'the application writes while it is backed up')
  return { repository, entries, committed }
}

/** A host with nothing but the repository, its password and the key. */
async function freshHost({ repository }: Lost): Promise<BareHost> {
  const host = await bareHost({ [REPOSITORY]: repository })
  writeFileSync(join(host.root, 'root/password'), `${PASSWORD}\n`, { mode: 0o600 })
  writeFileSync(join(host.root, 'root/key.asc'), gpgKey, { mode: 0o600 })
  copyFileSync(identity, join(host.root, 'root/identity'))
  host.must('rm /etc/nginx/sites-enabled/default')
  return host
}

const RECOVER = `holdfast -r ${REPOSITORY} -p password restore --full`

function eventsOf(output: string): Record<string, unknown>[] {
  return output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

/** The steps of a recovery as it told of them, `step state`, and how long each took for whoever reads the log. */
function stepsOf(output: string): string[] {
  return eventsOf(output)
    .filter((event) => event.message_type === 'step' && event.state !== 'begun')
    .map(({ step, state }) => `${step} ${state}`)
}

function timesOf(name: string, output: string): string {
  const steps = eventsOf(output).filter((event) => event.message_type === 'step' && event.state === 'done')
  return `${name}: ${steps.map(({ step, milliseconds }) => `${step} ${milliseconds} ms`).join(', ')}`
}

describe('a whole server, from the repository, its password and the key alone', { skip, timeout: 9 * 60_000 }, () => {
  before(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'holdfast-recovery-'))
    identity = join(scratch, 'identity')
    const secret = await generateIdentity()
    writeFileSync(identity, `${secret}\n`, { mode: 0o600 })
    const recipient = `age:${await identityToRecipient(secret)}`
    const key = await makeGpgKey()
    gpgKey = key.secret
    bySystemd = await loseServer('systemd', { manager: 'systemd', recipient: 'gpg:admin@example.com' }, key.open)
    byPm2 = await loseServer('pm2', { manager: 'pm2', recipient })
  })
  after(() => rmSync(scratch, { recursive: true, force: true }))

  test('under systemd: everything is back, and what was missing was said first', async (t) => {
    await using host = await freshHost(bySystemd)
    const refused = host.run(`${RECOVER} --yes --json`)
    assert.equal(refused.status, 1)
    const { error_code, hint } = JSON.parse(refused.stderr) as { error_code: string; hint: string }
    assert.equal(error_code, 'PREFLIGHT')
    assert.match(hint, /no user devrel.*--create-user.*useradd/)
    assert.match(hint, /secrets stay sealed.*--without-secrets/s)
    assert.equal(host.run(`ls ${ROOT}`).status, 2, 'nothing was changed')

    host.must('gpg --batch --quiet --import key.asc')
    const before = entriesOf(host)
    const recovered = host.run(`${RECOVER} --yes --create-user --json`)
    assert.equal(recovered.status, 0, recovered.stderr + recovered.stdout)
    t.diagnostic(timesOf('systemd', recovered.stdout))
    expectPlanned(recovered.stdout, before, entriesOf(host))
    assert.equal(host.must('systemctl is-enabled devrel-integration').trim(), 'enabled')
    assert.equal(host.must('systemctl is-active devrel-integration').trim(), 'active')
    host.must('nginx -t -q')
    assert.equal((JSON.parse(askNginx(host, '/health')) as { status: string }).status, 'healthy')
    assert.ok(lastCommitted(host) >= bySystemd.committed)
    assert.equal(rowsUpTo(host, bySystemd.committed), bySystemd.committed, 'every committed row')
    assert.deepEqual(ownersAndModes(host), bySystemd.entries)

    const by = host.must(`cat ${ROOT}/logs/installed-by`).trim().split('\n')
    assert.deepEqual(by.slice(0, 2), ['devrel', ROOT])
    const allowed = ['HOME', 'LANG', 'LC_ALL', 'LOGNAME', 'OLDPWD', 'PATH', 'PWD', 'SHLVL', 'USER', '_']
    assert.deepEqual(
      by.slice(2).filter((name) => !allowed.includes(name)),
      [],
      'nothing of our environment',
    )
    assert.equal(host.must('stat -c %a:%U /etc/holdfast/devrel-integration.key').trim(), '600:root')
    host.must(`cd ${ROOT} && holdfast backup --quiet --reason 'the first after the recovery'`)
    const drilled = host.run(`cd ${ROOT} && holdfast drill --json`)
    assert.equal(drilled.status, 0, drilled.stderr + drilled.stdout)
    assert.equal(eventsOf(drilled.stdout).at(-1)?.proof_level, 'running')
    await expectBackAfterBoot(host, 3000)
  })

  for (const { manager, unseal, key, also } of [
    {
      manager: 'systemd',
      unseal: 'gpg',
      key: '',
      also: ['+ WorkingDirectory=/srv/app2', '+ Environment=NODE_ENV=production PORT=3100'],
    },
    {
      manager: 'pm2',
      unseal: 'identity',
      key: '--identity identity',
      also: [
        "+ env: { NODE_ENV: 'development', PORT: 3100 },",
        'pm2 save; pm2 startup systemd -u app2 --hp /home/app2',
        '/etc/systemd/system/pm2-app2.service  created',
        'pm2-devrel.service is not brought back',
      ],
    },
  ]) {
    test(`under ${manager}, by the key alone, to another root, user and port, with every rewritten line in the plan`, async (t) => {
      const lost = manager === 'systemd' ? bySystemd : byPm2
      await using host = await freshHost(lost)
      if (manager === 'systemd') host.must('gpg --batch --quiet --import key.asc')
      host.must('rm password')
      const recover = `holdfast -r ${REPOSITORY} --unseal-password ${unseal} restore --full`
      const map = `--map root=/srv/app2 --map user=app2 --map port=3000:3100 ${key}`
      const dry = host.run(`${recover} ${map} --create-user --dry-run`)
      assert.equal(dry.status, 0, dry.stderr + dry.stdout)
      for (const line of [
        '+ owner: app2:app2',
        '+ health: http://localhost:3100/health',
        '+ User=app2',
        '+ ReadWritePaths=/srv/app2/data /srv/app2/logs',
        '+ server 127.0.0.1:3100;',
        'install, as app2: id -un',
        ...also,
      ]) {
        assert.ok(dry.stdout.includes(line), `the plan does not show ${line}:\n${dry.stdout}`)
      }
      assert.match(dry.stdout, /config\/bot\.json names what is different here and stays as it is/)
      const before = entriesOf(host)
      const recovered = host.run(`${recover} ${map} --create-user --yes --json`)
      assert.equal(recovered.status, 0, recovered.stderr + recovered.stdout)
      expectPlanned(recovered.stdout, before, entriesOf(host))
      t.diagnostic(timesOf(`${manager}, moved`, recovered.stdout))
      assert.equal((JSON.parse(askNginx(host, '/health')) as { status: string }).status, 'healthy')
      assert.equal(rowsUpTo(host, lost.committed, '/srv/app2'), lost.committed)
      const expected = lost.entries.map((line) =>
        line.replaceAll(ROOT, '/srv/app2').replaceAll('devrel:devrel', 'app2:app2'),
      )
      assert.deepEqual(ownersAndModes(host, '/srv/app2'), expected.sort())
      assert.equal(host.run(`ls ${ROOT}`).status, 2)
      const named = host.run(
        `grep -rlE '/opt/devrel|:3000|=3000' /srv/app2/holdfast.yaml /srv/app2/*.js /etc/nginx /etc/systemd/system`,
      )
      assert.equal(named.stdout, '', 'nothing names the old place')
      host.must('ss -Hltn sport = :3100 | grep -q 3100 && ! ss -Hltn sport = :3000 | grep -q 3000')
      assert.equal(host.must("ps -eo user=,args= | grep '[s]rc/server.js' | cut -d' ' -f1").trim(), 'app2')
      host.must('cd /srv/app2 && holdfast verify --quiet')
      if (manager === 'pm2') {
        assert.equal(pm2Units(host), '/etc/systemd/system/pm2-app2.service\n')
        await expectBackAfterBoot(host, 3100)
      }
    })
  }

  test('the plug is pulled in the middle, again and again: it goes on where it stopped', async (t) => {
    await using host = await freshHost(bySystemd)
    host.must('gpg --batch --quiet --import key.asc')
    const seen: string[] = []
    for (const moment of ['restore:code', 'restore:data', 'restore:nginx', 'systemd']) {
      const reached = await runUntil(host, `${RECOVER} --yes --create-user --json`, moment)
      assert.ok(reached, `the recovery never came to "${moment}"`)
      await host.pullPlug()
      await host.boot()
      const record = readRecord(host)
      seen.push(
        record.steps
          .filter(({ state }) => state === 'done')
          .map(({ id }) => id)
          .join(' '),
      )
    }
    // Whoever comes next need not know how it was begun.
    const recovered = host.run(`holdfast -r ${REPOSITORY} -p password rescue --yes --json`)
    assert.equal(recovered.status, 0, recovered.stderr + recovered.stdout)
    t.diagnostic(timesOf('after four power cuts', recovered.stdout))
    const skipped = stepsOf(recovered.stdout).filter((step) => step.endsWith('skipped'))
    assert.ok(skipped.includes('restore:nginx skipped'), skipped.join(', '))
    assert.ok(
      seen.every((done, index) => index === 0 || done.startsWith(seen[index - 1]!)),
      'what was done stays done',
    )
    untilHealthy(host)
    assert.equal(rowsUpTo(host, bySystemd.committed), bySystemd.committed)
    assert.deepEqual(
      ownersAndModes(host).filter((line) => !line.includes('.restored-')),
      bySystemd.entries,
    )
    assert.equal(host.must(`find ${ROOT} /etc -name '.holdfast-restore-*'`), '')
  })

  test('a health check that fails: the recovery can be gone on with, or what was there before comes back', async () => {
    await using host = await freshHost(byPm2)
    const recover = `${RECOVER} --identity identity --yes --json`
    host.must(`${recover} --create-user`)
    assert.equal(pm2Units(host), '/etc/systemd/system/pm2-devrel.service\n')
    const marked = host.must(`touch ${ROOT}/config/mine && stat -c %i ${ROOT}/config ${ROOT}/data/auth.db`)
    const boot = 'systemctl is-enabled pm2-devrel && sha256sum /home/devrel/.pm2/dump.pm2'
    const atBoot = host.must(boot)
    const config = readFileSync(join(host.root, ROOT, 'holdfast.yaml'), 'utf8')
    const unhealthy = join(host.root, 'root/unhealthy.yaml')
    writeFileSync(unhealthy, config.replace('localhost:3000/health', 'localhost:3000/nothing'))
    const failing = `${recover} --config unhealthy.yaml --wait 2`

    const rolledBack = host.run(`${failing} --rollback`)
    assert.equal(rolledBack.status, 1, rolledBack.stdout)
    assert.equal((JSON.parse(rolledBack.stderr) as { error_code: string }).error_code, 'UNHEALTHY')
    assert.match(rolledBack.stderr, /what was there before is back.*status 404/)
    assert.equal(host.must(`stat -c %i ${ROOT}/config ${ROOT}/data/auth.db`), marked, 'the very same files')
    assert.equal(readFileSync(join(host.root, ROOT, 'holdfast.yaml'), 'utf8'), config)
    assert.equal(host.must(boot), atBoot)
    untilHealthy(host)
    assert.ok(lastCommitted(host) > byPm2.committed, 'it goes on writing to what it had')

    const failed = host.run(failing)
    assert.equal(failed.status, 1)
    assert.match(failed.stderr, /run the same again: it goes on with this step/)
    assert.equal(host.run(`${recover} --wait 2`).status, 0, 'the config of the snapshot knows better')
    assert.ok(!existsSync(join(host.root, ROOT, 'config/mine')))
    assert.match(host.must(`ls ${ROOT}`), /config\.before-/)

    host.must(`${recover} --no-start`)
    assert.equal(host.run('curl -sf http://127.0.0.1:3000/health').status, 7, 'it does not run')
    assert.equal(host.must('cat /home/devrel/.pm2/dump.pm2').trim(), '[]', 'nor will it after a boot')
  })
})

/** Units that have pm2 bring back what it had saved. */
function pm2Units(host: BareHost): string {
  return host.must('grep -rls resurrect /etc/systemd/system --include=*.service || true')
}

/** Where a recovery has something to do, apart from what the application and pm2 write while they run. */
function entriesOf(host: BareHost): ReadonlySet<string> {
  const runtime = '/logs/|/data/auth\\.db-|/\\.pm2/|/\\.npm|/systemd/system/.*\\.wants$'
  return new Set(
    host.must(`find /etc /home /opt /srv /var/lib/holdfast -printf '%p\\n' | grep -Ev '${runtime}'`).trim().split('\n'),
  )
}

interface PlanMessage {
  readonly components: readonly {
    readonly changes: readonly Change[]
    readonly units: readonly { readonly before?: string }[]
  }[]
  readonly besides: readonly Change[]
}

interface Change {
  readonly path: string
  readonly change: string
}

/** All that is new on the host, and nothing else, stood in the plan as created. */
function expectPlanned(output: string, before: ReadonlySet<string>, after: ReadonlySet<string>): void {
  const plan = eventsOf(output).find((event) => event.message_type === 'plan') as unknown as PlanMessage
  const changes = [...plan.components.flatMap((component) => component.changes), ...plan.besides]
  const created = new Set(changes.filter(({ change }) => change === 'created').map(({ path }) => path))
  const isNew = [...after].filter((path) => !before.has(path))
  assert.deepEqual(
    isNew.filter((path) => !created.has(path)),
    [],
    'made without a word in the plan',
  )
  assert.deepEqual(
    [...created].filter((path) => !after.has(path) && !/\/(logs|\.pm2)\//.test(path)),
    [],
    'in the plan, and not made',
  )
}

/** Nobody logs in to start it. */
async function expectBackAfterBoot(host: BareHost, port: number): Promise<void> {
  await host.pullPlug()
  await host.boot()
  untilHealthy(host, port)
  assert.equal((JSON.parse(askNginx(host, '/health')) as { status: string }).status, 'healthy')
}

interface RecoveryRecord {
  readonly steps: readonly { readonly id: string; readonly state: string }[]
}

function readRecord(host: BareHost): RecoveryRecord {
  return JSON.parse(
    readFileSync(join(host.root, 'var/lib/holdfast/devrel-integration/recovery.json'), 'utf8'),
  ) as RecoveryRecord
}

/**
 * Runs a command until a step begins, or one after it, and leaves it running; false when it ends before. By the time the plug is
 * pulled, it may have come some steps further.
 */
async function runUntil(host: BareHost, command: string, moment: string): Promise<boolean> {
  const child = host.start(command)
  let order: string[] = []
  for await (const line of createInterface({ input: child.stdout! })) {
    const event = JSON.parse(line) as { message_type: string; step: string; state: string; steps: { step: string }[] }
    if (event.message_type === 'plan') order = event.steps.map(({ step }) => step)
    if (event.message_type !== 'step' || event.state !== 'begun') continue
    if (order.indexOf(event.step) >= order.indexOf(moment)) return true
  }
  return false
}
