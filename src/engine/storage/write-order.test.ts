import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { hashId } from '../format/id.ts'
import { localStorage } from './local.ts'
import type { FileName } from './storage.ts'

const PACK: FileName = { type: 'pack', id: hashId(Buffer.from('pack')) }
const KEY: FileName = { type: 'key', id: hashId(Buffer.from('key')) }
const SHARD = PACK.id.slice(0, 2)
const CONFIG: FileName = { type: 'config', id: '' }

// What a power cut leaves cannot be tested here, but that the system was asked for the right things in the right order can.
describe('the order of system calls', { skip: !canTrace() && 'needs strace' }, () => {
  it('content is safe before its name, the name before the answer, and then nobody may write', async (test) => {
    const folder = await repository(test)
    assert.deepEqual(
      trace(folder, `await storage.write(${JSON.stringify(PACK)}, [Buffer.from('pa'), Buffer.from('ck')])`),
      [
        'create PACK-tmp O_EXCL 0600',
        'write PACK-tmp',
        'fsync PACK-tmp',
        'close PACK-tmp',
        'link PACK-tmp PACK',
        'unlink PACK-tmp',
        'open PACK/..',
        'fsync PACK/..',
        'close PACK/..',
        'chmod PACK 0400',
      ],
    )
    assert.equal(await readFile(pathOfPack(folder), 'utf8'), 'pack')
  })

  it('a new folder is safe before what is in it', async (test) => {
    const folder = await repository(test)
    rmSync(join(folder, 'data'), { recursive: true })
    const calls = trace(folder, `await storage.write(${JSON.stringify(PACK)}, Buffer.from('pack'))`)
    assert.deepEqual(calls.slice(0, 9), [
      'create PACK-tmp O_EXCL 0600 failed',
      'mkdir data 0700',
      'open .',
      'fsync .',
      'close .',
      'mkdir PACK/.. 0700',
      'open data',
      'fsync data',
      'close data',
    ])
    assert.equal(calls.at(-1), 'chmod PACK 0400')
  })

  it('a file that may be replaced is renamed', async (test) => {
    const folder = await repository(test)
    const path = JSON.stringify(join(folder, 'state'))
    assert.deepEqual(trace(folder, `await writeFileDurably(${path}, Buffer.from('state'), { mode: 0o640 })`), [
      'create state-tmp O_EXCL 0600',
      'write state-tmp',
      'chmod state-tmp 0640',
      'fsync state-tmp',
      'close state-tmp',
      'rename state-tmp state',
      'open .',
      'fsync .',
      'close .',
    ])
  })

  it('a removed key stays away, and a pack is not waited for', async (test) => {
    const folder = await repository(test)
    const storage = localStorage(folder)
    await storage.write(KEY, Buffer.from('key'))
    await storage.write(PACK, Buffer.from('pack'))
    assert.deepEqual(trace(folder, `await storage.remove(${JSON.stringify(KEY)})`), [
      'unlink KEY',
      'open KEY/..',
      'fsync KEY/..',
      'close KEY/..',
    ])
    assert.deepEqual(trace(folder, `await storage.remove(${JSON.stringify(PACK)})`), ['unlink PACK'])
  })

  it('a file system without hard links is served as well, without replacing', async (test) => {
    const folder = await repository(test)
    const calls = trace(folder, `await storage.write(${JSON.stringify(PACK)}, Buffer.from('pack'))`, NO_LINKS)
    assert.deepEqual(calls.slice(4), [
      'link PACK-tmp PACK failed',
      'rename PACK-tmp PACK',
      'open PACK/..',
      'fsync PACK/..',
      'close PACK/..',
      'chmod PACK 0400',
    ])
    const again = `await storage.write(${JSON.stringify(PACK)}, Buffer.from('other'))`
    assert.equal(codeOf(folder, again, NO_LINKS), 'EXISTS')
    assert.equal(await readFile(pathOfPack(folder), 'utf8'), 'pack')
    assert.deepEqual(await readdir(join(pathOfPack(folder), '..')), [PACK.id])
  })

  it('content that the disk does not take is never published', async (test) => {
    for (const [errno, code] of [
      ['EIO', 'STORAGE'],
      ['ENOSPC', 'NO_SPACE'],
      ['EDQUOT', 'NO_SPACE'],
    ] as const) {
      // Two parts, since they take a call of their own: one would share `write` with everything else in the process.
      for (const call of ['writev', 'fsync']) {
        const folder = await repository(test)
        const write = `await storage.write(${JSON.stringify(CONFIG)}, [Buffer.from('con'), Buffer.from('fig')])`
        assert.equal(codeOf(folder, write, [`--inject=${call}:error=${errno}`]), code, `${call} ${errno}`)
        assert.deepEqual(
          (await readdir(folder)).filter((name) => name.startsWith('config')),
          [],
        )
      }
    }
  })

  it('a file system that cannot synchronize is good enough', async (test) => {
    const folder = await repository(test)
    for (const errno of ['EINVAL', 'EOPNOTSUPP', 'ENOSYS']) {
      const write = `await storage.write(${JSON.stringify(PACK)}, Buffer.from('pack'))`
      trace(folder, write, [`--inject=fsync:error=${errno}`])
      assert.equal(await readFile(pathOfPack(folder), 'utf8'), 'pack')
      rmSync(pathOfPack(folder))
    }
  })

  it('a file system without modes is good enough', async (test) => {
    const folder = await repository(test)
    const write = `await storage.write(${JSON.stringify(PACK)}, Buffer.from('pack'))`
    trace(folder, write, ['--inject=?chmod,?fchmodat,?fchmodat2:error=EPERM'])
    assert.equal(await readFile(pathOfPack(folder), 'utf8'), 'pack')
  })
})

