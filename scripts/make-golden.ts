/**
 * Makes `test/golden/` anew: small repositories written by real restic, healthy and damaged, with what was backed up and
 * what restic's own `check` says of each. Needs root (devices, owners), the programs that `scripts/pretest.ts` brings,
 * and a few minutes. Random keys make every run's bytes different, so run it only to add or change
 * a repository, and commit all of the result.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  appendFileSync,
  cpSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type MasterKey, seal, unseal } from '../src/engine/format/master-key.ts'
import { decodeUnpacked, encodeUnpacked } from '../src/engine/format/unpacked.ts'
import { setTimes } from '../src/engine/os/times.ts'

const checkout = dirname(import.meta.dirname)
const golden = join(checkout, 'test/golden')
const PASSWORD = 'golden'
const SECOND_PASSWORD = 'golden as well'
/** The same on every machine, for its path is in the snapshots. */
const SOURCE = '/tmp/holdfast-golden/source'

type Restic = 'restic' | 'restic-stable'

// --- What is backed up -------------------------------------------------------------------------------------------

export interface GoldenFile {
  /** Below the source; base64 of the bytes in `pathBytes` when they are not UTF-8. */
  readonly path: string
  readonly pathBytes?: string
  readonly type: string
  readonly mode: string
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: string
  readonly size?: number
  readonly sha256?: string
  readonly linkTarget?: string
  /** Path of the first name of the same file. */
  readonly hardLinkOf?: string
  readonly device?: string
  readonly extendedAttributes?: Readonly<Record<string, string>>
}

function makeSource(): void {
  rmSync(SOURCE, { recursive: true, force: true })
  const folder = (path: string, mode = 0o755) => mkdirSync(join(SOURCE, path), { recursive: true, mode })
  const file = (path: string, content: string | Buffer) => writeFileSync(join(SOURCE, path), content, { mode: 0o644 })

  for (const path of ['data', 'links', 'names', 'kinds', 'times', 'empty folder']) folder(path)
  file('README.txt', 'What the golden repositories hold\n')
  file('data/empty', '')
  file('data/random.bin', pseudoRandom(3000, 1))
  file('data/text.txt', 'Every backup that was never restored is a hope\n'.repeat(120))
  file('data/same text.txt', 'Every backup that was never restored is a hope\n'.repeat(120))

  file('links/one', 'one file, two names\n')
  linkSync(join(SOURCE, 'links/one'), join(SOURCE, 'links/other'))
  symlinkSync('../README.txt', join(SOURCE, 'links/relative'))
  symlinkSync('/nowhere/to be found', join(SOURCE, 'links/broken'))

  const names = [
    'with space',
    'quote"and\\backslash',
    'new\nline',
    'ümlaut',
    'u\u0308mlaut',
    '😀',
    '<html>&',
    '\u2028',
    '\x01',
    '...',
    '-rf',
  ]
  for (const name of names) file(`names/${name}`, `${name}\n`)
  writeFileSync(Buffer.concat([Buffer.from(`${SOURCE}/names/`), Buffer.of(0xff, 0x66, 0xfe)]), 'not UTF-8\n')

  file('kinds/setuid', '#!/bin/sh\n')
  file('kinds/unreadable', 'mode 0000\n')
  file('kinds/foreign', 'of somebody unknown here\n')
  file('kinds/attributes', 'with an extended attribute and an access control list\n')
  folder('kinds/sticky')
  run('chown', ['54321:54322', join(SOURCE, 'kinds/foreign')])
  for (const [mode, path] of [
    ['4755', 'setuid'],
    ['0000', 'unreadable'],
    ['1777', 'sticky'],
  ] as const) {
    run('chmod', [mode, join(SOURCE, 'kinds', path)])
  }
  run('mkfifo', ['-m', '640', join(SOURCE, 'kinds/fifo')])
  run('mknod', ['-m', '666', join(SOURCE, 'kinds/null'), 'c', '1', '3'])
  run('mknod', ['-m', '660', join(SOURCE, 'kinds/block'), 'b', '7', '200'])
  run('setfattr', ['-n', 'user.note', '-v', '0x6e6f7465ff00', join(SOURCE, 'kinds/attributes')])
  run('setfacl', ['-m', 'u:54321:r', join(SOURCE, 'kinds/attributes')])

  for (const name of ['before 1970', 'nanoseconds', 'after 2038']) file(`times/${name}`, `${name}\n`)
  settle()
  setTimes(Buffer.from(`${SOURCE}/times/before 1970`), 0n, -86_399_999_999_999n)
  setTimes(Buffer.from(`${SOURCE}/times/nanoseconds`), 0n, 1_234_567_890_123_456_789n)
  setTimes(Buffer.from(`${SOURCE}/times/after 2038`), 0n, 4_102_444_800_000_000_001n)
}

