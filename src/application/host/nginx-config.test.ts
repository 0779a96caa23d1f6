import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync, statSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ApplicationError } from '../error.ts'
import { allDirectives, parseNginxConfig } from './nginx-config.ts'

const VARIABLES = ['$' + '{name}', '$' + '{host}x']
const flat = (text: string) =>
  [...allDirectives(parseNginxConfig(text, 'site'))].map(({ name, args, line }) => [line, name, ...args])

test('blocks, quotes, comments and variables are read as nginx reads them', () => {
  const text = `# a comment; with { }
server {
  listen 443 ssl; server_name "a.example" b.example; # more
  location ~ "\\.(php|x{2})$" { return 200 'it''s'; }
  set ${VARIABLES.join(' ')};
  add_header X "say \\"hi\\"
there";
  if ($x = '}') { rewrite ^/\\d+$ /; }
}`
  assert.throws(() => flat("return 'a' }"), /unexpected "}"/)
  assert.deepEqual(flat(text.replace("'it''s'", "'it;s'")), [
    [2, 'server'],
    [3, 'listen', '443', 'ssl'],
    [3, 'server_name', 'a.example', 'b.example'],
    [4, 'location', '~', '\\.(php|x{2})$'],
    [4, 'return', '200', 'it;s'],
    [5, 'set', VARIABLES[0], VARIABLES[1]],
    [6, 'add_header', 'X', 'say "hi"\nthere'],
    [8, 'if', '($x', '=', '}', ')'],
    [8, 'rewrite', '^/\\d+$', '/'],
  ])
})

test('Lua is skipped', () => {
  assert.deepEqual(flat('content_by_lua_block { if x { "}" } end }\nlisten 80;').at(-1), [2, 'listen', '80'])
})

test('what nginx would not take is an error with file and line', () => {
  for (const [text, message] of [
    ['server {\n listen 80;\n', /line 3 has the end of the file, expected "}"/],
    ['listen 80', /expected ";" or "{"/],
    ['}', /unexpected "}"/],
    ['\n;', /line 2 has an unexpected ";"/],
    ['a "b', /end of the file inside "/],
    ['a{'.repeat(100), /nested deeper/],
  ] as const) {
    assert.throws(
      () => parseNginxConfig(text, '/etc/nginx/x'),
      (error: ApplicationError) => {
        assert.equal(error.code, 'SOURCE')
        assert.match(error.message, message)
        return true
      },
    )
  }
})

test('any text is read or refused, never anything else', () => {
  const text = fc
    .array(fc.constantFrom('a', ' ', ';', '{', '}', '"', "'", '\\', '#', '\n', '$', '${', 'x_by_lua_block '))
    .map((parts) => parts.join(''))
  fc.assert(
    fc.property(text, (input) => {
      try {
        parseNginxConfig(input, 'x')
      } catch (error) {
        assert.equal((error as ApplicationError).code, 'SOURCE')
      }
    }),
  )
})

test('every configuration that comes with nginx is read', {
  skip: !existsSync('/etc/nginx') && 'nginx is not installed',
}, () => {
  const files = globSync('/etc/nginx/**/*').filter((file) => statSync(file).isFile())
  for (const file of files) parseNginxConfig(readFileSync(file, 'utf8'), file)
  assert.ok(files.length > 0)
})
