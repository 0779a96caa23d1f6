/**
 * Brings what the tests need and npm has not: system programs, and two releases of restic as judges of what we write.
 * Does nothing when all of it is there. What cannot be had is no failure here: the tests that need it say so and are
 * skipped (with CI=true, `scripts/test.ts` then fails).
 */
import { spawnSync } from 'node:child_process'
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'

interface SystemProgram {
  readonly command: string
  /** Debian's package. */
  readonly package: string
  /** What is not tested without it. */
  readonly tests: string
}

const PROGRAMS: readonly SystemProgram[] = [
  { command: 'gpg', package: 'gnupg', tests: 'sealing with GPG, signatures' },
  { command: 'age', package: 'age', tests: 'sealed archives opened by age itself' },
  { command: 'ssh-keygen', package: 'openssh-client', tests: 'signatures with SSH keys' },
  { command: 'sqlite3', package: 'sqlite3', tests: 'restored databases opened by sqlite3 itself' },
  { command: 'nginx', package: 'nginx-light', tests: 'restored sites accepted by nginx itself' },
  { command: 'setfacl', package: 'acl', tests: 'access control lists' },
  { command: 'setfattr', package: 'attr', tests: 'extended attributes' },
  { command: 'strace', package: 'strace', tests: 'order of system calls in a durable write' },
  { command: 'tmux', package: 'tmux', tests: 'what an operator sees on a terminal' },
  { command: 'git', package: 'git', tests: 'exclude patterns compared with those of Git' },
  { command: 'python3', package: 'python3', tests: 'extended attributes as another program reads them' },
  { command: 'zsh', package: 'zsh', tests: 'completion in zsh' },
  { command: 'fish', package: 'fish', tests: 'completion in fish' },
  { command: 'ps', package: 'procps', tests: 'secrets in process lists' },
  { command: 'xz', package: 'xz-utils', tests: 'unpacking of Debian packages' },
  { command: 'debootstrap', package: 'debootstrap', tests: 'whole servers that are lost and recovered' },
  { command: 'systemd-nspawn', package: 'systemd-container', tests: 'whole servers that are lost and recovered' },
  { command: 'openssl', package: 'openssl', tests: 'messages by TLS' },
  { command: 'update-ca-certificates', package: 'ca-certificates', tests: 'messages by TLS' },
  { command: 'time', package: 'time', tests: 'the smoke run of the benchmarks' },
]

/** The newest restic that Debian has packaged, and the one that operators of this Debian release have. */
const RESTICS = [
  { file: 'restic', suite: () => 'sid' },
  { file: 'restic-stable', suite: debianRelease },
] as const

const STEP_LIMIT = 5 * 60_000
const APT = ['-qq', '-o', 'Dpkg::Use-Pty=0', '-o', 'DPkg::Lock::Timeout=120', '-o', 'Acquire::Retries=1']
const APT_ENV = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', DEBCONF_NOWARNINGS: 'yes', LC_ALL: 'C.UTF-8' }

const tools = join(dirname(import.meta.dirname), '.tools')

class Unavailable extends Error {}

function main(): void {
  const skipped: string[] = []
  const attempt = (missing: readonly string[], bring: () => void) => {
    try {
      bring()
    } catch (error) {
      // A folder that may not be written to is as good a reason as no network; anything else is a defect here.
      if (!(error instanceof Unavailable) && !(error instanceof Error && 'syscall' in error)) throw error
      skipped.push(...missing.map((what) => `${what}: ${error.message}`))
    }
  }

  const wanted = PROGRAMS.filter(({ command }) => !onPath(command))
  if (wanted.length > 0) {
    attempt(
      wanted.map((program) => `${program.tests} (no ${program.command})`),
      () => installPackages(wanted.map((program) => program.package)),
    )
  }
  for (const { file, suite } of RESTICS) {
    if (runs(join(tools, 'bin', file))) continue
    attempt([`agreement with restic (no .tools/bin/${file})`], () => unpackRestic(suite(), file))
  }

  if (skipped.length > 0) console.log(`Tests that will be skipped:\n${skipped.map((line) => `  - ${line}\n`).join('')}`)
}

function onPath(command: string): boolean {
  // Debian's users without administrative rights lack the sbin folders on their PATH, nginx lies there.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']
  return folders.some((folder) => isExecutable(join(folder, command)))
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false // `access` has no other way to say no
  }
}

