import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { hostTree, parts } from './host-tree.test-fixture.ts'
import { captureNginx, findSites } from './nginx.ts'

const KEY = '-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n'
const CERTIFICATE = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'

async function capture(root: string, ...paths: string[]) {
  await using captured = await captureNginx({ name: 'nginx', paths }, { hostRoot: root })
  return parts(root, captured)
}

test('a site is captured with its link, includes and certificates; private keys and passwords are secrets', async () => {
  using host = hostTree({
    '/etc/nginx/sites-available/app': `
      upstream app { server 127.0.0.1:3000; }
      server {
        listen 443 ssl;
        include snippets/common.conf;
        include snippets/app-*.conf;
        ssl_certificate /etc/letsencrypt/live/app/fullchain.pem;
        ssl_certificate_key /etc/letsencrypt/live/app/privkey.pem;
        ssl_dhparam dhparam.pem;
        auth_basic "Restricted";
        auth_basic_user_file /etc/nginx/htpasswd;
        location /open { auth_basic_user_file off; proxy_pass http://app; }
      }`,
    '/etc/nginx/sites-enabled/app': '-> /etc/nginx/sites-available/app',
    '/etc/nginx/sites-enabled/other': '-> ../sites-available/other',
    '/etc/nginx/sites-available/other': 'server {}',
    '/etc/nginx/snippets/common.conf': 'include snippets/common.conf; ssl_trusted_certificate combined.pem;',
    '/etc/nginx/snippets/app-1.conf': 'add_header A 1;',
    '/etc/nginx/snippets/app-2.conf': 'ssl_client_certificate data:inline;',
    '/etc/nginx/combined.pem': CERTIFICATE + KEY,
    '/etc/nginx/dhparam.pem': 'DH',
    '/etc/nginx/htpasswd': 'a:b',
    '/etc/letsencrypt/live/app/fullchain.pem': '-> ../../archive/app/fullchain3.pem',
    '/etc/letsencrypt/live/app/privkey.pem': '-> ../../archive/app/privkey3.pem',
    '/etc/letsencrypt/archive/app/fullchain3.pem': CERTIFICATE,
    '/etc/letsencrypt/archive/app/privkey3.pem': KEY,
    '/etc/letsencrypt/archive/app/privkey2.pem': KEY,
  })
  const expected = {
    targets: [
      '/etc/letsencrypt/archive/app/fullchain3.pem',
      '/etc/letsencrypt/live/app/fullchain.pem',
      '/etc/letsencrypt/live/app/privkey.pem',
      '/etc/nginx/dhparam.pem',
      '/etc/nginx/sites-available/app',
      '/etc/nginx/sites-enabled/app',
      '/etc/nginx/snippets/app-1.conf',
      '/etc/nginx/snippets/app-2.conf',
      '/etc/nginx/snippets/common.conf',
    ],
    secrets: ['/etc/letsencrypt/archive/app/privkey3.pem', '/etc/nginx/combined.pem', '/etc/nginx/htpasswd'],
    findings: [],
  }
  assert.deepEqual(await capture(host.root, 'app'), expected)
  assert.deepEqual(await capture(host.root, '/etc/nginx/sites-available/app'), expected)
  assert.deepEqual(await capture(host.root, '/etc/nginx/sites-enabled/app'), expected)
})

test('what is missing, unknowable, malformed or not in force is found', async () => {
  using host = hostTree({
    '/etc/nginx/conf.d/bad.conf': 'server { ssl_certificate /etc/absent.pem',
    '/etc/nginx/sites-available/off':
      'ssl_certificate_key $key;\nssl_certificate /etc/absent.pem;\ninclude absent.conf; include none/*.conf;',
  })
  assert.deepEqual(await capture(host.root, 'off', 'bad', 'unknown'), {
    targets: ['/etc/nginx/conf.d/bad.conf', '/etc/nginx/sites-available/off'],
    secrets: [],
    findings: [
      'error nginx-variable /etc/nginx/sites-available/off',
      'error missing /etc/absent.pem',
      'error missing /etc/nginx/absent.conf',
      'note nginx-site-not-enabled /etc/nginx/sites-available/off',
      'error nginx-unreadable /etc/nginx/conf.d/bad.conf',
      'error missing unknown',
    ],
  })
})

