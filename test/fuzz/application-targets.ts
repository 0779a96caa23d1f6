import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { parseCron } from '../../src/application/config/cron.ts'
import { parseDuration } from '../../src/application/config/duration.ts'
import { createExclusion } from '../../src/application/config/exclude.ts'
import { parseConfig } from '../../src/application/config/load-config.ts'
import { parseLocation } from '../../src/application/config/location.ts'
import { isProblem } from '../../src/application/config/problem.ts'
import { parseRecipient } from '../../src/application/config/recipient.ts'
import { parseReference } from '../../src/application/config/reference.ts'
import { parseTimeZone } from '../../src/application/config/time-zone.ts'
import { allDirectives, parseNginxConfig } from '../../src/application/host/nginx-config.ts'
import { parseDefinitions, summarise } from '../../src/application/host/pm2.ts'
import { parseUnitFile, splitWords, valuesOf } from '../../src/application/host/unit-file.ts'
import { ageFraming } from '../../src/application/sources/age-framing.ts'
import { sshIdentity, sshRecipient } from '../../src/application/sources/age-ssh.ts'
import { DatabasePages } from '../../src/application/sources/database-pages.ts'
import type { Framing } from '../../src/application/sources/framing.ts'
import { parseKeyList } from '../../src/application/sources/gpg.ts'
import { openPgpFraming } from '../../src/application/sources/openpgp-framing.ts'
import { paxRecords, rawTar } from '../../src/application/sources/raw-tar.test-fixture.ts'
import { holdsPrivateKey, looksSecret } from '../../src/application/sources/secret-looking.ts'
import { isJournalHeader, parseSqliteHeader } from '../../src/application/sources/sqlite-header.ts'
import { packTar, unpackTar } from '../../src/application/sources/tar.ts'
import { parseMoment } from '../../src/cli/moment.ts'
import { trimWhiteSpace } from '../../src/cli/setting-file.ts'
import { splitWords as splitCommand } from '../../src/cli/split-words.ts'
import type { SnapshotId } from '../../src/engine/format/id.ts'
import { formatPeriod, parsePeriod } from '../../src/engine/repository/calendar-period.ts'
import { parseMaxUnused } from '../../src/engine/repository/max-unused.ts'
import { parsePackSubset, parseSize } from '../../src/engine/repository/pack-subset.ts'
import { parseKeepCount } from '../../src/engine/repository/retention-policy.ts'
import { parseGrouping } from '../../src/engine/repository/snapshot-groups.ts'
import { charactersOf, follow, parseFindPattern, startOf } from '../../src/operations/browse/find-pattern.ts'
import { encodeManifest } from '../../src/operations/manifest.ts'
import { parseManifest } from '../../src/operations/parse-manifest.ts'
import { parseRecord } from '../../src/operations/restore/restore-record.ts'
import { parseScrubState } from '../../src/operations/scrub/scrub-state.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { temporaryFolder } from '../equipment/temporary-folder.ts'
import { assertSame, type FuzzTarget, OF_VALUES, outcomeOf } from './fuzz-target.ts'

// Every parser above the engine: files of the application and of the host, what other programs print, what an operator types.

const KIB = 1024
const ID = 'ab'.repeat(32)
const STAGE = '/opt/.holdfast-restore-20261101-020000-4711-0'
const text = (...texts: readonly string[]) => texts.map((each) => Buffer.from(each))
const OF_TEXT = { base: 1024 * KIB, perByte: 400 }
const HOST = { isRoot: true, home: '/root', stateHome: undefined }

const CONFIG = `app: shop
environment: staging
root: /opt/shop
owner: shop:shop
repository: /var/backups/shop
password-file: /etc/holdfast/shop.key
components:
  config: config/
  data: { path: data/, exclude: ['*.log', '!keep.log'] }
  secrets: { path: secrets/, seal: [gpg:admin@example.com] }
  logs: { kind: files, paths: [a, b] }
exclude: [node_modules, "*.tmp"]
schedule: { backup: "0 2 * * *", timezone: UTC }
retention: { daily: 30d, weekly: 90d, monthly: 1y, yearly: 7y }
objectives: { rpo: 24h, rto: 4h }
service:
  manager: pm2   # comment
  name: "quoted"
off-site: [{ to: "sftp:u@h:/p" }]
`