function changeSource(): void {
  appendFileSync(join(SOURCE, 'data/text.txt'), 'and hope is no plan\n')
  writeFileSync(join(SOURCE, 'data/added.bin'), pseudoRandom(900, 2), { mode: 0o644 })
  rmSync(join(SOURCE, 'names/with space'))
  settle(
    1_700_000_100n,
    ['data/text.txt', 'data/added.bin', 'data', 'names'].map((path) => Buffer.from(path)),
  )
}

/** Two chunks' worth that compresses well: one bit of chance in each byte. */
function makeLargeSource(): void {
  rmSync(SOURCE, { recursive: true, force: true })
  mkdirSync(SOURCE, { recursive: true, mode: 0o755 })
  writeFileSync(
    join(SOURCE, 'large.bin'),
    pseudoRandom(1_500_000, 3).map((byte) => byte & 1),
  )
  settle()
}

/** Gives entries a time that does not depend on when this runs. */
function settle(second = 1_700_000_000n, paths: readonly Buffer[] = walk(SOURCE)): void {
  const time = second * 1_000_000_000n
  for (const path of paths) setTimes(Buffer.concat([Buffer.from(`${SOURCE}/`), path]), time, time)
}

/** Every entry below a folder, files after their folder, in order of bytes. */
function walk(top: string, below: Buffer = Buffer.alloc(0)): Buffer[] {
  const folder = below.length === 0 ? Buffer.from(top) : Buffer.concat([Buffer.from(`${top}/`), below])
  return readdirSync(folder, { encoding: 'buffer' })
    .sort(Buffer.compare)
    .flatMap((name) => {
      const path = below.length === 0 ? name : Buffer.concat([below, Buffer.from('/'), name])
      const absolute = Buffer.concat([Buffer.from(`${top}/`), path])
      return lstatSync(absolute).isDirectory() ? [path, ...walk(top, path)] : [path]
    })
}

function describeSource(): GoldenFile[] {
  const firstNames = new Map<bigint, string>()
  return walk(SOURCE).map((path) => {
    const absolute = Buffer.concat([Buffer.from(`${SOURCE}/`), path])
    const stat = lstatSync(absolute, { bigint: true })
    const text = path.toString()
    const type = stat.isFile()
      ? 'file'
      : stat.isDirectory()
        ? 'dir'
        : stat.isSymbolicLink()
          ? 'symlink'
          : stat.isFIFO()
            ? 'fifo'
            : stat.isBlockDevice()
              ? 'dev'
              : 'chardev'
    const first = stat.nlink > 1n && type === 'file' ? firstNames.get(stat.ino) : undefined
    if (stat.nlink > 1n) firstNames.set(stat.ino, first ?? text)
    const content = type === 'file' ? readFileSync(absolute) : undefined
    return {
      path: text,
      ...(Buffer.from(text).equals(path) ? {} : { pathBytes: path.toString('base64') }),
      type,
      mode: (Number(stat.mode) & 0o7777).toString(8).padStart(4, '0'),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtimeNs: String(stat.mtimeNs),
      ...(content === undefined ? {} : { size: content.length, sha256: sha256(content) }),
      ...(type === 'symlink' ? { linkTarget: readlinkSync(absolute) } : {}),
      ...(first === undefined ? {} : { hardLinkOf: first }),
      ...(type === 'dev' || type === 'chardev' ? { device: `${stat.rdev >> 8n}:${stat.rdev & 0xffn}` } : {}),
      ...(text === 'kinds/attributes' ? { extendedAttributes: extendedAttributes(absolute.toString()) } : {}),
    }
  })
}

/** Names and base64 values, as `getfattr` prints them. */
function extendedAttributes(path: string): Record<string, string> {
  const printed = run('getfattr', ['--absolute-names', '-d', '-m', '-', '-e', 'base64', path])
  return Object.fromEntries([...printed.matchAll(/^([\w.]+)=0s(.*)$/gm)].map(([, name, value]) => [name, value]))
}

/** The same bytes for the same seed, on every machine (xorshift32). */
function pseudoRandom(length: number, seed: number): Buffer {
  let state = seed * 0x9e3779b1
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[at] = state >>> 24
  }
  return bytes
}

