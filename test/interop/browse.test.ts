import assert from 'node:assert/strict'
import {
  appendFileSync,
  chmodSync,
  cpSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { addKey, openRepository } from '../../src/engine/repository/repository.ts'
import { localStorage } from '../../src/engine/storage/local.ts'
import { unlessRoot } from '../equipment/as-nobody.ts'
import { makeOddTree } from '../equipment/odd-tree.ts'
import { makeRepository } from '../equipment/path-operations.ts'
import { randomBytes } from '../equipment/random-bytes.ts'
import { runRestic, withoutRestic } from '../equipment/restic.ts'
import { type CommandResult, runCommand } from '../equipment/run-command.ts'
import { type TemporaryFolder, temporaryFolder } from '../equipment/temporary-folder.ts'
import { CHEAP_KDF, PASSWORD } from '../equipment/test-repository.ts'

// What restic says of a repository, we say of it: the same arguments to both, the answers compared as JSON.

interface Place {
  readonly repository: string
  readonly password: string
}

function restic(place: Place, args: readonly string[]): string {
  const { status, stdout, stderr } = runRestic(['--no-lock', ...args], place)
  assert.equal(status, 0, `restic ${args.join(' ')}: ${stderr}`)
  return stdout
}

async function holdfast(place: Place, args: readonly string[]): Promise<CommandResult> {
  const result = await runCommand('/', ['-r', place.repository, '--no-lock', ...args], {
    env: { RESTIC_PASSWORD: place.password },
  })
  assert.equal(result.code, 0, `holdfast ${args.join(' ')}: ${result.err}`)
  return result
}

async function ours(place: Place, args: readonly string[]): Promise<unknown> {
  return inOrder(JSON.parse((await holdfast(place, [...args, '--json'])).out))
}

function theirs(place: Place, args: readonly string[]): unknown {
  return inOrder(JSON.parse(restic(place, [...args, '--json'])))
}

/** Lines of JSON. */
async function sameLines(place: Place, args: readonly string[]): Promise<void> {
  const parse = (text: string) =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as unknown)
  const found = parse((await holdfast(place, [...args, '--json'])).out)
  assert.deepEqual(found.map(normal), parse(restic(place, [...args, '--json'])).map(normal), args.join(' '))
}

/**
 * Without what restic's output says otherwise for no reason: an owner 0 is left out of snapshots only, grouping sorts their tags, and the
 * tree becomes that of the folder that is listed.
 */
function normal(value: unknown): unknown {
  const { tree: _, ...object } = value as Record<string, unknown>
  if (Array.isArray(object.tags)) object.tags = object.tags.toSorted()
  for (const key of ['uid', 'gid']) if (object[key] === 0 && object.message_type !== 'node') delete object[key]
  return object
}

/** Restic's order of what it walks through side by side is by chance. */
function inOrder(value: unknown): unknown {
  if (!Array.isArray(value)) return value
  return value.map((each) => JSON.stringify(each, sorted)).sort()
}

