import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { cFunction, cString } from './c-library.ts'

describe('the C library', { skip: process.platform !== 'linux' && 'needs Linux' }, () => {
  it('a failure is the negated error number, each time its own', () => {
    const access = cFunction<[Buffer, number]>('int access(const void *path, int mode)')
    assert.equal(access(cString(Buffer.from('/')), 0), 0)
    for (let round = 0; round < 2000; round++) {
      assert.equal(access(cString(Buffer.from('/nonexistent')), 0), -2)
      assert.equal(access(cString(Buffer.from('/proc/version/below')), 0), -20)
      Buffer.alloc(100_000) // gives memory management a reason to make system calls of its own
    }
  })

  it('a function that the library does not have is unsupported, when it is called', () => {
    const missing = cFunction<[]>('int holdfast_has_no_such_function(void)')
    assert.throws(() => missing(), { code: 'UNSUPPORTED' })
  })

  it('importing loads no native code: only the first call does', () => {
    const modules = ['accounts', 'extended-attributes', 'nodes', 'times'].map(
      (name) => new URL(`./${name}.ts`, import.meta.url).href,
    )
    const program = `
      const { readFileSync } = await import('node:fs')
      const modules = await Promise.all(${JSON.stringify(modules)}.map((module) => import(module)))
      const loaded = () => /koffi[^/]*\\.node/.test(readFileSync('/proc/self/maps', 'utf8'))
      const before = loaded()
      modules[0].userName(0)
      console.log(before, loaded())`
    const output = execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' })
    assert.equal(output.trim(), 'false true')
  })
})
