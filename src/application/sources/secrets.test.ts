import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  appendFileSync,
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { ApplicationError } from '../error.ts'
import type { Finding } from '../finding.ts'
import { captureSecrets, digestSecrets, extractSecrets, loadSealDigestKey, secretsArchive } from './secrets.ts'

let folder: string
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-secrets-'))
})
after(() => rmSync(folder, { recursive: true, force: true }))

const buffers = (...paths: string[]) => paths.map((path) => Buffer.from(path))
const key = Buffer.alloc(32, 7)

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(stream))
}

function make(name: string, files: Readonly<Record<string, string>>): string {
  const root = join(folder, name)
  mkdirSync(root, { mode: 0o700 })
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), content, { mode: 0o600 })
  }
  return root
}

async function captured(...paths: string[]) {
  await using capture = await captureSecrets({ name: 'secrets', paths })
  return {
    paths: capture.secrets.map(String),
    findings: capture.findings.map(({ severity, code, path }) => ({ severity, code, path })),
  }
}

test('the same secrets give the same bytes, in whatever order they are named', async () => {
  const root = make('same', { '.env': 'A=1', 'b/key': 'k' })
  const paths = buffers(root, `${root}/.env`, `${root}/b`, `${root}/b/key`)
  const first = await collect(secretsArchive(paths))
  assert.deepEqual(await collect(secretsArchive(paths.toReversed())), first)
  assert.deepEqual(await collect(secretsArchive([...paths, ...paths])), first)
  const names = execFileSync('tar', ['-tz'], { input: first }).toString().trim().split('\n')
  assert.deepEqual(
    names,
    [`${root}/`, `${root}/.env`, `${root}/b/`, `${root}/b/key`].map((path) => path.slice(1)),
  )
})

test('an archive and its extraction are equal, also for names that are not UTF-8', async () => {
  const root = make('round', { '.env': 'A=1', large: 'x'.repeat(5_000_000) })
  const odd = Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0x6b, 0xff, 0x0a])])
  writeFileSync(odd, 'odd', { mode: 0o400 })
  symlinkSync(Buffer.from([0x6b, 0xff, 0x0a]), join(root, 'link'))
  utimesSync(odd, 1_234_567_890, 1_234_567_890.987)
  await using capture = await captureSecrets({ name: 'secrets', paths: [root] })
  const target = join(folder, 'round-target')
  mkdirSync(target)
  await extractSecrets(secretsArchive(capture.secrets), target)
  const describe = (at: string) =>
    readdirSync(at, { encoding: 'buffer' })
      .map((name) => Buffer.concat([Buffer.from(`${at}/`), name]))
      .map((path) => {
        const { mode, size, mtimeNs } = lstatSync(path, { bigint: true })
        return [path.subarray(at.length).toString('latin1'), mode, size, mtimeNs]
      })
  assert.equal(describe(root).length, 4)
  assert.deepEqual(describe(join(target, root)), describe(root))
})

test('the digest tells content, mode, time, name, recipients and key apart, and nothing else', async () => {
  const root = make('digest', { '.env': 'A=1' })
  const file = join(root, '.env')
  utimesSync(file, 1000, 1000)
  const digest = (recipients = ['R1', 'R2'], withKey = key) => digestSecrets(buffers(file), withKey, recipients)
  const original = await digest()
  assert.match(original, /^[0-9a-f]{64}$/)
  assert.equal(await digest(['R2', 'R1']), original)
  utimesSync(file, 5000, 1000) // reading it is no change
  assert.equal(await digest(), original)
  const others = [
    await digest(['R1']),
    await digest(['R1', 'R2', 'R3']),
    await digest(['R1,R2']),
    await digest(['R1', 'R2'], Buffer.alloc(32)),
  ]
  writeFileSync(file, 'A=2')
  utimesSync(file, 1000, 1000)
  others.push(await digest())
  writeFileSync(file, 'A=1')
  utimesSync(file, 1000, 1001)
  others.push(await digest())
  utimesSync(file, 1000, 1000)
  chmodSync(file, 0o640)
  others.push(await digest())
  assert.equal(new Set([original, ...others]).size, 8)
  chmodSync(file, 0o600)
  assert.equal(await digest(), original)
})

test('the digest key is made once, for this user only, and made anew when it is cut short', async () => {
  const state = join(folder, 'state', 'app')
  const [first, second] = await Promise.all([loadSealDigestKey(state), loadSealDigestKey(state)])
  assert.equal(first.length, 32)
  assert.deepEqual(second, first)
  const [name] = readdirSync(state)
  const file = join(state, name as string)
  assert.equal(lstatSync(file).mode & 0o777, 0o600)
  assert.equal(lstatSync(state).mode & 0o777, 0o700)
  chmodSync(file, 0o644)
  assert.deepEqual(await loadSealDigestKey(state), first)
  assert.equal(lstatSync(file).mode & 0o777, 0o600)
  truncateSync(file, 5)
  const renewed = await loadSealDigestKey(state)
  assert.equal(renewed.length, 32)
  assert.notDeepEqual(renewed, first)
  assert.deepEqual(readdirSync(state), [name])
})

