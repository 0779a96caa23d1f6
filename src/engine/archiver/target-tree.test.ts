import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { collectingSink } from '../../../test/equipment/collecting-sink.ts'
import { runRestic, withoutRestic } from '../../../test/equipment/restic.ts'
import { temporaryFolder } from '../../../test/equipment/temporary-folder.ts'
import { PASSWORD, POLYNOMIAL, testRepository } from '../../../test/equipment/test-repository.ts'
import { createChunker } from '../kernels/chunker.ts'
import { localStorage } from '../storage/local.ts'
import { archive } from './archive.ts'
import { type TargetFolder, targetTree } from './target-tree.ts'

const NOTHING_TO_EXPAND = () => assert.fail('nothing of this needs to be expanded')

/** One line for each entry: its place, whether it is a target, and where it lies on disk. */
function outline(
  targets: readonly (string | Buffer)[],
  expand: (folder: Buffer) => readonly Buffer[] = NOTHING_TO_EXPAND,
) {
  const lines: string[] = []
  const visit = (folder: TargetFolder, prefix: string) => {
    for (const [name, entry] of folder.entries) {
      lines.push(`${entry.kind} ${prefix}${name} = ${entry.path.toString('latin1')}`)
      visit(entry, `${prefix}${name}/`)
    }
  }
  visit(
    targetTree(
      targets.map((target) => Buffer.from(target)),
      expand,
    ),
    '',
  )
  return lines
}

describe('targetTree', () => {
  it('places an absolute target at its absolute path', () => {
    assert.deepEqual(outline(['/srv/app/data']), [
      'folder srv = /srv',
      'folder srv/app = /srv/app',
      'target srv/app/data = /srv/app/data',
    ])
  })

  it('places a relative target at its relative path', () => {
    assert.deepEqual(outline(['app/data']), ['folder app = app', 'target app/data = app/data'])
  })

  it('drops leading `..`, and reads from where they lead', () => {
    assert.deepEqual(outline(['../../x/y']), ['folder x = ../../x', 'target x/y = ../../x/y'])
  })

  it('cleans paths by their text alone', () => {
    assert.deepEqual(outline(['//srv/./app//', 'a/../b/']), [
      'folder srv = /srv',
      'target srv/app = /srv/app',
      'target b = b',
    ])
  })

  it('tells two relative targets of one name from different folders apart', () => {
    assert.deepEqual(outline(['x', '../x', '../../x/y', '../x/z']), [
      'target x = x',
      'target x-1 = ../x',
      'target x-1/z = ../x/z',
      'folder x-2 = ../../x',
      'target x-2/y = ../../x/y',
    ])
  })

  it('merges targets that overlap, whichever comes first', () => {
    const merged = ['folder a = /a', 'target a/b = /a/b', 'target a/b/c = /a/b/c']
    assert.deepEqual(outline(['/a/b', '/a/b/c', '/a/b']), merged)
    assert.deepEqual(outline(['/a/b/c', '/a/b']), merged)
  })

  it('expands the folders that have no name of their own', () => {
    const expand = (folder: Buffer) => [Buffer.from(`in ${folder}`.replaceAll('/', '|'))]
    assert.deepEqual(outline(['.'], expand), ['expanded in . = in .'])
    assert.deepEqual(outline(['a/..'], expand), ['expanded in . = in .'])
    assert.deepEqual(outline(['../..'], expand), ['expanded in ..|.. = ../../in ..|..'])
    assert.deepEqual(outline(['/'], expand), ['expanded in | = /in |'])
  })

  it('keeps a target that was named as such among the expanded', () => {
    const expand = () => [Buffer.from('x'), Buffer.from('y')]
    const expected = ['target x = x', 'expanded y = y', 'target y/z = y/z']
    assert.deepEqual(outline(['.', 'x', 'y/z'], expand), expected)
    assert.deepEqual(outline(['y/z', 'x', '.'], expand).sort(), expected.sort())
  })

  it('keeps every byte of a name', () => {
    const name = Buffer.from([0x2f, 0xff, 0xc3, 0x0a, 0x20])
    assert.deepEqual(outline([name]), [`target \xff\xc3\n  = /\xff\xc3\n `])
  })

  it('refuses what names no file: an empty path is most often a variable that was never set', () => {
    for (const path of ['', 'a\0b']) {
      assert.throws(() => outline(['/a', path]), {
        code: 'SOURCE',
        message: /^Cannot back up ".*": it (is empty|holds a NUL byte)$/,
      })
    }
  })

  it('refuses to archive nothing', () => {
    assert.throws(() => outline([]), { code: 'SOURCE' })
    assert.throws(() => outline(['.'], () => []), { code: 'SOURCE' })
  })
})

const ROWS: readonly (readonly string[])[] = [
  ['a'],
  ['a/b', 'a/b/file'],
  ['a/b/file', 'a'],
  ['.'],
  ['.', 'a'],
  ['a/b', '.'],
  ['..'],
  ['../here/a', 'a'],
  ['../../side/a', 'a', '../a'],
  ['./a/../other//', '../here/.'],
  ['link'],
  ['link/file'],
  ['a/link'],
  ['dangling'],
]

for (const program of ['restic', 'restic-stable'] as const) {
  describe(`targetTree and ${program}`, { skip: withoutRestic(program) }, async () => {
    for (const targets of ROWS) {
      it(`place ${targets.join(' ')} alike`, async () => {
        using folder = temporaryFolder()
        const here = `${folder.path}/up/here`
        for (const path of ['side/a', 'up/a', 'up/here/a/b', 'up/here/other']) {
          mkdirSync(`${folder.path}/${path}`, { recursive: true })
          writeFileSync(`${folder.path}/${path}/file`, path)
        }
        symlinkSync('../other', `${here}/a/link`)
        symlinkSync('other', `${here}/link`)
        symlinkSync('nowhere', `${here}/dangling`)
        const repository = `${folder.path}/repository`
        await testRepository({ storage: localStorage(repository) })
        const options = { program, repository, password: PASSWORD, cwd: here }

        const backup = runRestic(['backup', ...targets], options)
        assert.equal(backup.status, 0, backup.stderr)
        const listed = runRestic(['ls', '--json', 'latest'], options).stdout.trim().split('\n').slice(1)
        const theirs = listed
          .map((line) => JSON.parse(line))
          .map(({ path, type }) => path.slice(1) + (type === 'dir' ? '/' : ''))

        const before = process.cwd()
        process.chdir(here)
        try {
          const sink = collectingSink()
          const chunker = createChunker(POLYNOMIAL)
          const onProblem = ({ message }: { message: string }) => assert.fail(message)
          const { nodes } = await archive(
            targets.map((target) => Buffer.from(target)),
            { sink, chunker, onProblem },
          )
          assert.deepEqual(sink.paths(nodes), theirs)
        } finally {
          process.chdir(before)
        }
      })
    }
  })
}
