import assert from 'node:assert/strict'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { runCommand } from '../../../test/equipment/run-command.ts'
import { protectedApplication, type ScratchApplication, SECRET } from '../../../test/equipment/scratch-application.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'

const folder = temporaryFolder()
let app: ScratchApplication
let first: string
let second: string

before(async () => {
  app = await protectedApplication(folder.path)
  first = await backup('one')
  writeFileSync(join(app.root, 'config', 'app.json'), '{"port":4000}\n')
  second = await backup('two')
})
after(() => folder[Symbol.dispose]())

async function backup(reason: string): Promise<string> {
  const { messages } = await runCommand(app.root, ['backup', '--json', '--reason', reason])
  return String(messages().at(-1)?.snapshot_id)
}

test('snapshots are listed oldest first, with outcome and reason on request', async () => {
  const { out } = await runCommand(app.root, ['snapshots'])
  const [head, one, two] = out.split('\n')
  assert.match(head!, /^ID +Time +Host +App +Paths +Size$/)
  assert.ok(one!.startsWith(first.slice(0, 8)))
  assert.ok(two!.startsWith(second.slice(0, 8)))
  const long = await runCommand(app.root, ['snapshots', '--long'])
  assert.match(long.out, /complete +one .*\n.*complete +two /)
  const last = await runCommand(app.root, ['snapshots', '--latest', '1'])
  assert.doesNotMatch(last.out, new RegExp(first.slice(0, 8)))
})

test("snapshots as JSON are one array of restic's objects", async () => {
  const { out } = await runCommand(app.root, ['snapshots', '--json'])
  const snapshots = JSON.parse(out) as Record<string, unknown>[]
  assert.equal(snapshots.length, 2)
  const [, newest] = snapshots
  assert.equal(newest?.id, second)
  assert.equal(newest?.short_id, second.slice(0, 8))
  assert.equal(newest?.parent, first)
  assert.deepEqual(newest?.tags, ['app:scratch'])
  for (const key of ['time', 'tree', 'paths', 'hostname', 'username', 'uid', 'gid', 'program_version', 'summary']) {
    assert.ok(newest?.[key] !== undefined, key)
  }
})

test('a listing shows what lies at a path, long or as JSON', async () => {
  const config = join(app.root, 'config')
  const { out } = await runCommand(app.root, ['ls', config])
  assert.match(out, new RegExp(`^snapshot ${second.slice(0, 8)} of .*:\n${config}\n${config}/app\\.json\n$`))
  const long = await runCommand(app.root, ['ls', first.slice(0, 6), '-l', config, '-q'])
  assert.match(long.out, /^drwx\S+ .*\/config\n-rw\S+ .* 14 +\d{4}-\S+ \S+ {2}\S+\/config\/app\.json\n$/)
  const json = await runCommand(app.root, ['ls', '--json', config])
  const [snapshot, , file] = json.messages()
  assert.deepEqual([snapshot?.message_type, snapshot?.struct_type, snapshot?.id], ['snapshot', 'snapshot', second])
  assert.equal(file?.path, join(config, 'app.json'))
  assert.deepEqual([file?.type, file?.size, file?.struct_type], ['file', 14, 'node'])
})

test('a date means the newest snapshot that is not newer', async () => {
  const none = await runCommand(app.root, ['ls', '--at', '2020-01-01'])
  assert.equal(none.code, 1)
  assert.match(none.err, /No snapshot of scratch at or before 2020-01-01/)
  const future = await runCommand(app.root, ['ls', '--at', '2999-01-01', '--json'])
  assert.equal(future.messages()[0]?.id, second)
  const wrong = await runCommand(app.root, ['ls', '--at', 'yesterday'])
  assert.match(wrong.err, /Expected a date or time such as 2026-11-01/)
})

