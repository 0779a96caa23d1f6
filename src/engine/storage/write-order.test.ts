import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { canTrace, type SystemCall, traceSystemCalls } from '../../../test/equipment/trace-system-calls.ts'
import { hashId } from '../format/id.ts'
import { localStorage } from './local.ts'
import type { FileName } from './storage.ts'

const PACK: FileName = { type: 'pack', id: hashId(Buffer.from('pack')) }
const KEY: FileName = { type: 'key', id: hashId(Buffer.from('key')) }
const SHARD = PACK.id.slice(0, 2)
const CONFIG: FileName = { type: 'config', id: '' }

// What a power cut leaves is for test/robustness/power-cut.test.ts; here, that the system is asked for the right things in order.
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

async function repository(test: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-order-'))
  test.after(() => rm(folder, { recursive: true, force: true }))
  await localStorage(folder).create()
  return folder
}

function pathOfPack(folder: string): string {
  return join(folder, 'data', SHARD, PACK.id)
}

/** Runs statements in a process of their own, and tells which of its system calls named something in the folder. */
function trace(folder: string, statements: string, options: readonly string[] = []): string[] {
  return traced(folder, statements, options).calls
}

/** The code that statements fail with. */
function codeOf(folder: string, statements: string, options: readonly string[]): string {
  return traced(folder, `try { ${statements} } catch (error) { process.stdout.write(error.code) }`, options).output
}

function traced(folder: string, statements: string, options: readonly string[]): { calls: string[]; output: string } {
  const [storage, writer] = ['./local.ts', '../os/write-file-durably.ts'].map(
    (file) => new URL(file, import.meta.url).href,
  )
  const program = `
    import { localStorage } from '${storage}'
    import { writeFileDurably } from '${writer}'
    const storage = localStorage(${JSON.stringify(folder)})
    ${statements}`
  const { calls, output } = traceSystemCalls(folder, ['--input-type=module', '--eval', program], options)
  return { calls: calls.map((call) => describeCall(call, folder)), output }
}

/** `call paths mode`, with paths by what they are. */
function describeCall({ name, paths, creates, isExclusive, mode, failed }: SystemCall, folder: string): string {
  const words = [creates ? 'create' : name, ...new Set(paths.map((path) => describePath(path, folder)))]
  if (isExclusive) words.push('O_EXCL')
  if (mode !== undefined) words.push(mode)
  if (failed) words.push('failed')
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
