import assert from 'node:assert/strict'
import test from 'node:test'
import { readImports } from './read-imports.ts'

const forms: readonly [what: string, source: string, expected: string][] = [
  ['a static import', `import { a } from './a.ts'`, '1 static ./a.ts'],
  ['a type import', `import type { A } from './a.ts'`, '1 static ./a.ts'],
  ['an import for its effect', `import './a.ts'`, '1 static ./a.ts'],
  ['an import over several lines', `import {\n  a,\n  b,\n} from './a.ts'`, '4 static ./a.ts'],
  ['an import with attributes', `import a from './a.json' with { type: 'json' }`, '1 static ./a.json'],
  ['a dynamic import', `const a = await import('./a.ts')`, '1 dynamic ./a.ts'],
  ['an inline type import', `let a: import('./a.ts').A`, '1 dynamic ./a.ts'],
  ['a computed import', `await import(name)`, '1 dynamic undefined'],
  ['a required module', `const a = require('a')`, '1 dynamic a'],
  ['a resolved module', `import.meta.resolve('a')`, '1 dynamic a'],
  ['the file of a worker', `new Worker(new URL('./a.ts', import.meta.url))`, '1 url ./a.ts'],
  ['everything passed on', `export * from './a.ts'`, '1 re-export ./a.ts'],
  ['a namespace passed on', `export * as a from './a.ts'`, '1 re-export ./a.ts'],
  ['names passed on', `export { a, type B } from './a.ts'`, '1 re-export ./a.ts'],
  ['types passed on', `export type { A } from './a.ts'`, '1 re-export ./a.ts'],
  ['an import inside a template', 'const a = `$' + '{await import("./a.ts")} import("b")`', '1 dynamic ./a.ts'],
  ['an import after a regular expression with quotes', `const a = /['"\`]/\nimport './a.ts'`, '2 static ./a.ts'],
  ['an import after a division', `const a = b / c\nimport './a.ts' // c / d`, '2 static ./a.ts'],
]
for (const [what, source, expected] of forms) {
  test(`${what} is read`, () => {
    const found = readImports(source).map(({ line, kind, specifier }) => `${line} ${kind} ${specifier}`)
    assert.deepEqual(found, [expected])
  })
}

const lookalikes: readonly [what: string, source: string][] = [
  ['a comment', `// import './a.ts'\n/* import './b.ts' */`],
  ['a string', `const a = "import './a.ts'"`],
  ['a template', 'const a = `import("./a.ts")`'],
  ['an exported name', `export { a }\nconst from = './a.ts'`],
  ['an exported constant', `export const a = './a.ts'`],
  ['a property', `x.import('./a.ts'); const y = { import: './a.ts' }`],
  ['the path of the module itself', `const a = import.meta.dirname + './a.ts'`],
]
for (const [what, source] of lookalikes) {
  test(`${what} is not taken for an import`, () => assert.deepEqual(readImports(source), []))
}