const NO_LINKS = ['--inject=?link,linkat:error=EPERM']

function canTrace(): boolean {
  return spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']).status === 0
}

async function repository(test: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-order-'))
  test.after(() => rm(folder, { recursive: true, force: true }))
  await localStorage(folder).create()
  return folder
}

function pathOfPack(folder: string): string {
  return join(folder, 'data', SHARD, PACK.id)
}

const CALLS = [
  ['open', 'openat', 'close', 'write', 'writev', 'pwrite64', 'pwritev', 'fsync', 'fdatasync', 'mkdir', 'mkdirat'],
  [
    'link',
    'linkat',
    'unlink',
    'unlinkat',
    'rename',
    'renameat',
    'renameat2',
    'chmod',
    'fchmod',
    'fchmodat',
    'fchmodat2',
  ],
]

/** Runs statements in a process of their own, and tells which of its system calls named something in the folder. */
function trace(folder: string, statements: string, options: readonly string[] = []): string[] {
  return traced(folder, statements, options).calls
}

/** The code that statements fail with. */
function codeOf(folder: string, statements: string, options: readonly string[]): string {
  return traced(folder, `try { ${statements} } catch (error) { process.stdout.write(error.code) }`, options).output
}

function traced(folder: string, statements: string, options: readonly string[]): { calls: string[]; output: string } {
  const log = `${folder}-trace`
  const [storage, writer] = ['./local.ts', '../os/write-file-durably.ts'].map(
    (file) => new URL(file, import.meta.url).href,
  )
  const program = `
    import { localStorage } from '${storage}'
    import { writeFileDurably } from '${writer}'
    const storage = localStorage(${JSON.stringify(folder)})
    ${statements}`
  // Whatever a machine does not have (`open` on ARM) strace is to pass over: hence the question marks.
  const filter = `trace=${CALLS.flat().map((call) => `?${call}`)}`
  const node = [process.execPath, '--input-type=module', '--eval', program]
  try {
    const output = execFileSync(
      'strace',
      ['-f', '-y', '-qq', '-s', '0', '-e', filter, ...options, '-o', log, ...node],
      {
        // One thread of the pool, lest a call that begins before another one ends be two half lines.
        env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
        encoding: 'utf8',
      },
    )
    const lines = readFileSync(log, 'utf8').split('\n')
    return { calls: lines.flatMap((line) => describeCall(line, folder) ?? []), output }
  } finally {
    rmSync(log, { force: true })
  }
}

/** A line of strace as `call paths mode`, with paths by what they are; `undefined` if it names nothing in the folder. */
function describeCall(line: string, folder: string): string | undefined {
  const [, call = '', rest = ''] = /^\d+ +(\w+)\((.*)$/.exec(line) ?? []
  // Once by its name and once as what the descriptor is open on.
  const paths = new Set(
    [...rest.matchAll(/(?<=[<"])\/[^">]*/g)].map(([path]) => path).filter((path) => path.startsWith(folder)),
  )
  if (paths.size === 0) return undefined
  const name = call.replace(/^(?:p?(write)|f?(open|link|unlink|rename|chmod|mkdir))(?:at|v|64)?2?$/, '$1$2')
  const words = [rest.includes('O_CREAT') ? 'create' : name, ...[...paths].map((path) => describePath(path, folder))]
  if (rest.includes('O_EXCL')) words.push('O_EXCL')
  const mode = /, (0[0-7]+)\)/.exec(rest)?.[1]
  if (mode !== undefined) words.push(mode)
  if (rest.includes(' = -1 ')) words.push('failed')
  return words.join(' ')
}

function describePath(path: string, folder: string): string {
  const temporary = /-tmp-\d+$/
  const name = relative(folder, path.replace(temporary, ''))
  const file = {
    [`data/${SHARD}/${PACK.id}`]: 'PACK',
    [`keys/${KEY.id}`]: 'KEY',
    [`data/${SHARD}`]: 'PACK/..',
    keys: 'KEY/..',
    '': '.',
  }
  return (file[name] ?? name) + (temporary.test(path) ? '-tmp' : '')
}