// --- restic ------------------------------------------------------------------------------------------------------

interface Outcome {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

function tryRestic(program: Restic, repository: string, args: readonly string[], password = PASSWORD): Outcome {
  const result = spawnSync(join(checkout, '.tools/bin', program), ['--no-cache', ...args], {
    cwd: existsSync(SOURCE) ? SOURCE : '/',
    env: {
      PATH: '/usr/bin:/bin',
      RESTIC_REPOSITORY: repository,
      RESTIC_PASSWORD: password,
      HOME: '/nonexistent',
      TZ: 'UTC',
    },
    encoding: 'utf8',
    timeout: 120_000,
  })
  if (result.status === null) throw new Error(`restic ${args.join(' ')} did not end: ${result.error?.message}`)
  return { exitCode: result.status, stdout: result.stdout, stderr: result.stderr }
}

function restic(program: Restic, repository: string, args: readonly string[], password?: string): string {
  const { exitCode, stdout, stderr } = tryRestic(program, repository, args, password)
  if (exitCode !== 0) throw new Error(`restic ${args.join(' ')} ended with ${exitCode}: ${stderr}`)
  return stdout
}

export interface GoldenSnapshot {
  readonly id: string
  readonly tree: string
  readonly tags: readonly string[]
  readonly paths: readonly string[]
  /** Key in `sources`. */
  readonly source: string
}

/** What was backed up, by name: the same in every repository that has a snapshot of it. */
const sources = new Map<string, readonly GoldenFile[]>()

function backup(program: Restic, repository: string, source: string, options: readonly string[] = []): GoldenSnapshot {
  const files = describeSource()
  const known = sources.get(source)
  if (known !== undefined) assert.deepEqual(files, known)
  sources.set(source, files)
  restic(program, repository, ['backup', ...options, '--host', 'golden', '--tag', source, SOURCE])
  const snapshots: { id: string; tree: string; tags: string[]; paths: string[] }[] = JSON.parse(
    restic(program, repository, ['snapshots', '--json', 'latest']),
  )
  const { id, tree, tags, paths } = snapshots[0]!
  return { id, tree, tags, paths, source }
}

/** What restic's check says, so that ours can be held against it. */
export interface GoldenCheck {
  readonly exitCode: number
  readonly errors: number
  readonly brokenPacks: readonly string[]
  readonly suggestRepairIndex: boolean
  readonly suggestPrune: boolean
  /** Standard error, without general advice, the folder of the repository written as `REPOSITORY`; order is chance. */
  readonly messages: readonly string[]
}

const ADVICE =
  /^(The repository (contains damaged|is damaged)|restic repair|Damaged pack files can be|Fatal: repository contains)/

/** What the newest restic's `check` says of a repository, which stays as it is. */
export function check(repository: string, options: readonly string[]): GoldenCheck {
  // Without a lock, for check must not add a file to what is committed.
  const { exitCode, stdout, stderr } = tryRestic('restic', repository, ['--no-lock', 'check', '--json', ...options])
  const summary: Record<string, unknown> = JSON.parse(
    stdout.split('\n').find((line) => line.includes('"message_type":"summary"')) ?? '{}',
  )
  const messages = stderr
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (line.startsWith('{') ? (JSON.parse(line) as { message: string }).message : line).trim())
    .filter((message) => !ADVICE.test(message))
    .map((message) => message.replaceAll(repository, 'REPOSITORY'))
  return {
    exitCode,
    errors: Number(summary.num_errors),
    brokenPacks: (summary.broken_packs ?? []) as string[],
    suggestRepairIndex: summary.suggest_repair_index === true,
    suggestPrune: summary.suggest_prune === true,
    messages,
  }
}

// --- Inside a repository -----------------------------------------------------------------------------------------

interface IndexedBlob {
  id: string
  type: 'data' | 'tree'
  offset: number
  length: number
  uncompressed_length?: number
}

interface IndexJson {
  packs: { id: string; blobs: IndexedBlob[] }[]
}

/** A repository that is about to be damaged. */
class Patient {
  readonly path: string
  readonly #key: MasterKey

  constructor(path: string) {
    this.path = path
    const key: { mac: { k: string; r: string }; encrypt: string } = JSON.parse(
      restic('restic', path, ['--no-lock', 'cat', 'masterkey']),
    )
    const bytes = (text: string) => Buffer.from(text, 'base64')
    this.#key = { encrypt: bytes(key.encrypt), macK: bytes(key.mac.k), macR: bytes(key.mac.r) }
  }