test('a dump is the bytes of the file and nothing else', async () => {
  const path = join(app.root, 'config', 'app.json')
  assert.equal((await runCommand(app.root, ['dump', path])).out, '{"port":4000}\n')
  assert.equal((await runCommand(app.root, ['dump', first, path])).out, '{"port":3000}\n')
})

test('a dump into a file is for its owner only, and leaves nothing behind when it fails', async () => {
  const target = join(folder.path, 'dumped')
  const { code, out } = await runCommand(app.root, ['dump', '/.holdfast/secrets.tar.gz.age', '--target', target])
  assert.equal(code, 0)
  assert.equal(out, '')
  assert.equal(statSync(target).mode & 0o777, 0o600)
  assert.match(readFileSync(target, 'latin1'), /^age-encryption\.org/)
  const before = await readdir(folder.path)
  const failed = await runCommand(app.root, ['dump', '/no/such/file', '--target', join(folder.path, 'other')])
  assert.equal(failed.code, 1)
  assert.deepEqual(await readdir(folder.path), before)
  const nowhere = await runCommand(app.root, ['dump', '/x', '--target', '/no/such/folder/x'])
  assert.match(nowhere.err, /^error: Cannot write \/no\/such\/folder\/x: its folder does not exist/)
  rmSync(target)
})

test('what cannot be shown is said plainly', async () => {
  for (const [argv, message, terminal] of [
    [['dump'], /Cannot dump: no file is named/],
    [['dump', '/nix'], /No \/nix in snapshot/],
    [['dump', app.root], /Cannot write a tar archive to a terminal/, ['stdout']],
    [['cat', 'pack', '0'], /Cannot write a pack to a terminal/, ['stdout']],
    [['cat', 'blob', 'x'], /Cannot tell which blob is meant/],
    [['cat', 'lock', '0123456789'], /No lock 0123456789 in the repository/],
    [['find', '[a'], /Cannot use the pattern \[a: a bracket is not closed/],
    [['find', '--blob', '--tree', 'a'], /Cannot look for blob and tree at once/],
    [['find', '--pack', 'f'.repeat(64)], /No pack f{64}/],
    [['diff', first, `${second}:/nix`], /No \/nix in snapshot/],
    [['dump', 'deadbeef', '/x'], /No snapshot "deadbeef"/],
    [['dump', first, '/x', '--at', '2026-01-01'], /Cannot look for a snapshot when its ID is given/],
  ] as const) {
    const { code, err, out } = await runCommand(app.root, argv, terminal === undefined ? {} : { terminal })
    assert.equal(code, 1, err)
    assert.match(err, message)
    assert.equal(out, '')
  }
})

test('no secret is found in what any of these commands print', async () => {
  for (const argv of [
    ['ls', '--json'],
    ['dump', '/.holdfast/manifest.json'],
    ['dump', '/'],
    ['find', '*', '-l'],
    ['diff', first, second, '--metadata'],
    ['cat', 'tree', `${second}:/`],
    ['snapshots', '--json'],
  ]) {
    const { out, err } = await runCommand(app.root, argv)
    assert.equal((out + err).includes(SECRET), false)
  }
})

test('a snapshot that cannot be read is reported, with exit code 3, and the others are listed', async () => {
  using copy = temporaryFolder()
  const other = await protectedApplication(copy.path)
  await runCommand(other.root, ['backup', '-q'])
  const broken = (await readdir(join(other.repository, 'snapshots')))[0]!
  await runCommand(other.root, ['backup', '-q'])
  writeFileSync(join(other.repository, 'snapshots', broken), 'not a snapshot')
  const { code, out, err } = await runCommand(other.root, ['snapshots'])
  assert.equal(code, 3)
  assert.match(err, new RegExp(`^warning: .*${broken.slice(0, 8)}`))
  assert.match(out, /1 snapshot/)
  const json = await runCommand(other.root, ['snapshots', '--json'])
  assert.equal((JSON.parse(json.out) as unknown[]).length, 1)
  assert.equal(JSON.parse(json.err).code, 'snapshot-unreadable')
})
