import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { whoHasOpen } from './open-files.ts'

function folder(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-open-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

async function holder(t: TestContext, path: string): Promise<number> {
  const child = spawn('sh', ['-c', 'exec 9<"$0"; echo ready; read line', path], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return child.pid!
}

test('a process that has the file or its log open is named, under whatever name it was opened', async (t) => {
  const directory = folder(t)
  const path = join(directory, 'app.db')
  writeFileSync(join(directory, 'old'), '')
  writeFileSync(`${path}-wal`, '')
  const first = await holder(t, join(directory, 'old'))
  const second = await holder(t, `${path}-wal`)
  renameSync(join(directory, 'old'), path)
  const { processes } = await whoHasOpen(path)
  assert.deepEqual(processes.map(({ pid }) => pid).sort(), [first, second].sort())
  assert.deepEqual(new Set(processes.map(({ command }) => command)), new Set(['sh']))
})

test('our own process does not count, nor does a file that is gone', async (t) => {
  const path = join(folder(t), 'app.db')
  writeFileSync(path, '')
  const file = openSync(path, 'r')
  assert.deepEqual((await whoHasOpen(path)).processes, [])
  closeSync(file)
  assert.deepEqual((await whoHasOpen(`${path}.absent`)).processes, [])
})

test('processes that may not be looked at are admitted', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('needs root, to become somebody else')
  const directory = folder(t)
  const path = join(directory, 'app.db')
  writeFileSync(path, '')
  const procRoot = join(directory, 'proc')
  for (const [pid, cmdline] of [
    ['10', 'node'],
    ['11', ''],
  ] as const) {
    mkdirSync(join(procRoot, pid, 'fd'), { recursive: true, mode: 0o755 })
    writeFileSync(join(procRoot, pid, 'cmdline'), cmdline)
  }
  for (const pid of ['10', '11']) symlinkSync(path, join(procRoot, pid, 'fd', '3'))
  writeFileSync(join(procRoot, '10', 'comm'), 'node\n')
  writeFileSync(join(procRoot, '11', 'comm'), 'kworker\n')
  assert.equal((await whoHasOpen(path, { procRoot })).processes.length, 2)
  chmodSync(directory, 0o755)
  chmodSync(join(procRoot, '11', 'fd'), 0)
  process.seteuid?.(65534)
  try {
    // 11 has no command line: a thread of the kernel, which has no files
    assert.deepEqual(await whoHasOpen(path, { procRoot }), {
      processes: [{ pid: 10, command: 'node' }],
      complete: true,
    })
    process.seteuid?.(0)
    chmodSync(join(procRoot, '10', 'fd'), 0)
    process.seteuid?.(65534)
    assert.deepEqual(await whoHasOpen(path, { procRoot }), { processes: [], complete: false })
  } finally {
    process.seteuid?.(0)
  }
})

test('a system without /proc is admitted too', async (t) => {
  const directory = folder(t)
  assert.deepEqual(await whoHasOpen(directory, { procRoot: join(directory, 'absent') }), {
    processes: [],
    complete: false,
  })
})
