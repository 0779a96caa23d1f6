import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { componentExclusion, createExclusion, isTaggedCache } from './exclude.ts'

const root = '/opt/app'

function excludes(patterns: readonly string[], path: string | Buffer, isDirectory = false): boolean {
  const bytes = typeof path === 'string' ? Buffer.from(path) : path
  return createExclusion(patterns, root)(Buffer.concat([Buffer.from(`${root}/`), bytes]), isDirectory)
}

suite('exclusion', () => {
  test('a name matches at any depth', () => {
    assert.equal(excludes(['node_modules'], 'node_modules', true), true)
    assert.equal(excludes(['node_modules'], 'a/b/node_modules', true), true)
    assert.equal(excludes(['node_modules'], 'node_modules_old', true), false)
    assert.equal(excludes(['*.log'], 'a/b.log'), true)
    assert.equal(excludes(['*.log'], 'a/b.log.txt'), false)
  })

  test('a pattern with a slash at its end matches folders only', () => {
    assert.equal(excludes(['tmp/'], 'a/tmp', true), true)
    assert.equal(excludes(['tmp/'], 'a/tmp', false), false)
  })

  test('a slash at the beginning or in the middle anchors at the root', () => {
    assert.equal(excludes(['/tmp'], 'tmp', true), true)
    assert.equal(excludes(['/tmp'], 'a/tmp', true), false)
    assert.equal(excludes(['a/*.tmp'], 'a/x.tmp'), true)
    assert.equal(excludes(['a/*.tmp'], 'b/a/x.tmp'), false)
    assert.equal(excludes(['**/a/*.tmp'], 'b/a/x.tmp'), true)
  })

  test('behind a double star, an escaped slash asks for one folder at least', () => {
    assert.equal(excludes(['**\\/x'], 'x'), false)
    assert.equal(excludes(['**\\/x'], 'a/x'), true)
    assert.equal(excludes(['/a/**\\/x'], 'a/x'), false)
    assert.equal(excludes(['/a/**\\/x'], 'a/b/c/x'), true)
  })

  test('the last pattern that matches decides, and one may take back', () => {
    assert.equal(excludes(['*.log', '!keep.log'], 'keep.log'), false)
    assert.equal(excludes(['!keep.log', '*.log'], 'keep.log'), true)
  })

  test('nothing below an excluded folder comes back', () => {
    assert.equal(excludes(['cache/', '!cache/keep'], 'cache/keep'), true)
    assert.equal(excludes(['cache/*', '!cache/keep'], 'cache/keep'), false)
    assert.equal(excludes(['cache/'], 'cache/a/b/c'), true)
  })

  test('case counts', () => {
    assert.equal(excludes(['*.LOG'], 'a.log'), false)
  })

  test('names are compared as bytes, whatever they are', () => {
    const odd = Buffer.from([0x63, 0xff, 0xfe, 0x0a, 0x2e, 0x6c, 0x6f, 0x67])
    assert.equal(excludes(['*.log'], odd), true)
    assert.equal(excludes(['c???.log'], odd), true)
    assert.equal(excludes(['c*x'], odd), false)
    assert.equal(excludes(['café/'], Buffer.from('café'), true), true)
    assert.equal(excludes(['café/'], Buffer.from('café', 'latin1'), true), false)
    assert.equal(excludes(['a'], Buffer.from('a\n')), false)
  })

  test('the root itself is never excluded, and outside of it only unanchored patterns apply', () => {
    const excluded = createExclusion(['*', '/etc', 'x.log'], root)
    assert.equal(excluded(Buffer.from(root), true), false)
    const outside = createExclusion(['/srv', 'etc/x', '*.log'], root)
    assert.equal(outside(Buffer.from('/srv/data'), true), false)
    assert.equal(outside(Buffer.from('/srv/etc/x'), false), false)
    assert.equal(outside(Buffer.from('/srv/data/x.log'), false), true)
    assert.equal(createExclusion(['app-old'], root)(Buffer.from('/opt/app-old'), true), true)
  })

  test('a component adds its own patterns, relative to each of its paths, and leaves out what belongs to others', () => {
    const excluded = componentExclusion(
      { root, exclude: ['*.log'] },
      { paths: ['/opt/app/data', '/srv/more'], exclude: ['/tmp', '!keep.log'], elsewhere: ['/opt/app/data/secrets'] },
    )
    const at = (path: string) => excluded(Buffer.from(path), true)
    assert.equal(at('/opt/app/data/tmp'), true)
    assert.equal(at('/srv/more/tmp'), true)
    assert.equal(at('/opt/app/data/a/tmp'), false)
    assert.equal(at('/opt/app/data/secrets'), true)
    assert.equal(at('/opt/app/data/secrets2'), false)
    assert.equal(at('/opt/app/data/keep.log'), true, 'a component cannot take back what is left out of every one')
  })

  test('git agrees on any patterns', { skip: !hasGit() && 'git is not installed' }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-exclude-'))
    try {
      const environment = { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null' }
      execFileSync('git', ['init', '--quiet', folder], { env: environment })
      const folders = ['a', 'a/b', 'a/b/a', 'b', 'b/c', 'c d', '[x]']
      const names = ['a1', 'b.log', 'c', ' ', '!x', '#y', 'é', '-', ']', 'x\\y', 'a*']
      for (const each of folders) await mkdir(join(folder, each), { recursive: true })
      const files = ['', ...folders].flatMap((each) =>
        names.filter((name) => name !== 'c' || each !== 'b').map((name) => join(each, name)),
      )
      for (const file of files) await writeFile(join(folder, file), '')
      const piece = fc.oneof(
        fc.constantFrom('a', 'b', 'c', 'x', 'y', '1', '.log', ' ', 'é', '-', '#', '!', ']'),
        fc.constantFrom(
          '*',
          '**',
          '***',
          '?',
          '/',
          '/',
          '**/',
          '/**',
          '\\',
          '\\*',
          '\\ ',
          '\\/',
          '**\\/',
          '[',
          '[a-c]',
          '[!a]',
          '[^a-b]',
          '[]]',
          '[[:alpha:]]',
          '[[:punct:]]',
          '[[:no:]]',
          '[c-a]',
          '[\\]]',
          '[a-',
          '[/]',
        ),
      )
      const line = fc.array(piece, { minLength: 1, maxLength: 5 }).map((pieces) => pieces.join(''))
      // git cuts off what stands in front of the first wildcard, and so takes a**/b for **/b behind an "a": its own
      // manual calls such asterisks regular ones, and so do we.
      const regular = line.filter((text) => !/[^/*]\*\*/.test(text))
      const negatable = fc.tuple(fc.constantFrom('', '', '!', '/'), regular).map((parts) => parts.join(''))
      await fc.assert(
        fc.asyncProperty(fc.array(negatable, { minLength: 1, maxLength: 4 }), async (patterns) => {
          await writeFile(join(folder, '.gitignore'), `${patterns.join('\n')}\n`)
          const asked = [...folders, ...files]
          const answer = spawnSync('git', ['check-ignore', '--no-index', '-z', '--stdin'], {
            cwd: folder,
            env: environment,
            input: asked.join('\0'),
            encoding: 'utf8',
          })
          assert.ok(answer.status === 0 || answer.status === 1, answer.stderr)
          const expected = new Set(answer.stdout.split('\0').filter((path) => path !== ''))
          const excluded = createExclusion(patterns, folder)
          const found = asked.filter((path) => excluded(Buffer.from(join(folder, path)), folders.includes(path)))
          assert.deepEqual(
            found,
            asked.filter((path) => expected.has(path)),
          )
        }),
        { numRuns: 300 },
      )
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

function hasGit(): boolean {
  return spawnSync('git', ['--version']).status === 0
}

suite('tagged caches', () => {
  const signature = 'Signature: 8a477f597d28d172789f06886806bc55'

  async function withTag(make: (tag: string) => Promise<unknown>): Promise<boolean> {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-cache-'))
    try {
      await make(join(folder, 'CACHEDIR.TAG'))
      return await isTaggedCache(Buffer.from(folder))
    } finally {
      await rm(folder, { recursive: true })
    }
  }

  test('an ordinary file that begins with the signature makes one', async () => {
    assert.equal(await withTag((tag) => writeFile(tag, signature)), true)
    assert.equal(await withTag((tag) => writeFile(tag, `${signature}\n# by a test\n`)), true)
  })

  test('anything else does not', async () => {
    assert.equal(await withTag(async () => undefined), false)
    assert.equal(await withTag((tag) => writeFile(tag, signature.slice(0, -1))), false)
    assert.equal(await withTag((tag) => writeFile(tag, ` ${signature}`)), false)
    assert.equal(await withTag((tag) => mkdir(tag)), false)
    assert.equal(await withTag((tag) => symlink(import.meta.filename, tag)), false)
  })

  test('a folder that is not there has none', async () => {
    assert.equal(await isTaggedCache(Buffer.from('/nonexistent/folder')), false)
  })
})
