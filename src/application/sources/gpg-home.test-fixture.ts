import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Why tests that need the program cannot run here; `false` when they can. */
export function without(...programs: readonly string[]): string | false {
  const missing = programs.filter((program) => spawnSync(program, ['--version']).error !== undefined)
  return missing.length === 0 ? false : `${missing.join(', ')} is not installed`
}

export interface KeyOptions {
  readonly passphrase?: string
  /** As gpg takes it: `never`, `1d`, an ISO date. */
  readonly expires?: string
  /** A primary key that signs and nothing else. */
  readonly signOnly?: boolean
  /** Made on this day, `20200101T000000`. */
  readonly madeOn?: string
}

/**
 * A keyring of its own, which gpg uses while it is open: `GNUPGHOME` points to it. Its path is short, as the sockets of the
 * agent must fit into 108 bytes.
 */
export function openGpgHome() {
  const directory = mkdtempSync(join(tmpdir(), 'hfg-'))
  const before = process.env.GNUPGHOME
  process.env.GNUPGHOME = directory

  function gpg(args: readonly string[], input?: string | Buffer): Buffer {
    const quiet = ['--batch', '--no-tty', '--quiet', '--trust-model', 'always']
    return execFileSync('gpg', [...quiet, ...args], { input, stdio: ['pipe', 'pipe', 'pipe'] })
  }

  return {
    directory,
    gpg,
    /** Returns the fingerprint. */
    makeKey(userId: string, options: KeyOptions = {}): string {
      const { passphrase = '', expires = 'never', signOnly = false, madeOn } = options
      const time = madeOn === undefined ? [] : ['--faked-system-time', `${madeOn}!`]
      const unattended = ['--pinentry-mode', 'loopback', '--passphrase', passphrase, '--status-fd', '1', ...time]
      const [algorithm, usage] = signOnly ? ['ed25519', 'sign'] : ['future-default', 'default']
      const status = gpg([...unattended, '--quick-generate-key', userId, algorithm, usage, expires]).toString()
      return /KEY_CREATED \w ([0-9A-F]+)/.exec(status)?.[1] as string
    },
    revoke(fingerprint: string): void {
      const certificate = readFileSync(join(directory, 'openpgp-revocs.d', `${fingerprint}.rev`), 'utf8')
      gpg(['--import'], certificate.replace(':-----BEGIN', '-----BEGIN'))
    },
    exported: (name: string): Buffer => gpg(['--armor', '--export', name]),
    /** Makes the agent forget passphrases. */
    forget(): void {
      execFileSync('gpgconf', ['--kill', 'gpg-agent'])
    },
    [Symbol.dispose](): void {
      execFileSync('gpgconf', ['--kill', 'all'])
      if (before === undefined) delete process.env.GNUPGHOME
      else process.env.GNUPGHOME = before
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
