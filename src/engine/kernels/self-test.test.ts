import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EngineError } from '../error.ts'
import { RELAXED_SIMD, SIMD } from './kernels-module.ts'
import { selfTest } from './self-test.ts'

const MODULES = { 'relaxed-simd': RELAXED_SIMD, simd: SIMD } as const

test('every implementation passes, and the report says which it was', () => {
  for (const kernels of ['relaxed-simd', 'simd', 'plain'] as const) {
    const report = selfTest({ implementation: kernels })
    assert.equal(report.kernels, kernels)
    assert.equal(report.zstd, 'reused')
  }
  assert.equal(selfTest().kernels, 'relaxed-simd')
})

test('it takes less than 20 ms of a processor', () => {
  selfTest()
  const times = Array.from({ length: 7 }, () => {
    const start = process.threadCpuUsage()
    selfTest()
    const { user, system } = process.threadCpuUsage(start)
    return (user + system) / 1000
  })
  // The least of them, as the processors may be shared.
  assert.ok(Math.min(...times) < 20, `${times}`)
})

// Instructions that look alike, and kernels that use them.
const damages: readonly [what: string, from: string, to: string, every: number, kernels: readonly string[]][] = [
  ['v128.xor is or', 'fd51', 'fd50', 5, ['chunker', 'exclusive or', 'index scan', 'sealing']],
  ['i64x2.extmul_low is extmul_high', 'fdde01', 'fddf01', 4, ['Poly1305']],
  ['i64x2.add is subtract', 'fdce01', 'fdd101', 8, ['Poly1305', 'counter blocks']],
  ['i8x16.bitmask is all_true', 'fd64', 'fd63', 1, ['chunker', 'index scan']],
  ['v128.any_true is all_true of bytes', 'fd53', 'fd63', 1, ['zero runs', 'index scan']],
]
for (const implementation of ['relaxed-simd', 'simd'] as const) {
  for (const [what, from, to, every, kernels] of damages) {
    test(`${implementation}: a module in which ${what} is found, and the kernel named`, () => {
      const module = Buffer.from(MODULES[implementation], 'base64')
      const places: number[] = []
      for (let at = module.indexOf(from, 300, 'hex'); at !== -1; at = module.indexOf(from, at + 1, 'hex'))
        places.push(at)
      let damaged = 0
      for (let i = 0; i < places.length; i += every) {
        const copy = Buffer.from(module)
        copy.write(to, places[i]!, 'hex')
        assert.throws(
          () => selfTest({ implementation, module: copy }),
          (error) => {
            assert.ok(error instanceof EngineError)
            assert.equal(error.code, 'SELF_CHECK')
            assert.ok(kernels.includes(String(error.facts.kernel)), `${error.facts.kernel} at ${places[i]}`)
            assert.match(error.message, new RegExp(`${error.facts.kernel}`))
            return true
          },
          `at ${places[i]}`,
        )
        damaged++
      }
      assert.ok(damaged > 0)
    })
  }
}

test('a module that does not even load is found', () => {
  const module = Buffer.from(SIMD, 'base64').subarray(0, -1)
  assert.throws(() => selfTest({ implementation: 'simd', module }), {
    code: 'SELF_CHECK',
    facts: { kernel: 'module', implementation: 'simd' },
  })
})