const SSH_ED25519 = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8Ht8Z3j6yDWPBHQtOp/R9rjWvfMYo3MSA/K6q8D86r comment'
const SSH_PRIVATE = `-----BEGIN OPENSSH PRIVATE KEY-----
${openSshKey().toString('base64')}
-----END OPENSSH PRIVATE KEY-----
`

/** An Ed25519 key in OpenSSH's format, without a passphrase; of no use to anybody. */
function openSshKey(): Buffer {
  const string = (bytes: Buffer | string) => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(Buffer.from(bytes).length)
    return Buffer.concat([length, Buffer.from(bytes)])
  }
  const number = Buffer.from([0, 0, 0, 1])
  const publicKey = Buffer.from(SSH_ED25519.split(' ')[1]!, 'base64')
  const secret = Buffer.concat([randomBytes(32, 'seed'), publicKey.subarray(-32)])
  const inner = Buffer.concat([
    number,
    number,
    string('ssh-ed25519'),
    string(publicKey.subarray(-32)),
    string(secret),
    string('c'),
  ])
  return Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    string('none'),
    string('none'),
    string(''),
    number,
    string(publicKey),
    string(inner),
  ])
}

const mpi = (octets: number) =>
  Buffer.concat([Buffer.of((octets * 8) >> 8, (octets * 8) & 0xff), Buffer.alloc(octets, 0xff)])
const packet = (tag: number, body: Buffer) =>
  Buffer.concat([Buffer.of(0xc0 | tag, 0xff, 0, 0, body.length >> 8, body.length & 0xff), body])
const SESSION_KEY = packet(1, Buffer.concat([Buffer.of(3), Buffer.alloc(8, 0xab), Buffer.of(1), mpi(256)]))
const MESSAGE = Buffer.concat([SESSION_KEY, packet(18, Buffer.concat([Buffer.of(1), randomBytes(300, 'data')]))])
const PARTIAL = Buffer.concat([
  SESSION_KEY,
  Buffer.of(0xc0 | 18, 224 + 9),
  Buffer.of(1),
  randomBytes(511, 'a'),
  Buffer.of(20),
  randomBytes(20, 'b'),
])
const ARMORED = Buffer.from(
  `-----BEGIN PGP MESSAGE-----\nComment: x\n\n${MESSAGE.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END PGP MESSAGE-----\n`,
)
const AGE = Buffer.concat([
  Buffer.from(
    `age-encryption.org/v1\n-> X25519 ${'A'.repeat(43)}\n${'B'.repeat(42)}A\n-> ssh-rsa abcd\n${'C'.repeat(64)}\n\n--- ${'D'.repeat(42)}A\n`,
  ),
  randomBytes(16 + 300, 'age'),
])

async function packed(): Promise<Buffer> {
  async function* entries() {
    const common = { mode: 0o600, uid: 0, gid: 0, user: 'root', group: 'root', mtimeNs: 1n }
    const content = async function* () {
      yield Buffer.alloc(5, 1)
    }
    yield [
      { ...common, name: Buffer.from('secrets'), type: 'directory', size: 0, linkTarget: undefined },
      undefined,
    ] as const
    yield [
      { ...common, name: Buffer.from('secrets/ü'.repeat(20)), type: 'file', size: 5, linkTarget: undefined },
      content(),
    ] as const
    yield [
      { ...common, name: Buffer.from('\xff', 'latin1'), type: 'symlink', size: 0, linkTarget: Buffer.from('x') },
      undefined,
    ] as const
  }
  return Buffer.concat(await Array.fromAsync(packTar(entries())))
}