  /** Files of a kind (`index`, `snapshots`, `keys`), the oldest first. */
  files(folder: string): string[] {
    return readdirSync(join(this.path, folder))
      .map((name) => join(this.path, folder, name))
      .sort((a, b) => Number(statSync(a, { bigint: true }).mtimeNs - statSync(b, { bigint: true }).mtimeNs))
  }

  packFile(id: string): string {
    return join(this.path, 'data', id.slice(0, 2), id)
  }

  readIndex(file: string): IndexJson {
    return JSON.parse(decodeUnpacked(2, unseal(this.#key, readFileSync(file))).toString())
  }

  writeIndex(index: IndexJson): void {
    this.#save('index', seal(this.#key, encodeUnpacked(2, Buffer.from(`${JSON.stringify(index)}\n`))))
  }

  indexes(): IndexJson[] {
    return this.files('index').map((file) => this.readIndex(file))
  }

  /** The first pack of the first backup that holds blobs of the type. */
  pack(type: 'data' | 'tree'): { readonly id: string; readonly file: string; readonly blobs: readonly IndexedBlob[] } {
    const index = this.indexes()[0]!
    const pack = index.packs.find(({ blobs }) => blobs[0]?.type === type)!
    return { ...pack, blobs: pack.blobs.toSorted((a, b) => a.offset - b.offset), file: this.packFile(pack.id) }
  }

  unseal(sealed: Buffer): Buffer {
    return unseal(this.#key, sealed)
  }

  seal(plaintext: Buffer): Buffer {
    return seal(this.#key, plaintext)
  }

  /** Writes a pack of blobs that are sealed already, and answers with its ID and index entry. */
  writePack(blobs: readonly (IndexedBlob & { readonly sealed: Buffer })[]): IndexJson['packs'][number] {
    let offset = 0
    const entries = blobs.map(({ sealed, ...blob }) => {
      const entry = { ...blob, offset, length: sealed.length }
      offset += sealed.length
      return entry
    })
    const header = this.seal(
      Buffer.concat(
        entries.map(({ id, type, length, uncompressed_length: plain }) => {
          const kind = (type === 'tree' ? 1 : 0) + (plain === undefined ? 0 : 2)
          return Buffer.concat([
            Buffer.of(kind),
            uint32(length),
            ...(plain === undefined ? [] : [uint32(plain)]),
            Buffer.from(id, 'hex'),
          ])
        }),
      ),
    )
    const id = this.#save('data', Buffer.concat([...blobs.map(({ sealed }) => sealed), header, uint32(header.length)]))
    return { id, blobs: entries }
  }

  /** Stores a file under its hash. */
  #save(folder: 'data' | 'index', content: Buffer): string {
    const id = sha256(content)
    const file = folder === 'data' ? this.packFile(id) : join(this.path, folder, id)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content, { mode: 0o600 })
    return id
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function flip(file: string, offset: number): void {
  const bytes = readFileSync(file)
  const at = offset < 0 ? bytes.length + offset : offset
  bytes[at] = bytes[at]! ^ 0x01
  overwrite(file, bytes)
}

function overwrite(file: string, bytes: Buffer): void {
  rmSync(file)
  writeFileSync(file, bytes, { mode: 0o600 })
}

function middle(file: string): number {
  return statSync(file).size >> 1
}

function slicesOf(file: string, blobs: readonly IndexedBlob[]) {
  const bytes = readFileSync(file)
  return blobs.map((blob) => ({ ...blob, sealed: bytes.subarray(blob.offset, blob.offset + blob.length) }))
}

// --- The repositories --------------------------------------------------------------------------------------------

interface Healthy {
  readonly origin: string
  readonly version: 1 | 2
  readonly make: (repository: string) => GoldenSnapshot[]
}

function twoBackups(first: Restic, second: Restic, options: readonly string[] = []) {
  return (repository: string): GoldenSnapshot[] => {
    makeSource()
    const before = backup(first, repository, 'first', options)
    changeSource()
    return [before, backup(second, repository, 'second', options)]
  }
}

/** Where a file is cut depends on a random number in the config; tries until there is more than one chunk. */
function untilSeveralChunks(make: (repository: string) => GoldenSnapshot[]) {
  return (repository: string): GoldenSnapshot[] => {
    for (;;) {
      const snapshots = make(repository)
      const blobs = new Patient(repository).indexes().flatMap(({ packs }) => packs.flatMap((pack) => pack.blobs))
      if (blobs.filter(({ type }) => type === 'data').length > 1) return snapshots
      rmSync(repository, { recursive: true })
    }
  }
}

function initialised(version: 1 | 2, program: Restic, make: (repository: string) => GoldenSnapshot[]) {
  return (repository: string) => {
    restic(program, repository, ['init', '--repository-version', String(version)])
    return make(repository)
  }
}

const HEALTHY: Readonly<Record<string, Healthy>> = {
  'v1-restic-0.14': {
    origin: 'restic 0.14, version 1, two backups',
    version: 1,
    make: initialised(1, 'restic-stable', twoBackups('restic-stable', 'restic-stable')),
  },
  'v1-restic-0.19': {
    origin: 'restic 0.19, version 1, two backups',
    version: 1,
    make: initialised(1, 'restic', twoBackups('restic', 'restic')),
  },
  'v2-restic-0.14': {
    origin: 'restic 0.14, version 2, two backups',
    version: 2,
    make: initialised(2, 'restic-stable', twoBackups('restic-stable', 'restic-stable')),
  },
  'v2-restic-0.19': {
    origin: 'restic 0.19, version 2, two backups',
    version: 2,
    make: initialised(2, 'restic', twoBackups('restic', 'restic')),
  },
  'v2-restic-0.14-then-0.19': {
    origin: 'version 2, first backup by restic 0.14, second by 0.19',
    version: 2,
    make: initialised(2, 'restic-stable', twoBackups('restic-stable', 'restic')),
  },
  'v2-uncompressed': {
    origin: 'restic 0.19, version 2, two backups with `--compression off`',
    version: 2,
    make: initialised(2, 'restic', twoBackups('restic', 'restic', ['--compression', 'off'])),
  },
  'v2-upgraded': {
    origin: 'restic 0.19, version 1 with a backup, `migrate upgrade_repo_v2`, second backup',
    version: 2,
    make: initialised(1, 'restic', (repository) => {
      makeSource()
      const before = backup('restic', repository, 'first')
      restic('restic', repository, ['migrate', 'upgrade_repo_v2'])
      changeSource()
      return [before, backup('restic', repository, 'second')]
    }),
  },
  'v2-several-chunks': {
    origin: 'restic 0.19, version 2, `--compression max`, one file of several chunks',
    version: 2,
    make: untilSeveralChunks(
      initialised(2, 'restic', (repository) => {
        makeLargeSource()
        return [backup('restic', repository, 'large', ['--compression', 'max'])]
      }),
    ),
  },
  'v2-two-keys': {
    origin: `restic 0.19, version 2, two passwords: "${PASSWORD}" and "${SECOND_PASSWORD}"`,
    version: 2,
    make: initialised(2, 'restic', (repository) => {
      makeLargeSource()
      writeFileSync(join(SOURCE, 'large.bin'), 'small\n')
      settle()
      const newPassword = join(dirname(repository), 'second-password')
      writeFileSync(newPassword, SECOND_PASSWORD)
      restic('restic', repository, ['key', 'add', '--new-password-file', newPassword])
      return [backup('restic', repository, 'small')]
    }),
  },
  'v2-empty': {
    origin: 'restic 0.19, version 2, as `init` left it',
    version: 2,
    make: initialised(2, 'restic', () => []),
  },
}

interface Damage {
  readonly damage: string
  /** Answers with the file that was damaged, where there is one. */
  readonly apply: (patient: Patient) => string | undefined
}

/** Each is done to a copy of one repository: restic 0.19, version 2, two backups. */
const DAMAGES: Readonly<Record<string, Damage>> = {
  'pack-data-flipped': {
    damage: 'one bit flipped in the first blob of a data pack',
    apply: (patient) => {
      const { file, blobs } = patient.pack('data')
      flip(file, blobs[0]!.offset + 20)
      return file
    },
  },
  'pack-tree-flipped': {
    damage: 'one bit flipped in the last blob of a tree pack',
    apply: (patient) => {
      const { file, blobs } = patient.pack('tree')
      flip(file, blobs.at(-1)!.offset + 20)
      return file
    },
  },
  'pack-header-flipped': {
    damage: 'one bit flipped in the sealed header of a data pack; every blob is good',
    apply: (patient) => {
      const { file } = patient.pack('data')
      flip(file, -20)
      return file
    },
  },
  'pack-header-length-altered': {
    damage: 'one bit flipped in the header length at the end of a data pack; every blob is good',
    apply: (patient) => {
      const { file } = patient.pack('data')
      flip(file, -4)
      return file
    },
  },
  'pack-truncated': {
    damage: 'the second half of a data pack cut off',
    apply: (patient) => {
      const { file } = patient.pack('data')
      const size = middle(file)
      overwrite(file, readFileSync(file))
      truncateSync(file, size)
      return file
    },
  },
  'pack-emptied': {
    damage: 'a data pack of no bytes',
    apply: (patient) => {
      const { file } = patient.pack('data')
      overwrite(file, Buffer.alloc(0))
      return file
    },
  },
  'pack-too-long': {
    damage: 'seven bytes appended to a data pack; every blob is good',
    apply: (patient) => {
      const { file } = patient.pack('data')
      overwrite(file, Buffer.concat([readFileSync(file), Buffer.from('damaged')]))
      return file
    },
  },
  'pack-data-missing': {
    damage: 'a data pack removed, still indexed',
    apply: (patient) => {
      const { file } = patient.pack('data')
      rmSync(file)
      return file
    },
  },
  'pack-tree-missing': {
    damage: 'a tree pack removed, still indexed',
    apply: (patient) => {
      const { file } = patient.pack('tree')
      rmSync(file)
      return file
    },
  },
  'pack-renamed': {
    damage: 'a data pack whose name is not the hash of its content; name and index agree, every blob is good',
    apply: (patient) => {
      const { id, file } = patient.pack('data')
      const other = sha256(Buffer.from(id))
      mkdirSync(dirname(patient.packFile(other)), { recursive: true })
      renameSync(file, patient.packFile(other))
      const indexFile = patient.files('index')[0]!
      const index = patient.readIndex(indexFile)
      rmSync(indexFile)
      patient.writeIndex({ packs: index.packs.map((pack) => (pack.id === id ? { ...pack, id: other } : pack)) })
      return patient.packFile(other)
    },
  },
  'pack-unindexed': {
    damage: 'nothing lost: the index and the snapshot of the second backup removed, its packs left',
    apply: (patient) => {
      rmSync(patient.files('index')[1]!)
      rmSync(patient.files('snapshots')[1]!)
      return undefined
    },
  },
  'pack-mixed': {
    damage: 'nothing lost: the blobs of a tree pack and of a data pack in one pack, as old releases of restic wrote',
    apply: (patient) => {
      const [trees, data] = [patient.pack('tree'), patient.pack('data')]
      const { id } = patient.writePack([...slicesOf(trees.file, trees.blobs), ...slicesOf(data.file, data.blobs)])
      rmSync(trees.file)
      rmSync(data.file)
      restic('restic', patient.path, ['repair', 'index'])
      return patient.packFile(id)
    },
  },
  'blob-data-forged': {
    damage: 'a data blob whose seal and pack are right and whose content is not that of its ID',
    apply: (patient) => {
      const { id, file, blobs } = patient.pack('data')
      const slices = slicesOf(file, blobs)
      // Another blob's content under the ID of the first: valid under the key, valid zstd, the wrong bytes.
      const [first, second] = slices as [(typeof slices)[number], (typeof slices)[number]]
      const { uncompressed_length: plain } = second
      const forged = {
        ...first,
        sealed: patient.seal(patient.unseal(second.sealed)),
        ...(plain === undefined ? {} : { uncompressed_length: plain }),
      }
      const pack = patient.writePack([forged, ...slices.slice(1)])
      rmSync(file)
      const indexFile = patient.files('index')[0]!
      const index = patient.readIndex(indexFile)
      rmSync(indexFile)
      patient.writeIndex({ packs: index.packs.map((other) => (other.id === id ? pack : other)) })
      return patient.packFile(pack.id)
    },
  },
  'blob-data-missing': {
    damage: 'a data pack removed and the index rebuilt without it, so that content is nowhere',
    apply: (patient) => {
      const { file } = patient.pack('data')
      rmSync(file)
      restic('restic', patient.path, ['repair', 'index'])
      return undefined
    },
  },
  'blob-tree-missing': {
    damage: 'a tree pack removed and the index rebuilt without it, so that folders are nowhere',
    apply: (patient) => {
      const { file } = patient.pack('tree')
      rmSync(file)
      restic('restic', patient.path, ['repair', 'index'])
      return undefined
    },
  },
  'index-altered': {
    damage: 'one bit flipped in the middle of an index file',
    apply: (patient) => {
      const file = patient.files('index')[0]!
      flip(file, middle(file))
      return file
    },
  },
  'index-truncated': {
    damage: 'the second half of an index file cut off',
    apply: (patient) => {
      const file = patient.files('index')[0]!
      overwrite(file, readFileSync(file).subarray(0, middle(file)))
      return file
    },
  },
  'index-emptied': {
    damage: 'an index file of no bytes',
    apply: (patient) => {
      const file = patient.files('index')[0]!
      overwrite(file, Buffer.alloc(0))
      return file
    },
  },
  'index-missing': {
    damage: 'the index file of the first backup removed',
    apply: (patient) => {
      const file = patient.files('index')[0]!
      rmSync(file)
      return file
    },
  },
  'index-all-missing': {
    damage: 'every index file removed',
    apply: (patient) => {
      for (const file of patient.files('index')) rmSync(file)
      return undefined
    },
  },
  'index-duplicate': {
    damage: 'nothing lost: a second index file says the same as the first',
    apply: (patient) => {
      patient.writeIndex(patient.indexes()[0]!)
      return undefined
    },
  },
  'index-contradicts-itself': {
    damage: 'a second index file lists fewer blobs for a pack of the first',
    apply: (patient) => {
      const { id } = patient.pack('data')
      const { packs } = patient.indexes()[0]!
      const pack = packs.find((other) => other.id === id)!
      patient.writeIndex({ packs: [{ id, blobs: pack.blobs.slice(1) }] })
      return undefined
    },
  },
  'index-names-wrong-blob': {
    damage: 'an index that exchanges the IDs of two blobs of equal standing in a pack',
    apply: (patient) => {
      const { id } = patient.pack('data')
      const indexFile = patient.files('index')[0]!
      const index = patient.readIndex(indexFile)
      rmSync(indexFile)
      const { blobs } = index.packs.find((pack) => pack.id === id)!
      const [a, b] = [blobs[0]!, blobs[1]!]
      ;[a.id, b.id] = [b.id, a.id]
      patient.writeIndex(index)
      return undefined
    },
  },
  'snapshot-altered': {
    damage: 'one bit flipped in the middle of a snapshot file',
    apply: (patient) => {
      const file = patient.files('snapshots')[0]!
      flip(file, middle(file))
      return file
    },
  },
  'snapshot-truncated': {
    damage: 'the second half of a snapshot file cut off',
    apply: (patient) => {
      const file = patient.files('snapshots')[0]!
      overwrite(file, readFileSync(file).subarray(0, middle(file)))
      return file
    },
  },
  'config-altered': {
    damage: 'one bit flipped in the middle of the config file',
    apply: (patient) => {
      const file = join(patient.path, 'config')
      flip(file, middle(file))
      return file
    },
  },
  'config-missing': {
    damage: 'the config file removed',
    apply: (patient) => {
      const file = join(patient.path, 'config')
      rmSync(file)
      return file
    },
  },
  'key-truncated': {
    damage: 'the second half of the only key file cut off',
    apply: (patient) => {
      const file = patient.files('keys')[0]!
      overwrite(file, readFileSync(file).subarray(0, middle(file)))
      return file
    },
  },
  'key-altered': {
    damage: 'one bit flipped in what the only key file seals',
    apply: (patient) => {
      const file = patient.files('keys')[0]!
      const key: { data: string } = JSON.parse(readFileSync(file, 'utf8'))
      const data = Buffer.from(key.data, 'base64')
      data[data.length >> 1]! ^= 1
      overwrite(file, Buffer.from(JSON.stringify({ ...key, data: data.toString('base64') })))
      return file
    },
  },
  'key-missing': {
    damage: 'the only key file removed',
    apply: (patient) => {
      const file = patient.files('keys')[0]!
      rmSync(file)
      return file
    },
  },
}

// --- Making them -------------------------------------------------------------------------------------------------

function run(program: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed: ${stderr}`)
  return stdout
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Leaves out what Git would not keep anyway, so that a checkout and a fresh make are alike. */
function publish(repository: string, target: string): void {
  rmSync(join(repository, 'locks'), { recursive: true, force: true })
  cpSync(repository, target, { recursive: true })
  for (const folder of readdirSync(target, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  )) {
    const path = join(folder.parentPath, folder.name)
    if (existsSync(path) && readdirSync(path).length === 0) rmSync(path, { recursive: true })
  }
}

/** What `expectations.json` holds. */
export interface Expectations {
  readonly password: string
  /** Of `healthy/v2-two-keys`, beside the other. */
  readonly secondPassword: string
  /** The folder that was backed up; paths in `sources` are below it. */
  readonly source: string
  readonly writtenBy: readonly string[]
  readonly checkedBy: string
  readonly sources: Readonly<Record<string, readonly GoldenFile[]>>
  readonly healthy: Readonly<
    Record<string, GoldenChecks & { origin: string; version: 1 | 2; snapshots: GoldenSnapshot[] }>
  >
  /** `file` is the one that was damaged, relative to the repository. */
  readonly damaged: Readonly<Record<string, GoldenChecks & { damage: string; file?: string }>>
}

interface GoldenChecks {
  readonly check: GoldenCheck
  readonly checkReadData: GoldenCheck
}

/** The text of `test/golden/README.md`. */
export function describeGolden(expectations: Expectations): string {
  const { password, writtenBy, checkedBy, healthy, damaged } = expectations
  const verdict = ({ check, checkReadData }: GoldenChecks) =>
    check.exitCode === checkReadData.exitCode
      ? `${check.exitCode}`
      : `${check.exitCode}, with \`--read-data\` ${checkReadData.exitCode}`
  return `# Golden repositories

Small repositories that real restic wrote (${writtenBy.join(' and ')}, from Debian), healthy and damaged. \`scripts/make-golden.ts\`
makes all of this folder, this page included. The password is \`${password}\`. \`expectations.json\` says what was backed up (the same
tree everywhere: odd names, hard links, symlinks, devices, owners, modes, times, extended attributes) and what \`restic check\`
(${checkedBy}) says of each repository.

Git keeps neither empty folders nor modes: folders such as \`locks\` and most of \`data/00\`…\`data/ff\` are absent here, and files
are as readable as the checkout makes them. Both restic and we must cope with that. Tests work on copies.

## Healthy

| repository | origin |
|---|---|
${Object.entries(healthy)
  .map(([name, { origin }]) => `| \`${name}\` | ${origin} |\n`)
  .join('')}
## Damaged

Each is a copy of \`healthy/v2-restic-0.19\`, damaged by the script in one way.

| repository | damage | exit code of restic's check |
|---|---|---|
${Object.entries(damaged)
  .map(([name, entry]) => `| \`${name}\` | ${entry.damage} | ${verdict(entry)} |\n`)
  .join('')}`
}

function main(): void {
  process.umask(0o022)
  const work = mkdtempSync(join(tmpdir(), 'holdfast-make-golden-'))
  try {
    for (const folder of ['healthy', 'damaged']) rmSync(join(golden, folder), { recursive: true, force: true })
    const healthy: Record<string, Expectations['healthy'][string]> = {}
    const damaged: Record<string, Expectations['damaged'][string]> = {}

    for (const [name, { origin, version, make }] of Object.entries(HEALTHY)) {
      console.log(`healthy/${name}`)
      const repository = join(work, name)
      const snapshots = make(repository)
      const target = join(golden, 'healthy', name)
      publish(repository, target)
      const result = { check: check(target, []), checkReadData: check(target, ['--read-data']) }
      if (result.checkReadData.exitCode !== 0)
        throw new Error(`${name} is not healthy: ${result.checkReadData.messages}`)
      healthy[name] = { origin, version, ...result, snapshots }
    }

    for (const [name, { damage, apply }] of Object.entries(DAMAGES)) {
      console.log(`damaged/${name}`)
      const repository = join(work, `damaged-${name}`)
      cpSync(join(work, 'v2-restic-0.19'), repository, { recursive: true, preserveTimestamps: true })
      const file = apply(new Patient(repository))
      const target = join(golden, 'damaged', name)
      publish(repository, target)
      damaged[name] = {
        damage,
        ...(file === undefined ? {} : { file: file.slice(repository.length + 1) }),
        check: check(target, []),
        checkReadData: check(target, ['--read-data']),
      }
    }

    const versions = (['restic', 'restic-stable'] as const).map(
      (program) => restic(program, work, ['version']).split(' ')[1]!,
    )
    const expectations: Expectations = {
      password: PASSWORD,
      secondPassword: SECOND_PASSWORD,
      source: SOURCE,
      writtenBy: versions,
      checkedBy: versions[0]!,
      sources: Object.fromEntries(sources),
      healthy,
      damaged,
    }
    writeFileSync(join(golden, 'expectations.json'), `${JSON.stringify(expectations, undefined, 2)}\n`)
    writeFileSync(join(golden, 'README.md'), describeGolden(expectations))
  } finally {
    rmSync(work, { recursive: true, force: true })
    rmSync(dirname(SOURCE), { recursive: true, force: true })
  }
}

if (import.meta.main) main()
