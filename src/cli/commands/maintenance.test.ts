import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeHistory } from '../../../test/equipment/history.ts'
import { withoutRestic } from '../../../test/equipment/restic.ts'
import { expectClean } from '../../../test/equipment/restic-check.ts'
import { runCommand } from '../../../test/equipment/run-command.ts'
import { cheapRepository } from '../../../test/equipment/scratch-application.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { PASSWORD } from '../../../test/equipment/test-repository.ts'
import { openRepository } from '../../engine/repository/repository.ts'
import { localStorage } from '../../engine/storage/local.ts'

const env = { HOLDFAST_PASSWORD: String(PASSWORD) }

async function history(folder: string, snapshots = 4) {
  const location = join(folder, 'repository')
  await cheapRepository(location)
  const repository = await openRepository(localStorage(location), { password: PASSWORD })
  const made = await makeHistory(repository, { snapshots })
  const holdfast = (...argv: string[]) => runCommand(folder, ['-r', location, ...argv], { env })
  const ids = async () =>
    (JSON.parse((await holdfast('snapshots', '--json')).out) as { id: string }[]).map(({ id }) => id)
  return { location, made, holdfast, ids }
}

test('a dry run of forget says what stays and why, and removes nothing', async () => {
  using folder = temporaryFolder()
  const { holdfast, made, ids } = await history(folder.path)
  const { code, out, err } = await holdfast('forget', '--keep-last', '1', '--keep-yearly', '1', '--dry-run')
  assert.deepEqual([code, err], [0, ''])
  assert.match(out, /Snapshots of host server, paths \/srv\/app\nKeep 1 snapshot:\n/)
  assert.match(out, new RegExp(`${made[3]!.id.slice(0, 8)} .* last snapshot, yearly snapshot `))
  assert.match(out, /Forget 3 snapshots:\n/)
  assert.match(out, /Would forget 3 snapshots, kept 1\n/)
  assert.equal((await ids()).length, 4)
})

test("forget as JSON is one array of restic's groups", async () => {
  using folder = temporaryFolder()
  const { holdfast, made } = await history(folder.path)
  const { out } = await holdfast('forget', '--keep-last', '3', '--json')
  const [group] = JSON.parse(out) as Record<string, unknown>[]
  assert.deepEqual(Object.keys(group!), ['tags', 'host', 'paths', 'keep', 'remove', 'reasons'])
  assert.deepEqual([group!.tags, group!.host, group!.paths], [null, 'server', ['/srv/app']])
  assert.deepEqual(
    (group!.remove as { id: string }[]).map(({ id }) => id),
    [made[0]!.id],
  )
  const [reason] = group!.reasons as { snapshot: { id: string }; matches: string[] }[]
  assert.deepEqual([reason?.snapshot.id, reason?.matches], [made[3]!.id, ['last snapshot']])
})

test('forget with prune frees what only the forgotten needed', { skip: withoutRestic() }, async () => {
  using folder = temporaryFolder()
  const { holdfast, ids, location, made } = await history(folder.path)
  const { code, out } = await holdfast('forget', '--keep-last', '2', '--prune', '--max-unused', '0')
  assert.equal(code, 0)
  assert.match(out, /Forgot 2 snapshots, kept 2\nPacks: +\d+ kept, .*\n[\s\S]*Unused then: +0 B/)
  assert.deepEqual(
    await ids(),
    made.slice(2).map(({ id }) => id),
  )
  expectClean(location)
})

test('snapshots are forgotten by ID, and prune afterwards removes what they needed', {
  skip: withoutRestic(),
}, async () => {
  using folder = temporaryFolder()
  const { holdfast, location, made } = await history(folder.path)
  const forgotten = await holdfast('forget', made[0]!.id.slice(0, 8), '--json')
  assert.deepEqual(forgotten.messages().at(-1)?.removed, [made[0]!.id])
  const dry = await holdfast('prune', '--dry-run', '--max-unused', '0', '--json')
  const planned = dry.messages().at(-1)!
  assert.equal(planned.dry_run, true)
  assert.ok((planned.bytes as Record<string, number>).remove_total! > 0)
  const { code, out } = await holdfast('prune', '--max-unused', '0', '--repack-small')
  assert.equal(code, 0)
  assert.match(out, /^Remaining: +\d+ blobs/m)
  expectClean(location)
})