function runs(restic: string): boolean {
  return existsSync(restic) && spawnSync(restic, ['version']).status === 0
}

function installPackages(packages: readonly string[]): void {
  if (!onPath('apt-get')) throw new Unavailable('this system has no apt-get')
  if (process.getuid?.() !== 0) throw new Unavailable(`run as root: apt-get install ${packages.join(' ')}`)
  console.log(`Installing for the tests: ${packages.join(', ')}`)
  apt(['update'])
  withoutStartingServices(() => apt(['install', '--yes', '--no-install-recommends', ...packages]))
}

/** Debian starts a server as soon as it is installed, unless this file says no. */
function withoutStartingServices(install: () => void): void {
  const policy = '/usr/sbin/policy-rc.d'
  if (existsSync(policy)) {
    install()
    return
  }
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755, flag: 'wx' })
  try {
    install()
  } finally {
    rmSync(policy)
  }
}

/** Takes one program out of a package of any Debian suite; the machine's own sources and lists stay as they are. */
function unpackRestic(suite: string, file: string): void {
  if (!onPath('apt-get') || !onPath('dpkg')) throw new Unavailable('this system has no Debian packages')
  console.log(`Fetching restic from Debian ${suite} into .tools/bin/${file}`)
  const work = mkdtempSync(join(tmpdir(), 'holdfast-pretest-'))
  try {
    mkdirSync(join(work, 'lists/partial'), { recursive: true })
    mkdirSync(join(work, 'cache/archives/partial'), { recursive: true })
    writeFileSync(join(work, 'sources.list'), `deb [signed-by=${debianKeyring()}] ${debianMirror()} ${suite} main\n`)
    const apart = [
      `Dir::Etc::SourceList=${work}/sources.list`,
      'Dir::Etc::SourceParts=/dev/null',
      `Dir::State::Lists=${work}/lists`,
      `Dir::Cache=${work}/cache`,
      'APT::Sandbox::User=', // the folder is ours alone; apt's own user could not write to it
      'Acquire::Languages=none',
      'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false',
      'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false',
    ].flatMap((option) => ['-o', option])
    apt([...apart, 'update'])
    apt([...apart, 'download', 'restic'], work)

    const packed = readdirSync(work).find((name) => name.endsWith('.deb'))
    if (packed === undefined) throw new Unavailable(`apt-get fetched no package from ${suite}`)
    command('dpkg', ['-x', join(work, packed), join(work, 'unpacked')])
    const bin = join(tools, 'bin')
    mkdirSync(bin, { recursive: true })
    const temporary = join(bin, `.${file}.${process.pid}`)
    copyFileSync(join(work, 'unpacked/usr/bin/restic'), temporary)
    chmodSync(temporary, 0o755)
    renameSync(temporary, join(bin, file))
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function debianRelease(): string {
  const release = /^VERSION_CODENAME=(.+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
  if (release === undefined) throw new Unavailable('this system does not name its release in /etc/os-release')
  return release
}

/** Where this machine gets its own packages from: no mirror is named here. */
function debianMirror(): string {
  const targets = command('apt-get', ['indextargets', '--format', '$(CREATED_BY) $(REPO_URI)', 'Created-By: Packages'])
  const mirror = targets
    .split('\n')
    .map((line) => line.split(' ')[1])
    .find((uri) => uri?.replace(/\/$/, '').endsWith('/debian'))
  if (mirror === undefined) throw new Unavailable('apt on this system has no Debian archive among its sources')
  return mirror
}

function debianKeyring(): string {
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'
  if (!existsSync(keyring)) throw new Unavailable(`${keyring} is missing`)
  return keyring
}

function apt(args: readonly string[], cwd?: string): void {
  command('apt-get', [...APT, ...args], cwd)
}

/** Runs a program quietly; what it said is shown only when it failed. */
function command(program: string, args: readonly string[], cwd?: string): string {
  const { status, signal, error, stdout, stderr } = spawnSync(program, args, {
    cwd,
    env: APT_ENV,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: STEP_LIMIT,
  })
  if (status === 0) return stdout
  const said = stderr.trim().split('\n').slice(-3).join(' | ')
  throw new Unavailable(`${program} failed (${error?.message ?? signal ?? `exit ${status}`}) ${said}`)
}

main()