test('a path that is gone or no file is an error, or reported and left out', async () => {
  const root = make('gone', { '.env': 'A=1' })
  execFileSync('mkfifo', [join(root, 'pipe')])
  const paths = buffers(`${root}/.env`, `${root}/absent`, `${root}/pipe`)
  await assert.rejects(collect(secretsArchive(paths)), (error: ApplicationError) => {
    assert.equal(error.code, 'SOURCE')
    assert.match(error.message, /absent: ENOENT/)
    return true
  })
  const findings: Finding[] = []
  const archive = await collect(secretsArchive(paths, undefined, (finding) => findings.push(finding)))
  assert.deepEqual(
    findings.map(({ severity, code, path }) => [severity, code, path]),
    [
      ['error', 'secret-not-sealed', `${root}/absent`],
      ['error', 'secret-not-sealed', `${root}/pipe`],
    ],
  )
  assert.equal(execFileSync('tar', ['-tz'], { input: archive }).toString(), `${root}/.env\n`.slice(1))
})

test('a small file that changes all the time is reported, and still makes a whole archive', async () => {
  const root = make('changing', { log: '' })
  const file = join(root, 'log')
  const timer = setInterval(() => appendFileSync(file, 'more\n'), 1)
  const findings: Finding[] = []
  try {
    const archive = await collect(secretsArchive(buffers(file), undefined, (finding) => findings.push(finding)))
    execFileSync('tar', ['-tz'], { input: archive })
  } finally {
    clearInterval(timer)
  }
  assert.ok(findings.every(({ code }) => code === 'secret-changing'))
})

test('a large file that grows is sealed as long as it was; one that shrinks is an error', async () => {
  const root = make('large', {})
  const file = join(root, 'big')
  const size = 12_000_000
  for (const [change, expected] of [
    [() => appendFileSync(file, 'more'), 'whole'],
    [() => truncateSync(file, 6_000_000), 'error'],
  ] as const) {
    writeFileSync(file, randomBytes(size))
    const iterator = secretsArchive(buffers(file))[Symbol.asyncIterator]()
    const chunks = [(await iterator.next()).value as Buffer]
    change()
    const rest = (async () => {
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) chunks.push(next.value)
    })()
    if (expected === 'error') {
      await assert.rejects(rest, (error: ApplicationError) => {
        assert.equal(error.code, 'SOURCE')
        assert.match(error.message, /it shrank from 12000000 to 6000000 bytes/)
        return true
      })
      continue
    }
    await rest
    const list = execFileSync('tar', ['-tvz'], { input: Buffer.concat(chunks) }).toString()
    assert.match(list, / 12000000 /)
  }
})

test('an abort gives its reason', async () => {
  const root = make('abort', { '.env': 'A' })
  const reason = new Error('stop')
  await assert.rejects(collect(secretsArchive(buffers(`${root}/.env`), AbortSignal.abort(reason))), reason)
  await assert.rejects(captureSecrets({ name: 's', paths: [root] }, { signal: AbortSignal.abort(reason) }), reason)
})

test('everything under a secrets folder is secret: files, links and the folders themselves', async () => {
  const root = make('all', { '.env': 'A', 'deep/er/file.txt': 'B' })
  symlinkSync('.env', join(root, 'current'))
  execFileSync('mkfifo', [join(root, 'pipe')])
  const single = make('single', { 'service.key': 'K', 'not-asked-for': 'x' })
  assert.deepEqual(await captured(root, `${single}/service.key`), {
    paths: ['', '/.env', '/current', '/deep', '/deep/er', '/deep/er/file.txt']
      .map((path) => root + path)
      .concat(`${single}/service.key`),
    findings: [{ severity: 'note', code: 'not-a-file', path: `${root}/pipe` }],
  })
})

test('a folder named by a link is captured with what it leads to', async () => {
  const real = make('real', { '.env': 'A' })
  const link = join(folder, 'link-to-real')
  symlinkSync('real', link)
  assert.deepEqual(await captured(link), { paths: [link, real, `${real}/.env`], findings: [] })
})

test('what an operator should know is found: missing, open to all, leading outside, a database', async () => {
  const root = make('findings', { '.env': 'A', 'store.db': `SQLite format 3\0${'x'.repeat(496)}` })
  chmodSync(join(root, '.env'), 0o644)
  symlinkSync('/etc/hostname', join(root, 'outside'))
  const { findings } = await captured(root, '/nowhere/secrets')
  assert.deepEqual(findings, [
    { severity: 'warning', code: 'secret-open-to-all', path: `${root}/.env` },
    { severity: 'warning', code: 'secret-target-outside', path: `${root}/outside` },
    { severity: 'warning', code: 'database-among-secrets', path: `${root}/store.db` },
    { severity: 'error', code: 'missing', path: '/nowhere/secrets' },
  ])
})

test('an excluded path is left out, but not one that was named', async () => {
  const root = make('excluded', { '.env': 'A', 'cache/x': 'B' })
  const excluded = (path: Buffer, isDirectory: boolean) => isDirectory || path.includes('.env')
  await using capture = await captureSecrets({ name: 'secrets', paths: [root] }, { excluded })
  assert.deepEqual(capture.secrets.map(String), [root])
})

test('an unreadable secret is an error', async () => {
  // The one file that nobody can read from its start, not even root.
  const { paths, findings } = await captured('/proc/self/mem')
  assert.deepEqual([paths, findings], [[], [{ severity: 'error', code: 'unreadable', path: '/proc/self/mem' }]])
})

test('memory stays bounded for a large archive', async () => {
  const root = make('bounded', {})
  writeFileSync(join(root, 'big'), Buffer.alloc(150_000_000))
  global.gc?.()
  const before = process.memoryUsage.rss()
  let most = 0
  for await (const _ of secretsArchive(buffers(join(root, 'big')))) most = Math.max(most, process.memoryUsage.rss())
  assert.ok(most - before < 80_000_000, `${most - before} bytes more`)
  unlinkSync(join(root, 'big'))
})