test('sites of an application are found by port, socket and folder, each once', async () => {
  using host = hostTree({
    '/etc/nginx/sites-available/direct':
      'server { server_name a.example _; location / { proxy_pass http://localhost:3000/api; } }',
    '/etc/nginx/sites-enabled/direct': '-> ../sites-available/direct',
    '/etc/nginx/sites-available/upstream':
      'upstream x { server [::1]:3000 weight=2; } server { location / { proxy_pass http://x; } }',
    '/etc/nginx/conf.d/socket.conf': 'server { location / { proxy_pass http://unix:/opt/app/run.sock:/; } }',
    '/etc/nginx/conf.d/static.conf': 'server { root /opt/app/public; }',
    '/etc/nginx/conf.d/others.conf':
      'server { root /opt/app2; location / { proxy_pass http://127.0.0.1:30000; } location /b { proxy_pass http://10.0.0.1:3000; } }',
    '/etc/nginx/conf.d/broken.conf': 'server {',
    '/etc/nginx/sites-enabled/dangling': '-> /gone',
  })
  const found = await findSites({ port: 3000, dir: '/opt/app' }, host.root)
  assert.deepEqual(
    found.map(({ name, enabled, reason, serverNames }) => ({ name, enabled, reason, serverNames })),
    [
      { name: 'direct', enabled: true, reason: 'proxies to port 3000', serverNames: ['a.example'] },
      { name: 'upstream', enabled: false, reason: 'proxies to port 3000', serverNames: [] },
      {
        name: 'socket.conf',
        enabled: true,
        reason: 'passes requests to the socket /opt/app/run.sock',
        serverNames: [],
      },
      { name: 'static.conf', enabled: true, reason: 'serves files from /opt/app/public', serverNames: [] },
    ],
  )
  assert.equal((await findSites({ dir: '/opt/app' }, host.root)).length, 2)
  assert.deepEqual(await findSites({ dir: '/opt/app' }, `${host.root}/nothing`), [])
})

const missing = ['nginx', 'openssl'].filter((program) => spawnSync(program, ['-v']).error !== undefined)

test('what is captured is all that nginx needs besides its main file', {
  skip: missing.length > 0 && `${missing.join(', ')} is not installed`,
}, async () => {
  using host = hostTree({
    '/etc/nginx/nginx.conf':
      'pid ROOT/pid; error_log ROOT/error.log; events {}\nhttp { access_log off; include ROOT/etc/nginx/sites-enabled/*; }',
    '/etc/nginx/sites-available/app': `server {
      listen 127.0.0.1:18443 ssl; include ROOT/etc/nginx/snippets/*.conf;
      ssl_certificate ROOT/etc/letsencrypt/live/app/fullchain.pem; ssl_certificate_key ROOT/etc/letsencrypt/live/app/privkey.pem;
      location ~ "\\.(a{2})$" { auth_basic x; auth_basic_user_file ROOT/etc/nginx/htpasswd; return 200 "it's; { fine"; } }`,
    '/etc/nginx/sites-enabled/app': '-> ROOT/etc/nginx/sites-available/app',
    '/etc/nginx/snippets/a.conf': 'server_name a.example;',
    '/etc/nginx/htpasswd': 'a:b',
    '/etc/nginx/unrelated': 'x',
    '/etc/letsencrypt/live/app/fullchain.pem': '-> ../../archive/fullchain.pem',
    '/etc/letsencrypt/live/app/privkey.pem': '-> ../../archive/privkey.pem',
    '/etc/letsencrypt/archive/old.pem': 'x',
  })
  const { root } = host
  const archive = join(root, 'etc/letsencrypt/archive')
  const request = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-subj',
    '/CN=a.example',
  ]
  execFileSync('openssl', [...request, '-keyout', `${archive}/privkey.pem`, '-out', `${archive}/fullchain.pem`], {
    stdio: 'pipe',
  })
  const accepts = () =>
    execFileSync('nginx', ['-t', '-q', '-p', root, '-c', `${root}/etc/nginx/nginx.conf`], { stdio: 'pipe' })
  accepts()
  const { targets, secrets, findings } = await capture(root, 'app')
  assert.deepEqual(findings, [])
  const kept = new Set([...targets, ...secrets, '/etc/nginx/nginx.conf'].map((path) => join(root, path)))
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    const path = join(root, name)
    if (!kept.has(path) && !statSync(path).isDirectory()) rmSync(path)
  }
  mkdirSync(join(root, 'logs'), { recursive: true })
  accepts()
})
