/**
 * Gets a fresh copy of the application ready to run.
 *
 *   node src/setup.js               folders, modes, and in etc/ the certificate and the enabled site
 *   node src/setup.js --host DIR    also puts what is in etc/ into DIR/etc, DIR standing for the root of a server
 *
 * Nothing that exists is made anew; run it as often as you like.
 */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, isAbsolute, join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { selfSignedCertificate } from './certificate.js'

const DOCUMENTED_ROOT = '/opt/devrel-integration'
const HOST_NAME = 'devrel.example.com'

const root = dirname(import.meta.dirname)
const { host } = parseArgs({ options: { host: { type: 'string' } } }).values

for (const folder of ['data', 'logs']) mkdirSync(join(root, folder), { recursive: true, mode: 0o750 })
// Neither Git nor npm keeps these modes.
chmodSync(join(root, 'secrets'), 0o700)
chmodSync(join(root, 'secrets/.env.production'), 0o600)

makeCertificate(join(root, 'etc/nginx/ssl'))
enableSite(join(root, 'etc/nginx'))
if (host !== undefined) install(resolve(host))

function makeCertificate(folder) {
  const certificateFile = join(folder, 'devrel-integration.crt')
  const keyFile = join(folder, 'devrel-integration.key')
  if (existsSync(certificateFile) && existsSync(keyFile)) return
  const { certificate, key } = selfSignedCertificate(HOST_NAME)
  mkdirSync(folder, { recursive: true })
  writeFileSync(keyFile, key, { mode: 0o600 })
  writeFileSync(certificateFile, certificate)
}

/** The link is in Git, but npm leaves links out of its packages. */
function enableSite(nginx) {
  const link = join(nginx, 'sites-enabled/devrel-integration')
  if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) return
  mkdirSync(dirname(link), { recursive: true })
  symlinkSync('../sites-available/devrel-integration', link)
}

function install(hostRoot) {
  const fromHost = relative(hostRoot, root)
  const isOnHost = fromHost !== '' && !fromHost.startsWith('..') && !isAbsolute(fromHost)
  copyMissing(join(root, 'etc'), join(hostRoot, 'etc'), isOnHost ? `/${fromHost}` : root)
}

/** Copies a folder, leaves what is there already, and names the real folder of the application in what it copies. */
function copyMissing(from, to, installedRoot) {
  mkdirSync(to, { recursive: true })
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) copyMissing(source, target, installedRoot)
    else if (lstatSync(target, { throwIfNoEntry: false }) !== undefined) continue
    else if (entry.isSymbolicLink()) symlinkSync(readlinkSync(source), target)
    else {
      const content = readFileSync(source, 'utf8').replaceAll(DOCUMENTED_ROOT, installedRoot)
      writeFileSync(target, content, { mode: statSync(source).mode & 0o777 })
    }
  }
}
