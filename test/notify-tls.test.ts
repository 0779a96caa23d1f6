import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import test from 'node:test'
import { protectedApplication, type ScratchApplication } from './equipment/scratch-application.ts'
import { temporaryFolder } from './equipment/temporary-folder.ts'

// A receiver on loopback that speaks TLS, with certificates of an authority made here. The program runs in processes of its own:
// whom a process trusts it knows from its beginning.

const HOLDFAST = join(dirname(import.meta.dirname), 'bin/holdfast')
const TOKEN = 'MARKED-TOKEN-41c7'

interface Certificate {
  readonly key: string
  readonly certificate: string
}

function openssl(...args: string[]): void {
  const { status, stderr } = spawnSync('openssl', args, { encoding: 'utf8' })
  assert.equal(status, 0, `openssl ${args[0]}: ${stderr}`)
}

/** An authority of its own, and what it signs. */
function makeAuthority(folder: string) {
  mkdirSync(folder)
  const at = (name: string) => join(folder, name)
  openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-subj',
    '/CN=Our own CA',
    '-days',
    '2',
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.crt'),
  )
  return {
    file: at('ca.crt'),
    /** For so many days from now on; less than none: it has expired. */
    sign(name: string, subject: string, days = 2): Certificate {
      const [key, request, certificate] = [at(`${name}.key`), at(`${name}.csr`), at(`${name}.crt`)]
      writeFileSync(at(`${name}.ext`), `subjectAltName=${subject}\n`)
      openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${name}`, '-keyout', key, '-out', request)
      const signer = ['-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-CAcreateserial']
      openssl(
        'x509',
        '-req',
        '-in',
        request,
        ...signer,
        '-days',
        String(days),
        '-extfile',
        at(`${name}.ext`),
        '-out',
        certificate,
      )
      return { key, certificate }
    },
  }
}

async function receiver({ key, certificate }: Certificate) {
  const heard: string[] = []
  const server = createServer(
    { key: readFileSync(key), cert: readFileSync(certificate) },
    async (request, response) => {
      heard.push((JSON.parse(await text(request)) as { outcome: string }).outcome)
      response.writeHead(204).end()
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    heard,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

/** `holdfast notify test`, with the address in the environment as an operator sets it. */
async function notifyTest(
  app: ScratchApplication,
  address: string,
  env: NodeJS.ProcessEnv = {},
  wrap: readonly string[] = [],
) {
  const [program = HOLDFAST, ...args] = [...wrap, HOLDFAST, 'notify', 'test']
  const { PATH, HOME } = process.env
  const child = spawn(program, args, {
    cwd: app.root,
    env: { PATH, HOME, HOOK: address, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [out, err, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise((resolve) => child.once('close', resolve)),
  ])
  assert.doesNotMatch(out + err, new RegExp(TOKEN))
  return { code, out: out + err }
}

async function told(base: string): Promise<ScratchApplication> {
  const app = await protectedApplication(base)
  writeFileSync(app.config, `${readFileSync(app.config, 'utf8')}\nnotify: [{ webhook: env:HOOK }]\n`)
  return app
}

const NEEDED = ['openssl', 'update-ca-certificates', 'unshare']
/** Also for those whose PATH lacks it. */
const WITH_SBIN = 'PATH=$PATH:/usr/sbin'
const missing = NEEDED.filter((program) => spawnSync('sh', ['-c', `${WITH_SBIN}; command -v ${program}`]).status !== 0)
const skip = process.getuid?.() !== 0 ? 'needs root' : missing.length > 0 && `needs ${missing.join(', ')}`

test('a message by TLS arrives where the machine knows the authority, and by none of both ways it is refused', {
  skip,
}, async () => {
  using folder = temporaryFolder()
  const app = await told(folder.path)
  const authority = makeAuthority(join(folder.path, 'ca'))
  await using server = await receiver(authority.sign('hook', 'DNS:localhost,IP:127.0.0.1'))
  const address = `https://localhost:${server.port}/${TOKEN}`

  const refused = await notifyTest(app, address)
  assert.equal(refused.code, 1)
  assert.match(
    refused.out,
    /✗ webhook env:HOOK: the receiver did not take it: its certificate is signed by nobody whom this machine trusts \([A-Z_]+\)/,
  )
  assert.match(refused.out, /\/usr\/local\/share\/ca-certificates and run update-ca-certificates/)
  assert.deepEqual(server.heard, [], 'nothing was sent')

  const extra = await notifyTest(app, address, { NODE_EXTRA_CA_CERTS: authority.file })
  assert.deepEqual([extra.code, extra.out], [0, '✓ webhook env:HOOK\n1 message delivered\n'])

  // As on a machine of their own: what is put there is gone with the mounts.
  const known = `set -e; ${WITH_SBIN}
    mount -t tmpfs tmpfs /usr/local/share/ca-certificates
    cp -a /etc/ssl/certs "$0/certs" && mount --bind "$0/certs" /etc/ssl/certs
    cp "$1" /usr/local/share/ca-certificates/ && update-ca-certificates >/dev/null 2>&1
    shift && exec "$@"`
  const wrap = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', known, folder.path, authority.file]
  const machine = await notifyTest(app, address, {}, wrap)
  assert.deepEqual([machine.code, machine.out], [0, '✓ webhook env:HOOK\n1 message delivered\n'])
  assert.deepEqual(server.heard, ['test', 'test'])
})

test('a certificate that is for another name, of another authority, or no certificate at all, is refused and said', {
  skip,
}, async () => {
  using folder = temporaryFolder()
  const app = await told(folder.path)
  const [ours, theirs] = [makeAuthority(join(folder.path, 'ours')), makeAuthority(join(folder.path, 'theirs'))]
  const trust = { NODE_EXTRA_CA_CERTS: ours.file }
  const address = (port: number) => `https://localhost:${port}/${TOKEN}`
  for (const [certificate, problem] of [
    [
      ours.sign('other', 'DNS:hooks.example.com'),
      /for another name than the one in the address \(ERR_TLS_CERT_ALTNAME_INVALID\)/,
    ],
    [ours.sign('old', 'DNS:localhost', -1), /has expired \(CERT_HAS_EXPIRED\)/],
    [theirs.sign('hook', 'DNS:localhost'), /signed by nobody whom this machine trusts/],
  ] as const) {
    await using server = await receiver(certificate)
    const { code, out } = await notifyTest(app, address(server.port), trust)
    assert.equal(code, 1)
    assert.match(out, problem)
    assert.deepEqual(server.heard, [])
  }
  const plain = (await import('node:http')).createServer((_, response) => response.end())
  await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve))
  try {
    const { out } = await notifyTest(app, address((plain.address() as AddressInfo).port), trust)
    assert.match(out, /does not speak TLS/)
  } finally {
    plain.close()
  }
})
