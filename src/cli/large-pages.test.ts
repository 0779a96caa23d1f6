import assert from 'node:assert/strict'
import { test } from 'node:test'
import { forgetLargePages } from './large-pages.ts'

test('what the launcher added to the environment is gone, and what the operator set is as it was', () => {
  const own = 'glibc.malloc.check=1'
  for (const [found, left] of [
    ['glibc.malloc.hugetlb=1', undefined],
    [`${own}:glibc.malloc.hugetlb=1`, own],
    [own, own],
    [`glibc.malloc.hugetlb=1:${own}`, `glibc.malloc.hugetlb=1:${own}`],
    [undefined, undefined],
  ]) {
    const env: Record<string, string | undefined> = found === undefined ? {} : { GLIBC_TUNABLES: found }
    forgetLargePages(env)
    assert.equal(env.GLIBC_TUNABLES, left)
    assert.equal('GLIBC_TUNABLES' in env, left !== undefined)
  }
})