function sorted(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function idsOf(place: Place): string[] {
  return (JSON.parse(restic(place, ['snapshots', '--json'])) as { id: string }[]).map(({ id }) => id)
}

async function compareEverything(place: Place, patterns: readonly (readonly string[])[]): Promise<void> {
  const snapshots = idsOf(place)
  for (const args of patterns) {
    assert.deepEqual(await ours(place, ['find', ...args]), theirs(place, ['find', ...args]), `find ${args.join(' ')}`)
  }
  for (const mode of ['restore-size', 'files-by-contents', 'blobs-per-file', 'raw-data']) {
    for (const args of [
      ['stats', '--mode', mode],
      ['stats', '--mode', mode, snapshots.at(-1)!],
    ]) {
      const found = (await ours(place, args)) as Record<string, number>
      assert.deepEqual(found, theirs(place, args), args.join(' '))
    }
  }
  for (const id of snapshots) {
    await sameLines(place, ['ls', id])
    await sameLines(place, ['ls', id, '/'])
    assert.equal(
      JSON.stringify(ncdu((await holdfast(place, ['ls', '--ncdu', id])).out), sorted),
      JSON.stringify(ncdu(restic(place, ['ls', '--ncdu', id])), sorted),
    )
    assert.deepEqual(await cat(place, 'snapshot', id), JSON.parse(restic(place, ['cat', 'snapshot', id])))
    assert.deepEqual(await cat(place, 'tree', id), JSON.parse(restic(place, ['cat', 'tree', id])))
  }
  for (const order of ['size', 'time', 'ctime', 'extension']) {
    await sameLines(place, ['ls', snapshots[0]!, '--sort', order])
  }
  await sameLines(place, ['ls', snapshots[0]!, '--reverse'])
  for (const [at, id] of snapshots.entries()) {
    const other = snapshots[(at + 1) % snapshots.length]!
    await sameLines(place, ['diff', id, other])
    await sameLines(place, ['diff', id, other, '--metadata'])
  }
  assert.deepEqual(await cat(place, 'config'), JSON.parse(restic(place, ['cat', 'config'])))
  assert.deepEqual(await cat(place, 'masterkey'), JSON.parse(restic(place, ['cat', 'masterkey'])))
  for (const type of ['index', 'keys'] as const) {
    const what = type === 'keys' ? 'key' : type
    for (const id of restic(place, ['list', type]).trim().split('\n').filter(Boolean)) {
      assert.deepEqual(await cat(place, what, id), JSON.parse(restic(place, ['cat', what, id])))
    }
  }
  for (const args of [[], ['--latest', '1'], ['--group-by', 'host,tags'], ['--group-by', 'paths', '--latest', '1']]) {
    const shown = (text: string) =>
      (JSON.parse(text) as { snapshots?: unknown[] }[]).map((each) =>
        JSON.stringify(each.snapshots ? { ...each, snapshots: each.snapshots.map(normal) } : normal(each), sorted),
      )
    const found = shown((await holdfast(place, ['snapshots', ...args, '--json'])).out)
    assert.deepEqual(found.sort(), shown(restic(place, ['snapshots', ...args, '--json'])).sort(), args.join(' '))
  }
}

async function cat(place: Place, ...args: string[]): Promise<unknown> {
  return JSON.parse((await holdfast(place, ['cat', ...args])).out)
}

/** The snapshot in it is compared elsewhere. */
function ncdu(text: string): unknown {
  const [major, minor, , tree] = JSON.parse(text) as unknown[]
  return [major, minor, tree]
}

describe('what restic says of a golden repository we say of it', { skip: withoutRestic() }, () => {
  for (const name of ['v1-restic-0.14', 'v2-upgraded']) {
    it(name, async () => {
      using folder = temporaryFolder()
      const repository = join(folder.path, name)
      cpSync(join(dirname(import.meta.dirname), 'golden/healthy', name), repository, { recursive: true })
      // With a key that costs nothing: it is derived a hundred times.
      const opened = await openRepository(localStorage(repository), { password: Buffer.from('golden') })
      await addKey(opened, { password: PASSWORD, kdf: CHEAP_KDF })
      rmSync(join(repository, 'keys', opened.keyId))
      await compareEverything({ repository, password: String(PASSWORD) }, [['*.txt'], ['data', '-i'], ['/**/e*']])
    })
  }
})

describe('a repository of many changes', { skip: withoutRestic() || unlessRoot }, () => {
  let folder: TemporaryFolder
  let place: Place
  const source = () => join(folder.path, 'source')
  const backup = (...args: string[]) => {
    const run = runRestic(['backup', '-q', ...args, source()], place)
    assert.equal(run.status, 0, run.stderr)
  }

  before(async () => {
    folder = temporaryFolder()
    place = { repository: join(folder.path, 'repository'), password: String(PASSWORD) }
    await makeRepository(place.repository, 2)
    makeOddTree(source())
    backup('--host', 'one', '--tag', 'first')
    const at = (name: string) => join(source(), name)
    renameSync(at('sizes'), at('moved'))
    appendFileSync(at('many/7'), 'more')
    chmodSync(at('many/8'), 0o600)
    rmSync(at('links/up'))
    mkdirSync(at('links/up'))
    writeFileSync(at('links/up/new.JSON'), 'new')
    rmSync(at('empty folder'), { recursive: true })
    symlinkSync('many', at('empty folder'))
    writeFileSync(at('a copy'), randomBytes(512 * 1024, 512 * 1024))
    linkSync(at('a copy'), at('names/another link'))
    backup('--host', 'one', '--tag', 'second,kept')
    rmSync(at('deep'), { recursive: true })
    backup('--host', 'two')
  })
  after(() => folder?.[Symbol.dispose]())

  const PATTERNS: readonly (readonly string[])[] = [
    ['*'],
    ['many/[1-3]?'],
    ['**/links/**/*a*'],
    ['/tmp/**'],
    ['deeper/*/deeper/file'],
    ['[^a-m]*t*'],
    ['NEW.json', '-i'],
    ['ÜNÏ*', '-i'],
    ['\\*\\?\\[a-z\\]'],
    ['???'],
    ['no?break'],
    ['7', '8', '-N', '2022-06-01'],
    ['times/*', '-O', '2009-02-13'],
    ['many/9*', '--host', 'two'],
    ['many/9*', '--tag', 'second'],
    ['names/*', '-R'],
    ['no such name'],
    ['moved', '..', './many/../many/1'],
  ]

  it('is found, counted, listed and compared as restic does it', async () => {
    await compareEverything(place, PATTERNS)
  })

  it('a folder of it is listed and compared by itself', async () => {
    const [first, second] = idsOf(place) as [string, string]
    await sameLines(place, ['ls', `${second}:${source()}/links`])
    await sameLines(place, ['ls', second, `${source()}/links`, `${source()}/many/7`])
    await sameLines(place, ['ls', second, '--recursive', `${source()}/links`])
    await sameLines(place, ['diff', `${first}:${source()}/many`, `${second}:${source()}/many`])
    await sameLines(place, ['diff', `${first}:${source()}/sizes`, `${second}:${source()}/moved`])
  })

  it('IDs of blobs, trees and packs lead to the files that need them', async (test: TestContext) => {
    const tree = JSON.parse(restic(place, ['cat', 'tree', `${idsOf(place)[0]!}:${source()}`])) as {
      nodes: { name: string; subtree?: string }[]
    }
    const many = tree.nodes.find(({ name }) => name === 'many')!.subtree!
    const nodes = (
      JSON.parse(restic(place, ['cat', 'tree', `${idsOf(place)[0]!}:${source()}/many`])) as {
        nodes: { content: string[] }[]
      }
    ).nodes
    const blobs = nodes.slice(0, 3).map(({ content }) => content[0]!)
    for (const args of [
      ['--tree', many],
      ['--tree', many.slice(0, 8)],
      ['--blob', ...blobs],
      ['--blob', blobs[0]!.slice(0, 8)],
    ]) {
      assert.deepEqual(await ours(place, ['find', ...args]), theirs(place, ['find', ...args]), args.join(' '))
    }
    // Restic names a blob as often as a file repeats it.
    const packs = restic(place, ['list', 'packs']).trim().split('\n')
    for (const pack of packs) {
      const expected = new Set(theirs(place, ['find', '--pack', pack]) as string[])
      assert.deepEqual(await ours(place, ['find', '--pack', pack]), [...expected], pack)
    }
    test.diagnostic(`${packs.length} packs`)
  })

  it('a blob and a pack are written as restic writes them', async () => {
    const [pack = ''] = restic(place, ['list', 'packs']).trim().split('\n')
    for (const args of [['pack', pack]]) {
      const { stdout } = runRestic(['--no-lock', 'cat', ...args], place)
      assert.equal((await holdfast(place, ['cat', ...args])).out, stdout)
    }
    const { nodes } = (await cat(place, 'tree', `${idsOf(place)[0]!}:${source()}/many`)) as {
      nodes: { content: string[] }[]
    }
    const [blob = ''] = nodes[0]!.content
    assert.equal((await holdfast(place, ['cat', 'blob', blob.slice(0, 16)])).out, restic(place, ['cat', 'blob', blob]))
  })
})