const pax = (records: Readonly<Record<string, string>>) => ({ name: 'x', type: 'x', content: paxRecords(records) })
const TARS = [
  await packed(),
  rawTar(
    { name: 'a', content: 'hello' },
    { name: 'b', type: '2', linkTarget: 'a' },
    { name: 'c', type: '1', linkTarget: 'a' },
  ),
  rawTar(pax({ path: 'päth', mtime: '1.5', uid: '12' }), { name: 'y', content: 'z' }, { name: 'd/', type: '5' }),
  rawTar({ name: 'large', size: 8 ** 11 }),
]

/** In pieces, as they come from a stream, and whole: both must say the same. */
function framed(create: () => Framing<unknown>, input: Buffer, size: number): unknown {
  const whole = outcomeOf(() => {
    const framing = create()
    framing.push(input)
    return framing.end()
  })
  const pieces = outcomeOf(() => {
    const framing = create()
    for (let at = 0; at < input.length; at += size) framing.push(input.subarray(at, at + size))
    return framing.end()
  })
  assertSame('what comes in pieces', pieces.value, whole.value)
  if (whole.value === undefined) {
    assertSame(
      'the refusal of what comes in pieces',
      (pieces.error as Error).constructor,
      (whole.error as Error).constructor,
    )
    throw whole.error
  }
  return whole.value
}

const DATABASE_FOLDER = temporaryFolder({ inMemory: true })
process.on('exit', () => DATABASE_FOLDER[Symbol.dispose]())
const DATABASE_FILE = join(DATABASE_FOLDER.path, 'fuzzed.db')

/** Of several levels and with rows that overflow their page, though they are small; one has a list of free pages. */
const DATABASES = ['utf8', 'utf16le'].map((encoding) => {
  const path = join(DATABASE_FOLDER.path, `${encoding}.db`)
  const database = new DatabaseSync(path)
  database.exec(
    `PRAGMA page_size = 512; PRAGMA encoding = '${encoding}'; CREATE TABLE t (id INTEGER PRIMARY KEY, a, b TEXT)`,
  )
  database.exec('CREATE TABLE w (k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID; CREATE INDEX i ON t (b)')
  const insert = database.prepare('INSERT INTO t (a, b) VALUES (?, ?)')
  for (let i = 0; i < 30; i++) insert.run(i % 3 === 0 ? i * 1.5 : randomBytes(i * 9, i), 'text '.repeat(i % 7))
  for (let i = 0; i < 8; i++) database.prepare('INSERT INTO w VALUES (?, ?)').run(`key ${i}`, randomBytes(i * 100, i))
  if (encoding === 'utf8') database.exec('DELETE FROM t WHERE id > 20')
  database.close()
  return readFileSync(path)
})

const MANIFEST = encodeManifest({
  format: 1,
  app: 'shop',
  configFile: '/opt/shop/holdfast.yaml',
  environment: 'production',
  host: 'web',
  time: '2026-11-01T02:00:00.000Z',
  who: { user: 'root', uid: 0, sudoUser: 'ops' },
  reason: 'before the update',
  versions: { holdfast: '1' },
  only: ['data'],
  tree: ID,
  self: { 'holdfast.yaml': { sha256: ID, bytes: 1 } },
  components: [
    {
      name: 'nginx',
      kind: 'nginx',
      configured: ['shop', '/etc/nginx/x'],
      paths: [{ path: '/etc/nginx/x', tree: ID, files: 1, bytes: 2 }],
      files: 1,
      bytes: 2,
      outcome: 'succeeded',
    },
  ],
  databases: [
    {
      path: '/opt/shop/data/a.db',
      bytes: 4096,
      journalMode: 'wal',
      pageSize: 4096,
      integrity: 'ok',
      fingerprint: 'f',
      capturedAt: '2026-11-01T02:00:00.000Z',
    },
  ],
  secrets: {
    archives: ['secrets.tar.gz.age'],
    recipients: ['age1'],
    digest: 'd',
    files: [{ path: '/s', component: 'x' }],
  },
  findings: [{ severity: 'note', code: 'c', message: 'm', path: '/p', hint: 'h', component: 'x' }],
  outcome: 'incomplete',
})

/** Answers of parsers that return what is wrong: refused or not. */
const accepted = (value: unknown) => value !== undefined && !isProblem(value)