test('what forget and prune would pass over in silence, or cannot read, is refused', async () => {
  for (const [argv, message] of [
    [['forget', 'abcd', '--keep-last', '1'], /Cannot apply a policy to snapshots that are named/],
    [['forget', 'abcd', '--tag', 'x'], /Cannot filter snapshots when an ID is given/],
    [['forget', '--keep-last', '1', '--max-unused', '1%'], /Cannot use --max-unused without --prune/],
    [['forget', '--keep-daily', 'many'], /Cannot use --keep-daily many: expected a whole number/],
    [['forget', '--keep-within', '7 days'], /Cannot use --keep-within 7 days: expected a period/],
    [['forget', '--keep-last', '1', '--group-by', 'user'], /Cannot use --group-by user/],
    [['prune', '--max-unused', '100%'], /Cannot use --max-unused 100%/],
    [['tag', '--set', 'a', '--add', 'b'], /Cannot use --set together/],
    [['tag'], /nobody said which/],
    [['check', '--read-data', '--read-data-subset', '1/2'], /Cannot use --read-data together/],
    [['check', '--read-data-subset', '3/2'], /Cannot use --read-data-subset 3\/2/],
    [['copy'], /Cannot open the repository to take from/],
    [['scrub', '--within', 'soon', '--state-file', 's'], /Cannot use --within: "soon"/],
    [['scrub'], /Cannot note what was read when/],
    [['init', '--from-repo', '/x'], /Cannot use --from-repo without --copy-chunker-params/],
  ] as const) {
    const { code, err } = await runCommand('/', ['-r', '/nowhere', ...argv], { env })
    assert.equal(code, 1, argv.join(' '))
    assert.match(err, message)
  }
})

test('a policy that keeps nothing is refused, and removing all needs a filter', async () => {
  using folder = temporaryFolder()
  const { holdfast, ids } = await history(folder.path, 2)
  for (const argv of [['forget'], ['forget', '--keep-tag', 'none-has-it'], ['forget', '--unsafe-allow-remove-all']]) {
    assert.equal((await holdfast(...argv)).code, 1, argv.join(' '))
  }
  assert.equal((await ids()).length, 2)
  assert.equal((await holdfast('forget', '--unsafe-allow-remove-all', '--host', 'server')).code, 0)
  assert.equal((await ids()).length, 0)
})

test('tags are added, removed and set, and the new IDs said', async () => {
  using folder = temporaryFolder()
  const { holdfast, ids, made } = await history(folder.path, 2)
  const dry = await holdfast('tag', '--add', 'a,b', '--dry-run')
  assert.match(dry.out, /^Would change the tags of 2 snapshots$/m)
  const { messages } = await holdfast('tag', '--add', 'a,b', '--json', made[0]!.id)
  const changed = messages().find(({ message_type }) => message_type === 'changed')
  assert.equal(changed?.old_snapshot_id, made[0]!.id)
  assert.equal(messages().at(-1)?.changed_snapshots, 1)
  assert.ok((await ids()).includes(String(changed?.new_snapshot_id)))
  const tags = async () => (JSON.parse((await holdfast('snapshots', '--json')).out) as { tags?: string[] }[])[0]!.tags
  assert.deepEqual(await tags(), ['a', 'b'])
  await holdfast('tag', '--tag', 'a', '--remove', 'b')
  assert.deepEqual(await tags(), ['a'])
  await holdfast('tag', '--tag', 'a', '--set', '')
  assert.equal(await tags(), undefined)
})

test('passwords are added, listed, changed and removed', async () => {
  using folder = temporaryFolder()
  const { holdfast, location } = await history(folder.path, 1)
  const second = join(folder.path, 'second')
  writeFileSync(second, 'another word\n', { mode: 0o600 })
  const added = await holdfast('key', 'add', '--new-password-file', second, '--user', 'ops', '--json')
  const id = String(added.messages().at(-1)?.key)
  const list = JSON.parse((await holdfast('key', 'list', '--json')).out) as Record<string, unknown>[]
  assert.deepEqual(
    list.map(({ id: key, current, userName }) => [key === id, current, userName === 'ops']),
    [
      [false, true, false],
      [true, false, true],
    ],
  )
  assert.match((await holdfast('key', 'list')).out, /^ ID +User +Host +Created\n\*[0-9a-f]{8} /)
  const inUse = await holdfast('key', 'remove', String(list[0]!.id))
  assert.equal(inUse.code, 1)
  assert.match(inUse.err, /the repository was opened with it/)
  assert.equal((await holdfast('key', 'remove', id.slice(0, 8))).code, 0)
  const passwd = await holdfast('key', 'passwd', '--new-password-file', second)
  assert.equal(passwd.code, 0, passwd.err)
  assert.equal((await holdfast('key', 'list')).code, 12)
  assert.equal((await runCommand('/', ['-r', location, '-p', second, 'key', 'list'])).code, 0)
})

test('a new password is asked for twice, and is never taken from where the present one is', async () => {
  using folder = temporaryFolder()
  const { holdfast, location } = await history(folder.path, 1)
  const none = await holdfast('key', 'add')
  assert.equal(none.code, 1)
  assert.match(none.err, /Cannot use an empty password[\s\S]*hint: Give --new-password-file: /)
  const typed = await runCommand('/', ['-r', location, 'key', 'add'], {
    env,
    input: 'one\rtwo\r',
    terminal: ['stdin', 'stderr'],
  })
  assert.equal(typed.code, 1)
  assert.match(typed.err, /the two entries differ/)
  assert.equal(readdirSync(join(location, 'keys')).length, 1)
})

