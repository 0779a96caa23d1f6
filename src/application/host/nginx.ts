import { glob, readdir, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { ApplicationError } from '../error.ts'
import type { Finding } from '../finding.ts'
import type { Capture } from '../sources/capture.ts'
import { plainCapture } from '../sources/plain-capture.ts'
import { holdsPrivateKey } from '../sources/secret-looking.ts'
import { followLinks, isWithin, onHost } from './host-path.ts'
import { allDirectives, type NginxDirective, parseNginxConfig } from './nginx-config.ts'

const PREFIX = '/etc/nginx'
const SITE_DIRECTORIES = ['sites-available', 'conf.d', 'sites-enabled', 'http.d']
/** Directories of which every file is in force. */
const ENABLED_DIRECTORIES = ['sites-enabled', 'conf.d', 'http.d']
/** Larger files are no configuration and no certificate. */
const FILE_LIMIT = 4 * 1024 * 1024
const INCLUDE_LIMIT = 1000

const SECRET_FILES =
  /^(auth_basic_user_file|auth_jwt_key_file|ssl_password_file|ssl_session_ticket_key|((proxy|grpc|uwsgi)_)?ssl_certificate_key|(proxy|grpc|uwsgi)_ssl_password_file)$/
const PUBLIC_FILES =
  /^(((proxy|grpc|uwsgi)_)?ssl_(certificate|trusted_certificate|crl)|ssl_client_certificate|ssl_dhparam|ssl_stapling_file)$/

/** A web site that belongs to an application. */
export interface FoundSite {
  /** File name in `sites-available` or `conf.d`: what the config file calls the site. */
  readonly name: string
  readonly path: string
  readonly enabled: boolean
  readonly serverNames: readonly string[]
  /** Why it belongs to the application: "proxies to port 3000". */
  readonly reason: string
}

/** Sites that proxy to the application's port, or serve files or a socket from its folder. Unreadable files are passed over. */
export async function findSites(
  application: { readonly port?: number | undefined; readonly dir: string },
  hostRoot = '/',
): Promise<readonly FoundSite[]> {
  const found = new Map<string, FoundSite>()
  for (const directory of SITE_DIRECTORIES) {
    const folder = join(hostRoot, PREFIX, directory)
    for (const name of await namesIn(folder)) {
      const path = (await followLinks(join(folder, name), hostRoot)).at(-1) as string
      if (found.has(path)) continue
      const directives = await readSite(path).catch(passOver)
      if (directives === undefined) continue
      const reason = reasonFor(directives, application, hostRoot)
      if (reason === undefined) continue
      const enabled = (await enablingPaths(path, hostRoot)).length > 0
      found.set(path, { name: basename(path), path, enabled, serverNames: serverNames(directives), reason })
    }
  }
  return [...found.values()]
}

/**
 * The files of nginx sites: each site, the links that enable it, what it includes, and the certificates that it
 * names with every link on the way to them. Private keys and password files go to `secrets`.
 * A path is a file, or the name of a site.
 */
export async function captureNginx(
  component: { readonly name: string; readonly paths: readonly string[] },
  options: { readonly hostRoot?: string; readonly signal?: AbortSignal | undefined } = {},
): Promise<Capture> {
  const hostRoot = options.hostRoot ?? '/'
  const parts = new Parts(component.name, hostRoot, options.signal)
  for (const given of component.paths) {
    const site = await findSite(given, hostRoot)
    if (site === undefined) {
      parts.find('error', 'missing', `Cannot find nginx site ${given}: no such file in ${PREFIX}`, given, {
        hint: `Expected one of ${SITE_DIRECTORIES.map((directory) => `${PREFIX}/${directory}/${given}`).join(', ')}`,
      })
      continue
    }
    await parts.addConfigFile(site)
    const enabling = await enablingPaths((await followLinks(site, hostRoot)).at(-1) as string, hostRoot)
    for (const path of enabling) await parts.addLinks(path)
    if (enabling.length === 0) {
      parts.find('note', 'nginx-site-not-enabled', `The nginx site ${given} is not enabled`, site)
    }
  }
  return plainCapture(parts)
}

class Parts {
  readonly targets: Buffer[] = []
  readonly secrets: Buffer[] = []
  readonly findings: Finding[] = []
  readonly #component: string
  readonly #hostRoot: string
  readonly #signal: AbortSignal | undefined
  readonly #seen = new Set<string>()

  constructor(component: string, hostRoot: string, signal: AbortSignal | undefined) {
    this.#component = component
    this.#hostRoot = hostRoot
    this.#signal = signal
  }

  find(
    severity: Finding['severity'],
    code: string,
    message: string,
    path: string,
    more: { readonly hint?: string } = {},
  ): void {
    this.findings.push({ severity, code, message, component: this.#component, path, ...more })
  }

  /** Adds the links from `path` on, and returns what they lead to. */
  async addLinks(path: string): Promise<string> {
    const chain = await followLinks(path, this.#hostRoot)
    for (const link of chain.slice(0, -1)) this.targets.push(Buffer.from(link))
    return chain.at(-1) as string
  }

  async addConfigFile(path: string): Promise<void> {
    this.#signal?.throwIfAborted()
    const file = await this.addLinks(path)
    if (this.#seen.has(file)) return
    this.#seen.add(file)
    if (this.#seen.size > INCLUDE_LIMIT) {
      this.find('error', 'nginx-includes', `More than ${INCLUDE_LIMIT} files are included, the rest is left out`, path)
      return
    }
    this.targets.push(Buffer.from(file))
    let directives: readonly NginxDirective[]
    try {
      directives = await readSite(file)
    } catch (error) {
      const hint = 'The file itself is stored; certificates that it names may be missing. Run `nginx -t`'
      this.find('error', 'nginx-unreadable', (error as Error).message, file, { hint })
      return
    }
    for (const directive of allDirectives(directives)) await this.#addNamedFiles(directive, file)
  }

  async #addNamedFiles(directive: NginxDirective, from: string): Promise<void> {
    const [value] = directive.args
    const secret = SECRET_FILES.test(directive.name)
    if (value === undefined || !(secret || PUBLIC_FILES.test(directive.name) || directive.name === 'include')) return
    if (value === 'off' || /^(data|engine|store):/.test(value)) return
    if (value.includes('$')) {
      const message = `Cannot tell which file ${directive.name} ${value} means: it holds a variable`
      this.find('error', 'nginx-variable', `${message} (${from}, line ${directive.line})`, from, {
        hint: "Add the files that it can mean to a component's paths",
      })
      return
    }
    const path = onHost(this.#hostRoot, value.startsWith('/') ? value : join(PREFIX, value))
    if (directive.name === 'include') await this.#addIncludes(path, from)
    else await this.#addFile(path, secret, directive, from)
  }

  async #addIncludes(pattern: string, from: string): Promise<void> {
    if (!/[*?[]/.test(pattern)) {
      if (await isFile(pattern)) await this.addConfigFile(pattern)
      else this.find('error', 'missing', `Cannot find ${pattern}: ${from} includes it`, pattern)
      return
    }
    const matches: string[] = []
    for await (const path of glob(pattern)) {
      if (matches.push(path) > INCLUDE_LIMIT) break // reported by the count of files seen
    }
    for (const path of matches.sort()) if (await isFile(path)) await this.addConfigFile(path)
  }

  async #addFile(path: string, secret: boolean, directive: NginxDirective, from: string): Promise<void> {
    const file = await this.addLinks(path)
    if (this.#seen.has(file)) return
    this.#seen.add(file)
    const where = `${directive.name} in ${from}, line ${directive.line}`
    try {
      const sealed = secret || holdsPrivateKey(await readBounded(file))
      ;(sealed ? this.secrets : this.targets).push(Buffer.from(file))
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      const message = `Cannot ${missing ? 'find' : 'read'} ${path}, named by ${where}: ${(error as Error).message}`
      this.find('error', missing ? 'missing' : 'unreadable', message, path)
    }
  }
}

async function findSite(given: string, hostRoot: string): Promise<string | undefined> {
  const candidates = given.includes('/')
    ? [onHost(hostRoot, given)]
    : SITE_DIRECTORIES.flatMap((directory) =>
        [given, `${given}.conf`].map((name) => join(hostRoot, PREFIX, directory, name)),
      )
  for (const path of candidates) if (await isFile((await followLinks(path, hostRoot)).at(-1) as string)) return path
  return undefined
}

/** Paths in the directories in force that are the site or lead to it. */
async function enablingPaths(site: string, hostRoot: string): Promise<string[]> {
  const paths: string[] = []
  for (const directory of ENABLED_DIRECTORIES) {
    const folder = join(hostRoot, PREFIX, directory)
    for (const name of await namesIn(folder)) {
      if (directory !== 'sites-enabled' && !name.endsWith('.conf')) continue
      const chain = await followLinks(join(folder, name), hostRoot)
      if (chain.at(-1) === site) paths.push(chain[0] as string)
    }
  }
  return paths
}

function reasonFor(
  directives: readonly NginxDirective[],
  application: { readonly port?: number | undefined; readonly dir: string },
  hostRoot: string,
): string | undefined {
  const inFolder = (path: string): boolean =>
    isWithin(application.dir, path) || isWithin(application.dir, onHost(hostRoot, path))
  for (const { name, args } of allDirectives(directives)) {
    const value = args[0] ?? ''
    // An upstream's members are `server ADDRESS` like a site's own `server {`, which has no argument.
    if (/^(proxy|grpc|fastcgi|uwsgi)_pass$/.test(name) || (name === 'server' && value !== '')) {
      const socket = /(?:^|\/\/)unix:([^:]+)/.exec(value)?.[1]
      if (socket !== undefined && inFolder(socket)) return `passes requests to the socket ${socket}`
      if (application.port !== undefined && localPort(value) === application.port) {
        return `proxies to port ${application.port}`
      }
    }
    if ((name === 'root' || name === 'alias') && value.startsWith('/') && !value.includes('$') && inFolder(value)) {
      return `serves files from ${value}`
    }
  }
  return undefined
}

function localPort(address: string): number | undefined {
  const match = /^(?:(?:https?|grpcs?):\/\/)?(?:localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1?\]):(\d+)(?:\/|$)/.exec(
    address,
  )
  return match === null ? undefined : Number(match[1])
}

function serverNames(directives: readonly NginxDirective[]): string[] {
  const names = [...allDirectives(directives)].filter(({ name }) => name === 'server_name').flatMap(({ args }) => args)
  return [...new Set(names)].filter((name) => name !== '_' && name !== '')
}

async function readSite(path: string): Promise<readonly NginxDirective[]> {
  return parseNginxConfig((await readBounded(path)).toString('utf8'), path)
}

async function readBounded(path: string): Promise<Buffer> {
  const { size } = await stat(path)
  if (size > FILE_LIMIT) {
    throw new ApplicationError('SOURCE', `${path} has ${size} bytes, expected at most ${FILE_LIMIT}`, {
      facts: { path, size },
    })
  }
  return readFile(path)
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch (error) {
    passOver(error)
    return false
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    passOver(error)
    return []
  }
}

/** What is absent, forbidden or not a configuration is none of ours; anything else is a defect of the machine. */
function passOver(error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException
  if (['ENOENT', 'ENOTDIR', 'EISDIR', 'EACCES', 'EPERM', 'SOURCE', 'ELOOP'].includes(code ?? '')) return undefined
  throw error
}
