import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { BareHost } from './bare-host.ts'

export const ROOT = '/opt/devrel-integration'
/** Where the repository lies on every host. */
export const REPOSITORY = '/var/backups/devrel-integration'
export const PASSWORD = 'correct horse battery staple'

export interface ExampleServer {
  readonly manager: 'systemd' | 'pm2'
  /** As the config names it. */
  readonly recipient: string
}

function configText({ manager, recipient }: ExampleServer): string {
  return `app: devrel-integration
root: ${ROOT}
owner: devrel:devrel
repository: ${REPOSITORY}
password-file: /etc/holdfast/devrel-integration.key
seal: ["${recipient}"]
components:
  code: [src/, package.json]
  config: config/
  data: data/
  secrets: secrets/
  pm2: ecosystem.config.js
  systemd: devrel-integration.service
  nginx: devrel-integration
exclude: [node_modules, "*.log"]
service:
  manager: ${manager}
  name: ${manager === 'pm2' ? 'devrel-bot' : 'devrel-integration'}
  install: id -un > logs/installed-by && pwd >> logs/installed-by && env | cut -d= -f1 | sort >> logs/installed-by
  build: node --version
  health: http://localhost:3000/health
  metrics: http://localhost:3000/metrics
  expect-log: [discord connected, linear]
`
}

/** Sets up the example application on a host as an operator would, starts it behind nginx, and protects it. */
export function setUpExample(host: BareHost, server: ExampleServer): void {
  const { manager } = server
  host.must(`useradd --system --create-home devrel
    mkdir -p ${ROOT} && cp -a /usr/lib/holdfast/examples/devrel-integration/. ${ROOT}/
    cd ${ROOT} && node src/setup.js --host / && rm -rf etc README.md .gitignore && chown -R devrel:devrel ${ROOT} && chmod 750 ${ROOT}
    chmod 640 config/bot.json && rm -f /etc/nginx/sites-enabled/default && nginx -t -q && systemctl reload-or-restart nginx`)
  host.must(
    manager === 'systemd'
      ? 'systemctl daemon-reload && systemctl enable --quiet --now devrel-integration'
      : `cd ${ROOT} && runuser -u devrel -- pm2 start ecosystem.config.js --env production --silent`,
  )
  writeFileSync(join(host.root, ROOT, 'holdfast.yaml'), configText(server), { mode: 0o640 })
  writeFileSync(join(host.root, 'root/password'), `${PASSWORD}\n`, { mode: 0o600 })
  host.must(`install -D -m 600 password /etc/holdfast/devrel-integration.key
    holdfast -r ${REPOSITORY} -p /root/password init --quiet`)
  untilHealthy(host)
}

/** Asks through nginx, with its certificate. */
export function askNginx(host: BareHost, path: string): string {
  const address = 'devrel.example.com:443:127.0.0.1'
  const certificate = '/etc/nginx/ssl/devrel-integration.crt'
  return host.must(`curl -sS --fail --cacert ${certificate} --resolve ${address} https://devrel.example.com${path}`)
}

export function untilHealthy(host: BareHost, port = 3000): void {
  host.must(`for i in $(seq 600); do curl -sf http://127.0.0.1:${port}/health && exit; sleep 0.1; done; exit 1`)
}

/** The highest row that is committed and on disk. */
export function lastCommitted(host: BareHost): number {
  return Number(/^devrel_last_committed_id (\d+)$/m.exec(askNginx(host, '/metrics'))?.[1])
}

/** How many of the rows up to one there are, in the database as it lies there. */
export function rowsUpTo(host: BareHost, last: number, root = ROOT): number {
  return Number(host.must(`sqlite3 ${root}/data/auth.db 'SELECT count(*) FROM events WHERE id BETWEEN 1 AND ${last}'`))
}

/** Path, type, mode, owner, group, and what a link leads to, of all that was restored; not of what the application writes. */
export function ownersAndModes(host: BareHost, root = ROOT): string[] {
  const host_ =
    '/etc/systemd/system/devrel-integration.service /etc/nginx/sites-available /etc/nginx/sites-enabled /etc/nginx/ssl'
  const wants = '/etc/systemd/system/multi-user.target.wants/devrel-integration.service'
  const found = host.must(
    `find ${root} ${host_} $(ls -d ${wants} 2>/dev/null) -not -path '*/logs/*' -not -name 'auth.db-*' -not -name '*.before-*' -printf '%p %y %m %u:%g %l\\n' | sort`,
  )
  return found.trim().split('\n')
}