export const applicationTargets: readonly FuzzTarget[] = [
  {
    name: 'config file',
    shape: 'text',
    samples: [Buffer.from(CONFIG), Buffer.from('app: a\nroot: /a\nrepository: /r\ncomponents: { x: y }\n')],
    words: [
      'app:',
      '- ',
      '&a',
      '*a',
      '!!binary',
      '<<:',
      '? ',
      '|',
      '>-',
      '%YAML',
      '{',
      '}',
      '[',
      ']',
      ': ',
      '#',
      'components:',
      '~',
      '0o17',
    ],
    parse: (input) => parseConfig(input.toString('utf8'), '/etc/holdfast/shop.yaml', HOST),
    memory: { base: 4096 * KIB, perByte: 12_000 },
    share: 0.4,
  },
  {
    name: 'manifest',
    shape: 'json',
    samples: [MANIFEST],
    parse(input) {
      const manifest = parseManifest(input, ID as SnapshotId)
      for (const { paths } of manifest.components) for (const { path } of paths) assert.match(path, /^\//)
      const again = encodeManifest(parseManifest(encodeManifest(manifest), ID as SnapshotId))
      assert.ok(again.equals(encodeManifest(manifest)), 'a manifest written again is another')
    },
    memory: { base: 1024 * KIB, perByte: 1500 },
    share: 2,
  },
  {
    name: 'scrub state',
    shape: 'json',
    samples: text(
      `{"version":1,"repository":"${ID}","last_run":1790000000,"packs":{"${ID}":[1790000000,1780000000],"${'cd'.repeat(32)}":[1,null]}}`,
      `{"version":1,"repository":"${ID}","last_run":null,"packs":{}}`,
    ),
    parse: (input) => typeof parseScrubState(input.toString('utf8'), ID) !== 'string',
    memory: OF_VALUES,
    share: 5,
  },
  {
    name: 'restore record',
    shape: 'json',
    samples: text(
      '{"format":1,"path":"/opt/data","before":"/opt/data.before-20261101-020000","kept":["/opt/data/cache"],"sidecars":["/opt/data-wal"],"process":{"pid":4711,"started":"123"},"identities":{"staged":"1:2","live":"1:3"}}',
    ),
    parse: (input) => parseRecord(input, STAGE) !== undefined,
    memory: OF_VALUES,
    share: 5,
  },
  {
    name: 'patterns of what is left out',
    shape: 'text',
    samples: text(
      'node_modules',
      '*.log\n!keep.log',
      '/data/**/cache/',
      'a[!b-d[:alpha:]]?e*',
      '**/x/**',
      'a\\*b\\ ',
      '#comment\n\\#no',
    ),
    words: ['*', '**', '**/', '/**', '?', '[a-z]', '[!', '[[:alpha:]]', '[]]', '\\', '!', '*a', 'a'],
    parse(input) {
      const lines = input.toString('latin1').slice(0, 2000).split('\n')
      const excluded = createExclusion(lines, '/opt/shop')
      for (const path of PATHS) {
        for (const isFolder of [true, false]) assert.equal(typeof excluded(path, isFolder), 'boolean')
      }
    },
    memory: { base: 2048 * KIB, perByte: 3000 },
    share: 2.5,
  },
  {
    name: 'pattern of find',
    shape: 'text',
    samples: text('*.log', '/srv/**/cache', 'a[b-d^]?e*', '[^a-z]x', 'a\\*b', '**/x/**/y'),
    words: ['*', '**', '**/', '?', '[a-z]', '[^', ']', '-', '\\', '/', '..'],
    parse(input) {
      const pattern = parseFindPattern(input.toString('utf8').slice(0, 2000))
      const names = ['srv', 'cache', 'a'.repeat(250), '\xff'].map((name) => charactersOf(Buffer.from(name, 'latin1')))
      const state = names.reduce((from, name) => follow(pattern, from, name), startOf(pattern))
      assert.ok(state === 'matched' || state.every((place) => place <= pattern.parts.length))
    },
    memory: { base: 1024 * KIB, perByte: 8000 },
    share: 3,
  },
  {
    name: 'nginx configuration',
    shape: 'text',
    samples: text(
      'server {\n  listen 443 ssl;\n  server_name example.com;\n  ssl_certificate /etc/ssl/a.pem; # comment\n  location ~ \\.php$ { root "/var/www"; }\n}\n',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: nginx's own
      'map $a ${b} { default "x y"; }\ncontent_by_lua_block { local s = "}" -- }\n return [[ } ]] }\ninclude conf.d/*.conf;',
    ),
    words: [
      '{',
      '}',
      ';',
      '${',
      '$',
      '_by_lua_block {',
      '--[[',
      ']]',
      '[[',
      'include',
      'ssl_certificate',
      "'",
      '"',
      '\\',
    ],
    parse(input) {
      for (const { args } of allDirectives(parseNginxConfig(input.toString('utf8'), '/etc/nginx/x')))
        assert.ok(Array.isArray(args))
    },
    memory: OF_TEXT,
    share: 8,
  },
  {
    name: 'unit file',
    shape: 'text',
    samples: text(
      '[Unit]\nDescription=x\n[Service]\nExecStart=/usr/bin/node "a b" \\\n  # comment\n  --port 3000\nEnvironment=A=b "C=d e"\nEnvironmentFile=-/etc/x.env\n',
    ),
    words: ['[Service]', '=', '\\\n', ';', '#', '%i', "'", '"', '\\x20'],
    parse(input) {
      const settings = parseUnitFile(input.toString('utf8'))
      for (const { value } of settings) splitWords(value)
      const [first] = settings
      if (first) assert.ok(valuesOf(settings, first.section, first.key).every((value) => value !== ''))
    },
    memory: { base: 1024 * KIB, perByte: 600 },
    share: 14,
  },
  {
    name: 'pm2 file in JSON',
    shape: 'json',
    samples: text(
      '{"apps":[{"name":"bot","script":"src/index.js","cwd":".","env":{"PORT":3000,"API_TOKEN":"abcdefgh12345678"},"env_production":{"A":1}}]}',
      '[{"script":"x"}]',
      '{"pm2":{"name":"a"}}',
    ),
    parse: (input) => ecosystem('/opt/ecosystem.json', input),
    memory: OF_VALUES,
    share: 5,
  },
  {
    name: 'pm2 file in YAML',
    shape: 'text',
    samples: text(
      'apps:\n  - name: bot\n    script: src/index.js\n    env:\n      PORT: 3000\n      API_TOKEN: abcdefgh12345678\n  - &a { script: x }\n  - *a\n',
    ),
    words: [
      '&a ',
      '*a',
      '- ',
      ': ',
      '!!set',
      '!!omap',
      '<<: *a',
      '? ',
      '|',
      '>',
      '2026-01-01',
      '0x1f',
      '{',
      '}',
      '[',
      ']',
    ],
    parse: (input) => ecosystem('/opt/ecosystem.yml', input),
    memory: { base: 4096 * KIB, perByte: 12_000 },
    share: 0.4,
  },
  {
    name: 'SQLite header',
    shape: 'bytes',
    samples: [
      Buffer.concat([
        Buffer.from('SQLite format 3\0'),
        Buffer.from('1000020200402020000000010000000a', 'hex'),
        Buffer.alloc(68),
      ]),
    ],
    parse(input) {
      isJournalHeader(input)
      const header = parseSqliteHeader(input)
      if (header) assert.ok(header.pageSize >= 512 && header.pageSize <= 65536)
      return header !== undefined
    },
    memory: { base: 1024 * KIB, perByte: 1 },
    share: 16,
  },
  {
    name: 'pages of a database',
    shape: 'bytes',
    samples: DATABASES,
    parse(input, random) {
      if (input.length < 512) return false
      // Who looks at pages has found the header sound.
      writeFileSync(DATABASE_FILE, Buffer.concat([random.pick(DATABASES).subarray(0, 100), input.subarray(100)]))
      using pages = new DatabasePages(DATABASE_FILE)
      pages.free()
      const seen = new Set<number>()
      let rows = 0
      for (let root = 1; root <= Math.min(pages.count, 40); root++) {
        for (const page of pages.tree(root, seen)) if (pages.isTableLeaf(page)) rows += pages.rows(page).rows.length
      }
      assert.ok(seen.size <= pages.count)
      return rows > 0
    },
    memory: { base: 4096 * KIB, perByte: 4000 },
    share: 1,
  },
  {
    name: 'OpenPGP message',
    shape: 'bytes',
    samples: [MESSAGE, PARTIAL, ARMORED],
    parse: (input, random) => framed(openPgpFraming, input, 1 + random.below(600)),
    memory: { base: 1024 * KIB, perByte: 2000 },
    share: 1.5,
  },
  {
    name: 'age file',
    shape: 'bytes',
    samples: [AGE],
    parse: (input, random) => framed(ageFraming, input, 1 + random.below(600)),
    memory: { base: 1024 * KIB, perByte: 2000 },
    share: 1.2,
  },
  {
    name: 'tar archive',
    shape: 'bytes',
    samples: TARS,
    async parse(input, random) {
      const size = 1 + random.below(2000)
      async function* pieces() {
        for (let at = 0; at < input.length; at += size) yield input.subarray(at, at + size)
      }
      for await (const [entry, content] of unpackTar(pieces())) {
        assert.ok(
          Number.isSafeInteger(entry.mode) && Number.isSafeInteger(entry.uid) && Number.isSafeInteger(entry.size),
        )
        if (random.oneIn(3)) continue
        let length = 0
        for await (const chunk of content) length += chunk.length
        if (entry.type === 'file') assert.equal(length, entry.size)
      }
    },
    memory: { base: 4096 * KIB, perByte: 400 },
    share: 0.6,
  },
  {
    name: 'SSH public key',
    shape: 'text',
    samples: text(SSH_ED25519),
    words: ['ssh-rsa', 'ssh-ed25519', 'AAAA', '/', '+', '='],
    parse(input) {
      sshRecipient(input.toString('utf8'))
    },
    memory: OF_TEXT,
    share: 0.8,
  },
  {
    name: 'SSH private key',
    shape: 'text',
    samples: text(SSH_PRIVATE),
    words: ['-----', 'AAAA', '/', '=', '-----BEGIN OPENSSH PRIVATE KEY-----'],
    parse(input) {
      sshIdentity(input.toString('latin1'))
    },
    memory: OF_TEXT,
    share: 2,
  },
  {
    name: 'key list of gpg',
    shape: 'text',
    samples: text(
      'tru::1:1700000000:0:3:1:5\npub:u:255:22:0123456789ABCDEF:1700000000:1800000000::u:::scESC:::::ed25519:::0:\nfpr:::::::::0123456789ABCDEF0123456789ABCDEF01234567:\nuid:u::::1700000000::HASH::Ann <ann@example.com>::::::::::0:\nsub:e:255:18:89ABCDEF01234567:1700000000::::::e:::::cv25519::\n',
    ),
    words: [':', 'pub:', 'sub:', 'fpr:', 'uid:', 'ssb:', '\\x3a', '<', '>'],
    parse: (input) => parseKeyList(input.toString('utf8'), 1_750_000_000).length > 0,
    memory: OF_TEXT,
    share: 8,
  },
  {
    name: 'what looks like a secret',
    shape: 'text',
    samples: text(
      '/opt/.env.production',
      'id_rsa.old',
      '-----BEGIN RSA PRIVATE KEY-----\nMII\n',
      '-----BEGIN  PRIVATE KEY BLOCK-----',
      'AGE-SECRET-KEY-1',
    ),
    words: ['-----BEGIN ', 'PRIVATE KEY', 'A ', '.env', '.pem', 'id_', 'PuTTY-User-Key-File-'],
    parse: (input) => looksSecret(input) !== 'no' || holdsPrivateKey(input),
    memory: OF_TEXT,
    share: 16,
  },
  {
    name: 'schedules and lengths of time',
    shape: 'text',
    samples: text(
      '0 2 * * *',
      '*/15 1-5 1,15 jan-mar mon',
      '@daily',
      '30d',
      '1d12h',
      '1y5m7d2h',
      'Europe/Berlin',
      '2026-11-01 14:30',
      '2026-11-01T14:30:05.123+01:00',
    ),
    words: ['*', '/', '-', ',', '@', 'd', 'mo', 'jan', 'sun', ' ', ':', 'T', 'Z', 'UTC', '0', '60'],
    parse(input) {
      const written = input.toString('utf8')
      const period = parsePeriod(written)
      if (period) assertSame('a period written again', parsePeriod(formatPeriod(period)) ?? period, period)
      const cron = parseCron(written)
      if (typeof cron === 'string') assertSame('a schedule in its one spelling', parseCron(cron), cron)
      const length = parseDuration(written)
      if (!isProblem(length)) assertSame('a length of time in its one spelling', parseDuration(length.text), length)
      const isZone = accepted(parseTimeZone(written))
      return period !== undefined || accepted(cron) || accepted(length) || isZone || parseMoment(written) !== undefined
    },
    // The names of all zones are compared with what was typed.
    memory: { base: 64 * 1024 * KIB, perByte: 600 },
    share: 0.8,
  },
  {
    name: 'sizes and counts',
    shape: 'text',
    samples: text('host,paths', '5%', '99.5%', '10G', '1/5', 'unlimited', '12'),
    words: ['%', '/', 'k', 'T', '.', '0', '9'.repeat(20)],
    parse(input) {
      const written = input.toString('utf8')
      const size = parseSize(written)
      assert.ok(size === undefined || (Number.isSafeInteger(size) && size >= 0))
      return [
        size,
        parseMaxUnused(written),
        parsePackSubset(written),
        parseKeepCount(written),
        parseGrouping(written),
      ].some(accepted)
    },
    memory: OF_TEXT,
    share: 16,
  },
  {
    name: 'locations, keys and references',
    shape: 'text',
    samples: text(
      '/var/backups',
      's3:https://host/bucket/path',
      'sftp:u@h:/p',
      'sftp://u@h:22//p',
      'rest:https://u:p@h/',
      'rclone:r:p',
      'gpg:a@b.c',
      `gpg:${'0123456789ABCDEF'.repeat(2)}01234567`,
      'age:age1qqqqqq',
      `age:${SSH_ED25519}`,
      'env:NAME',
      'file:/x',
    ),
    words: [
      's3:',
      'sftp:',
      'rest:',
      'rclone:',
      'gpg:',
      'age:',
      '@',
      '://',
      'age1',
      'ssh-ed25519 ',
      'AGE-SECRET-KEY-',
      'env:',
      'file:',
    ],
    parse(input) {
      const written = input.toString('utf8').slice(0, 20_000)
      return [parseLocation(written), parseRecipient(written), parseReference(written)].some(accepted)
    },
    memory: { base: 1024 * KIB, perByte: 4000 },
    share: 12,
  },
  {
    name: 'command lines and password files',
    shape: 'text',
    samples: text('pass show "a b"', "echo 'x' \\\\ y", '\ufeff  password\n', '\u2003x\u0085'),
    words: ['"', "'", '\\', '\u00a0', '\u0085', '\u3000', ' '],
    parse(input) {
      const trimmed = trimWhiteSpace(input)
      assertSame('what was trimmed before', trimWhiteSpace(trimmed), trimmed)
      splitCommand(input.toString('utf8'), 'the command')
    },
    memory: { base: 1024 * KIB, perByte: 2000 },
    share: 5,
  },
]

const PATHS = [
  '/opt/shop',
  '/opt/shop/a',
  '/opt/shop/data/x/cache',
  `/opt/shop/${'a'.repeat(250)}`,
  `/opt/shop/${'ab/'.repeat(60)}c.log`,
  '/elsewhere/x',
].map((path) => Buffer.from(path))

function ecosystem(file: string, input: Buffer): boolean {
  const text = input.toString('utf8')
  const definitions = parseDefinitions(file, text)
  return definitions !== undefined && summarise(definitions, file, text).apps.length > 0
}
