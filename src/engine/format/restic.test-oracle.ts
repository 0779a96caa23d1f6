import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Writable } from 'node:stream'
import { makeResticRepository } from '../../../test/equipment/restic-repository.ts'
import { PASSWORD } from '../../../test/equipment/test-repository.ts'
import { isId } from './id.ts'
import { type MasterKey, unseal } from './master-key.ts'
import { decodeUnpacked } from './unpacked.ts'

/** The restic that judges what we write and writes what we read. */
const binary = resolve(import.meta.dirname, '../../..', process.env.HOLDFAST_RESTIC ?? '.tools/bin/restic')

/** For the `skip` option of tests that need restic. */
export const withoutRestic = existsSync(binary) ? false : `no restic at ${binary}; HOLDFAST_RESTIC names another place`

/** For the `skip` option of tests of what only newer versions write, given as major and minor number. */
export function olderThan(version: string): false | string {
  const found = /^restic (\d+\.\d+)/.exec(spawnSync(binary, ['version']).stdout.toString())?.[1]
  if (found === undefined) throw new Error(`${binary} does not tell its version`)
  const isOlder = found.localeCompare(version, 'en', { numeric: true }) < 0
  return isOlder && `restic ${found} writes this in another way than ${version}`
}

export interface ResticOptions {
  readonly cwd?: string
  readonly timeZone?: string
  readonly input?: string
}

/** A new repository that restic's `init` made, removed when disposed. */
export class ResticRepository implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'holdfast-restic-'))
  readonly path = join(this.directory, 'repository')
  readonly version: 1 | 2
  #masterKey: MasterKey | undefined

  private constructor(version: 1 | 2) {
    this.version = version
  }

  static async make(version: 1 | 2 = 2): Promise<ResticRepository> {
    const repository = new ResticRepository(version)
    await makeResticRepository(repository.path, { version })
    return repository
  }

  /** What restic prints. Throws with what it complains of when it exits with anything but 0. */
  run(args: readonly string[], { cwd, timeZone = 'UTC', input = '' }: ResticOptions = {}): Buffer {
    const options = { cwd, env: this.#environment(timeZone), input, maxBuffer: 1 << 30 }
    const { status, stdout, stderr, error } = spawnSync(binary, this.#arguments(args), options)
    if (error) throw error
    if (status !== 0) throw new Error(`restic ${args.join(' ')} exits with ${status}: ${stderr}`)
    return stdout
  }

  /** Starts restic, to look at the repository while it waits for its input. */
  start(args: readonly string[]): ChildProcessByStdio<Writable, null, null> {
    return spawn(binary, this.#arguments(args), { env: this.#environment('UTC'), stdio: ['pipe', 'ignore', 'ignore'] })
  }

  #arguments(args: readonly string[]): string[] {
    return ['-r', this.path, '--no-cache', '--quiet', ...args]
  }

  #environment(timeZone: string): NodeJS.ProcessEnv {
    return { ...process.env, RESTIC_PASSWORD: PASSWORD.toString(), RESTIC_PROGRESS_FPS: '0.001', TZ: timeZone }
  }

  get masterKey(): MasterKey {
    if (this.#masterKey === undefined) {
      const { mac, encrypt } = JSON.parse(this.run(['cat', 'masterkey']).toString())
      const [key, k, r] = [encrypt, mac.k, mac.r].map((text) => Buffer.from(text, 'base64'))
      this.#masterKey = { encrypt: key!, macK: k!, macR: r! }
    }
    return this.#masterKey
  }

  /** The JSON in every file of the folder, byte for byte, by name. */
  unpackedFiles(folder: 'index' | 'snapshots' | 'locks'): Map<string, Buffer> {
    const names = readdirSync(join(this.path, folder)).filter(isId)
    return new Map(
      names.map((name) => {
        const sealed = readFileSync(join(this.path, folder, name))
        return [name, decodeUnpacked(this.version, unseal(this.masterKey, sealed))]
      }),
    )
  }

  /** The stored bytes of every pack, by name. */
  packs(): Map<string, Buffer> {
    const data = join(this.path, 'data')
    const paths = readdirSync(data).flatMap((fan) =>
      readdirSync(join(data, fan)).map((name) => [name, join(data, fan, name)] as const),
    )
    return new Map(paths.map(([name, path]) => [name, readFileSync(path)]))
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}