test('copy brings snapshots into a repository that cuts files alike, once', { skip: withoutRestic() }, async () => {
  using folder = temporaryFolder()
  const { location, made } = await history(folder.path)
  const passwordFile = join(folder.path, 'password')
  writeFileSync(passwordFile, PASSWORD, { mode: 0o600 })
  const copy = join(folder.path, 'copy')
  const source = ['--from-repo', location, '--from-password-file', passwordFile]
  const run = (...argv: string[]) => runCommand('/', ['-r', copy, ...argv], { env })
  assert.equal((await run('init', ...source, '--copy-chunker-params')).code, 0)
  const dry = await run('copy', ...source, '--dry-run', '--json')
  assert.deepEqual([dry.messages().at(-1)?.same_chunker, dry.messages().at(-1)?.copied], [true, []])
  const first = await run('copy', ...source, made[3]!.id)
  assert.match(first.out, /^Copied 1 snapshot: \d+ blobs/m)
  const rest = await run('copy', ...source)
  assert.match(rest.out, /^Copied 3 snapshots: .*\n1 snapshot there already$/m)
  const fromEnvironment = await runCommand('/', ['-r', copy, 'copy', '--json'], {
    env: { ...env, RESTIC_FROM_REPOSITORY: location, RESTIC_FROM_PASSWORD_FILE: passwordFile },
  })
  assert.equal(fromEnvironment.messages().at(-1)?.present, 4)
  expectClean(copy)
})

function packsOf(location: string): string[] {
  return readdirSync(join(location, 'data'), { recursive: true, encoding: 'utf8' }).filter((name) => name.length > 60)
}

test('an index that is gone is built again', { skip: withoutRestic() }, async () => {
  using folder = temporaryFolder()
  const { holdfast, location } = await history(folder.path)
  rmSync(join(location, 'index', readdirSync(join(location, 'index'))[0]!))
  const dry = await holdfast('repair', 'index', '--dry-run')
  assert.match(dry.out, /^Would read [1-9]\d* packs? and forget 0/m)
  assert.equal((await holdfast('repair', 'index')).code, 0)
  expectClean(location)
})

test('of a damaged pack the rest is salvaged, and snapshots do without what is lost', {
  skip: withoutRestic(),
}, async () => {
  using folder = temporaryFolder()
  const { holdfast, location } = await history(folder.path)
  const pack = packsOf(location)[0]!
  const bytes = readFileSync(join(location, 'data', pack))
  bytes[40]! ^= 1
  writeFileSync(join(location, 'data', pack), bytes)
  const found = await holdfast('check', '--read-data')
  assert.equal(found.code, 1)
  assert.match(found.out, /holdfast repair packs/)
  const id = pack.slice(-64)
  const copies = join(folder.path, 'copies')
  mkdirSync(copies)
  assert.equal((await holdfast('repair', 'packs', id, '--dry-run', '--copies-to', copies)).code, 0)
  assert.deepEqual(readdirSync(copies), [])
  const packs = await holdfast('repair', 'packs', id, '--copies-to', copies)
  assert.equal(packs.code, 3)
  assert.match(packs.out, /^Salvaged \d+ blobs?, 1 lost; removed 1 pack$/m)
  assert.deepEqual(readFileSync(join(copies, `pack-${id}`)), bytes)
  const dry = await holdfast('repair', 'snapshots', '--dry-run')
  assert.match(dry.out, /^Would repair [1-4] of 4 snapshots$/m)
  const { messages } = await holdfast('repair', 'snapshots', '--forget', '--json')
  assert.equal(messages().at(-1)?.outcome, 'succeeded')
  assert.equal((await holdfast('check', '--read-data')).code, 0)
})

test('parts of the repository read one after the other are all of it', async () => {
  using folder = temporaryFolder()
  const { holdfast } = await history(folder.path)
  const read = async (...argv: string[]) =>
    Number((await holdfast('check', '--json', ...argv)).messages().at(-1)?.bytes_read)
  const all = await read('--read-data')
  assert.ok(all > 0)
  assert.equal((await read('--read-data-subset', '1/2')) + (await read('--read-data-subset', '2/2')), all)
  assert.ok((await read('--read-data-subset', '1%')) < all)
})

test('a scrub notes what it read in its state file', async () => {
  using folder = temporaryFolder()
  const { holdfast, location } = await history(folder.path)
  const { code, out } = await holdfast('scrub', '--within', '30d', '--state-file', 'scrub.json')
  assert.equal(code, 0)
  assert.match(out, /^Read \d+ of \d+ packs/m)
  assert.ok(existsSync(join(folder.path, 'scrub.json')))
  const { messages } = await holdfast('scrub', '--within', '30d', '--state-file', 'scrub.json', '--json')
  assert.equal(messages().at(-1)?.packs, packsOf(location).length)
})

test('a command of several without a name shows what there is', async () => {
  for (const [name, parts] of [
    ['key', /list.*\n.*add.*\n.*passwd.*\n.*remove <id>/],
    ['repair', /index.*\n.*packs <id…>.*\n.*snapshots/],
  ] as const) {
    assert.match((await runCommand('/', [name, '--help'])).out, parts)
    assert.equal((await runCommand('/', [name])).code, 1)
    assert.match((await runCommand('/', [name, 'nonsense'])).err, /nonsense/)
  }
})
