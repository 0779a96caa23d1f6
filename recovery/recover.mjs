#!/usr/bin/env node
/**
 * Gets files back out of a backup with its password alone: one file, nothing but what Node.js itself brings (24, or
 * late 22), for repositories in restic's format, versions 1 and 2, whoever wrote them.
 *
 *     node recover.mjs list                              which snapshots there are
 *     node recover.mjs files SNAPSHOT [PATH...]          what is in one
 *     node recover.mjs restore SNAPSHOT TARGET [PATH...] brings it back, below TARGET, a folder that it makes
 *     node recover.mjs print SNAPSHOT PATH               one file, to standard output
 *
 * SNAPSHOT is `latest`, or the first digits of an ID. The repository is the folder in which this file lies, or
 * --repo DIR. The password is asked for, or read from --password-file FILE or the first line of standard input.
 *
 * It only reads the repository. What it restores has been authenticated, and has the hash that it should have. What is
 * damaged is reported and passed over; the rest of such a file is in NAME.damaged, with zeros for what is missing.
 * Contents, modes, times, symbolic and hard links, holes and, for root, owners come back. Extended attributes, ACLs,
 * devices and pipes do not, and it says so: `restic restore` brings them.
 *
 * Exit codes: 0 done; 1 failed; 3 done, but something is missing; 10 no repository; 12 wrong password.
 */
import { createCipheriv, createDecipheriv, createHash, scryptSync, timingSafeEqual } from 'node:crypto'
import fs from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import zlib from 'node:zlib'

/** Holdfast puts this file beside its repositories, in the place of an older one, never of a newer. */
export const RECOVERY_PROGRAM_VERSION = 1

const LARGEST_JSON = 512 * 1024 * 1024
/** Further down than any path can lead. */
const DEEPEST = 2000
const isRoot = process.getuid?.() === 0

/** Thrown, it ends the program. */
const failure = (exitCode, message) => Object.assign(new Error(message), { exitCode })

/** Part of a backup cannot be had; the rest can. */
class Damage extends Error {}

let missing = 0
/** Something is not as it was backed up. */
function report(message) {
  missing += 1
  console.error(`! ${message}`)
}

async function main(args) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { repo: { type: 'string' }, 'password-file': { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  })
  const [command, name, ...rest] = positionals
  const [comment] = fs.readFileSync(import.meta.filename, 'utf8').split('*/')
  const usage = comment.replace(/^(#.*\n\/\*\*\n)? \* ?/gm, '')
  if (values.help || command === undefined) return console.log(usage)
  const isComplete = { list: name === undefined, files: name, restore: rest.length > 0, print: rest.length === 1 }
  if (!isComplete[command]) throw failure(1, `Cannot understand the command line\n\n${usage}`)
  if (!zlib.zstdDecompressSync) throw failure(1, `Cannot run on Node.js ${process.version}: 24 is needed`)

  const repository = await openRepository(resolve(values.repo ?? import.meta.dirname), values['password-file'])
  const snapshots = readSnapshots(repository)
  if (command === 'list') return console.log(snapshots.map(describeSnapshot).join('\n'))
  const found = name === 'latest' ? snapshots.slice(-1) : snapshots.filter(({ id }) => id.startsWith(name))
  if (found.length !== 1) throw failure(1, `${found.length || 'No'} snapshots are called ${shown(name)}: see \`list\``)
  console.error(`Snapshot ${describeSnapshot(found[0])}`)
  loadIndex(repository)
  if (command === 'files') listFiles(repository, found[0], rest)
  if (command === 'restore') restore(repository, found[0], resolve(rest[0]), rest.slice(1))
  if (command === 'print') await print(repository, found[0], rest[0])
}

function describeSnapshot({ id, time, hostname, tags, paths }) {
  return [id.slice(0, 12), time, hostname, ...(tags ?? []), ...(paths ?? [])].map(shown).join('  ')
}

function listFiles(repository, snapshot, wanted) {
  for (const { node, path, isLeft } of walk(repository, snapshot.tree, wanted)) {
    const size = node.type === 'file' ? node.size : node.type
    if (!isLeft) console.log(`${String(size ?? 0).padStart(12)} ${shown(node.mtime).padEnd(35)} ${shown(path)}`)
  }
}

async function print(repository, snapshot, wanted) {
  for (const { node, path } of walk(repository, snapshot.tree, [wanted])) {
    if (node.type !== 'file' || path.toString() !== absolute(wanted)) continue
    for (const id of node.content) {
      const bytes = readBlob(repository, 'data', id)
      await new Promise((done, fail) => process.stdout.write(bytes, (error) => (error ? fail(error) : done())))
    }
    return
  }
  throw failure(1, `No file ${shown(wanted)} in this snapshot`)
}

// Restore: the target is new, and everything in it is made here, under a name that must be free. So nothing is opened
// or entered that somebody else made, and no link is followed, whatever the snapshot says.

const restored = { files: 0, bytes: 0, attributes: 0, links: new Map() }

function restore(repository, snapshot, target, wanted) {
  fs.mkdirSync(join(target, '..'), { recursive: true })
  fs.mkdirSync(target, { mode: 0o700 })
  for (const { node, path, isLeft } of walk(repository, snapshot.tree, wanted)) {
    const place = Buffer.concat([Buffer.from(target), path])
    try {
      if (isLeft) setMetadata(place, node)
      else if (node.type === 'dir') fs.mkdirSync(place, { mode: 0o700 })
      else if (node.type === 'file') restoreFile(repository, node, place, path)
      else if (node.type === 'symlink') restoreLink(node, place)
      else if (node.type !== 'socket') report(`${shown(path)} is a ${shown(node.type)}: this program cannot make it`)
      if (!isLeft && node.extended_attributes?.length > 0) restored.attributes += 1
    } catch (error) {
      if (['ENOSPC', 'EDQUOT', 'EROFS', 'EIO'].includes(error.code)) throw error
      report(`Cannot restore ${shown(path)}: ${error.message}`)
      if (node.type === 'dir') node.subtree = undefined // nor anything below it
    }
    if (process.stderr.isTTY) process.stderr.write(`\r${restored.files} files, ${restored.bytes} bytes \x1b[K\r`)
  }
  console.error(
    `Restored ${restored.files} files, ${restored.bytes} bytes to ${shown(target)}, which only you can enter`,
  )
  if (!isRoot) console.error('Owners, setuid and setgid bits are not restored: that needs root')
  if (restored.attributes > 0)
    report(`${restored.attributes} entries had extended attributes or ACLs, which this program cannot set`)
  if (missing > 0 && restored.files === 0) throw failure(1, 'No file could be restored')
}

function restoreLink(node, place) {
  fs.symlinkSync(node.linktarget_raw ? Buffer.from(node.linktarget_raw, 'base64') : node.linktarget, place)
  setMetadata(place, node)
}

function restoreFile(repository, node, place, path) {
  const link = node.links > 1 ? `${node.device_id}:${node.inode}:${node.content}` : undefined
  if (restored.links.has(link)) return fs.linkSync(restored.links.get(link), place)
  const file = fs.openSync(place, 'wx', 0o600)
  const holes = []
  let size = 0
  try {
    for (const id of node.content) {
      try {
        const bytes = readBlob(repository, 'data', id)
        // Zeros are not written: what was sparse is sparse again.
        let done = bytes.equals(Buffer.alloc(bytes.length)) ? bytes.length : 0
        while (done < bytes.length) done += fs.writeSync(file, bytes, done, bytes.length - done, size + done)
        size += bytes.length
      } catch (error) {
        if (!(error instanceof Damage)) throw error
        holes.push(error.message)
        size += repository.blobs.get(`data ${id}`)?.size ?? 0
      }
    }
    if (size !== (node.size ?? 0)) holes.push(`it has ${size} bytes, expected ${node.size}`)
    fs.ftruncateSync(file, holes.length > 0 && node.size > size ? node.size : size)
  } finally {
    fs.closeSync(file)
  }
  setMetadata(place, node)
  if (holes.length > 0) {
    const isLost = holes.length >= node.content.length
    report(`${shown(path)} is ${isLost ? 'lost' : `damaged, the rest of it is in ${shown(path)}.damaged`}: ${holes[0]}`)
    if (!isLost) fs.linkSync(place, Buffer.concat([place, Buffer.from('.damaged')])) // a rename could replace one
    return fs.unlinkSync(place)
  }
  restored.files += 1
  restored.bytes += size
  if (link) restored.links.set(link, place)
}

/** Of a file, a link, or a folder that is filled. The owner first: a change of it clears setuid. */
function setMetadata(place, { type, mode, mtime, uid, gid }) {
  if (isRoot) fs.lchownSync(place, uid, gid)
  if (type !== 'symlink') {
    // Go has numbers of its own for these three.
    const special = (mode & 0x800000 ? 0o4000 : 0) | (mode & 0x400000 ? 0o2000 : 0)
    const sticky = mode & 0x100000 ? 0o1000 : 0
    fs.chmodSync(place, (mode & 0o777) | sticky | (isRoot ? special : 0))
  }
  const time = String(secondsOf(mtime)) // of a negative number Node.js makes the present
  fs.lutimesSync(place, time, time)
}

/** Of RFC 3339, with all digits of a second's part, of which Date knows three. */
function secondsOf(time) {
  const [, seconds, fraction = '0', zone] = /^(.{19})(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(time) ?? []
  const whole = Date.parse(`${seconds}${zone}`)
  if (Number.isNaN(whole)) throw new Error(`${shown(time)} is no time`)
  return whole / 1000 + Number(`0.${fraction}`)
}

// Trees: {"nodes":[...]}, one for each folder

/**
 * Every entry that is wanted (all, or the paths with what is below them, and the folders on the way) with its path,
 * which begins with a slash; a folder once more when it is left. Take its `subtree` away to be spared what is in it.
 */
function* walk(repository, tree, paths) {
  const wanted = paths.map(absolute)
  const found = new Set()
  function isWanted(path) {
    const covering = wanted.filter((one) => one === '/' || `${path}/`.startsWith(`${one}/`))
    for (const one of covering) found.add(one)
    return wanted.length === 0 || covering.length > 0 || wanted.some((one) => one.startsWith(`${path}/`))
  }
  function* entriesOf(id, parent, depth) {
    for (const { node, name } of readTree(repository, id, parent)) {
      const path = Buffer.concat([parent, Buffer.from('/'), name])
      if (!isWanted(path)) continue
      yield { node, path, isLeft: false }
      if (node.type !== 'dir' || node.subtree === undefined) continue
      if (depth < DEEPEST) yield* entriesOf(node.subtree, path, depth + 1)
      else report(`${shown(path)} is too deep`)
      yield { node, path, isLeft: true }
    }
  }
  yield* entriesOf(tree, Buffer.alloc(0), 0)
  for (const path of wanted) if (!found.has(path)) report(`${shown(path)} is not in this snapshot`)
}

function absolute(path) {
  return resolve('/', path)
}

/** The entries of a folder that have a name to be trusted; the others are reported. */
function readTree(repository, id, folder) {
  const names = new Set()
  let nodes
  try {
    nodes = [...JSON.parse(readBlob(repository, 'tree', id)).nodes]
  } catch (error) {
    report(`Folder ${shown(folder)}/ is lost: ${error.message}`)
    return []
  }
  return nodes.flatMap((node) => {
    try {
      const name = unquote(String(node?.name))
      const text = name.toString('latin1')
      if (['', '.', '..'].includes(text) || /[/\0]/.test(text)) throw new Error('it is no name of a file')
      if (names.has(text)) throw new Error('it is there twice')
      if (node.type === 'file' && !(Array.isArray(node.content) && node.content.every(isId)))
        throw new Error('it says nothing of its content')
      if (node.type === 'dir' && !isId(node.subtree)) throw new Error('it says nothing of what is in it')
      names.add(text)
      return [{ node, name }]
    } catch (error) {
      report(`${shown(folder)}/${shown(node?.name)} is passed over: ${error.message}`)
      return []
    }
  })
}

/** Names are quoted as Go quotes strings: `\n`, `\u200b`, and `\xff` for bytes that are no UTF-8. */
function unquote(text) {
  const simple = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11, '\\': 92, '"': 34 }
  const plain = Buffer.from(text)
    .toString('latin1')
    .replace(/\\(?:x(..)|u(.{4})|U(.{8})|([0-7]{3})|(.))/gs, (_, hex, short, long, octal, letter) => {
      if (short ?? long) return Buffer.from(String.fromCodePoint(Number(`0x${short ?? long}`))).toString('latin1')
      return String.fromCharCode(letter ? simple[letter] : hex ? Number(`0x${hex}`) : Number(`0o${octal}`)) // or NUL
    })
  return Buffer.from(plain, 'latin1')
}

/** For a terminal: without anything that moves its cursor or turns text around. */
function shown(value) {
  const escaped = (character) => `\\u{${character.codePointAt(0).toString(16)}}`
  return String(value).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, escaped)
}

// The repository: keys, snapshots, index, and packs in data; files are called by the SHA-256 of what they hold.

function isId(text) {
  return typeof text === 'string' && /^[0-9a-f]{64}$/.test(text)
}

function idsIn(...folder) {
  const path = join(...folder)
  return fs.existsSync(path) ? fs.readdirSync(path).filter(isId) : []
}

/** Each key file holds the master key, sealed with what scrypt makes of a password. */
async function openRepository(directory, passwordFile) {
  const ids = idsIn(directory, 'keys')
  if (ids.length === 0) throw failure(10, `No repository at ${shown(directory)}: it has no folder \`keys\` with files`)
  const password = await readPassword(passwordFile)
  for (const id of ids) {
    try {
      const { N, r, p, salt, data } = JSON.parse(fs.readFileSync(join(directory, 'keys', id)))
      const maxmem = 128 * r * (N + p + 2)
      if (!(maxmem <= 2 ** 29 && N * r * p <= 2 ** 25)) throw new Error('it asks for too much memory or time')
      const derived = scryptSync(password, Buffer.from(salt, 'base64'), 64, { N, r, p, maxmem })
      const [encrypt, k, macR] = [derived.subarray(0, 32), derived.subarray(32, 48), derived.subarray(48)]
      const master = JSON.parse(unseal({ encrypt, k, r: macR }, Buffer.from(data, 'base64')))
      const parts = [master.encrypt, master.mac.k, master.mac.r].map((text) => Buffer.from(text, 'base64'))
      return { directory, key: { encrypt: parts[0], k: parts[1], r: parts[2] }, blobs: new Map() }
    } catch (error) {
      if (!(error instanceof Damage)) console.error(`Key file ${id.slice(0, 12)} is of no use: ${error.message}`)
    }
  }
  throw failure(12, `Wrong password: none of ${ids.length} key files opens with it`)
}

/** Hidden on a terminal, else the first line. White space around the password in a file is not part of it. */
async function readPassword(file) {
  if (file !== undefined) return Buffer.from(fs.readFileSync(file, 'utf8').trim())
  const { stdin, stderr } = process
  if (stdin.isTTY) stderr.write('Password of the repository: ')
  stdin.setRawMode?.(true)
  const line = []
  for await (const chunk of stdin) {
    for (const byte of chunk) {
      if (byte === 10 || byte === 13) break
      if (stdin.isTTY && byte === 3) throw failure(130, '\nInterrupted')
      if (stdin.isTTY && (byte === 8 || byte === 127)) line.pop()
      else line.push(byte)
    }
    if (chunk.includes(10) || chunk.includes(13)) break
  }
  if (stdin.isTTY) stderr.write('\n')
  return Buffer.from(line)
}

function readUnpacked({ directory, key }, folder, id) {
  const stored = fs.readFileSync(join(directory, folder, id))
  const plain = unseal(key, stored)
  if (hashOf(stored) !== id) report(`${folder}/${id} is not the file of that name; it is used all the same`)
  return JSON.parse(plain[0] === 2 ? decompress(plain.subarray(1), LARGEST_JSON) : plain) // in version 1 never
}

function readSnapshots(repository) {
  const snapshots = idsIn(repository.directory, 'snapshots').flatMap((id) => {
    try {
      const snapshot = readUnpacked(repository, 'snapshots', id)
      if (!isId(snapshot.tree)) throw new Error('it names no tree')
      return [{ ...snapshot, id, seconds: secondsOf(snapshot.time) }]
    } catch (error) {
      report(`Snapshot ${id.slice(0, 12)} cannot be read: ${error.message}`)
      return []
    }
  })
  return snapshots.sort((a, b) => a.seconds - b.seconds)
}

function loadIndex(repository) {
  for (const file of idsIn(repository.directory, 'index')) {
    try {
      for (const { id: pack, blobs } of readUnpacked(repository, 'index', file).packs) {
        for (const { id, type, offset, length, uncompressed_length: size } of blobs)
          addBlob(repository, type, id, { pack, offset, length, size: size || length - 32, isCompressed: size > 0 })
      }
    } catch (error) {
      // Perhaps nothing is missing for it: see readPackHeaders.
      console.error(`Index ${file.slice(0, 12)} cannot be read: ${error.message}`)
    }
  }
}

/** A blob may lie in several places; one leads on to the other. */
function addBlob({ blobs }, type, id, place) {
  if (!isId(id) || !isId(place.pack)) throw new Error('it names what is no ID')
  blobs.set(`${type} ${id}`, { ...place, other: blobs.get(`${type} ${id}`) })
}

/** The content of a blob, which has the hash that is its ID. Throws Damage where no place has it. */
function readBlob(repository, type, id) {
  let reason = 'is in no pack'
  for (;;) {
    for (let place = repository.blobs.get(`${type} ${id}`); place; place = place.other) {
      try {
        const plain = unseal(repository.key, readPack(repository, place.pack, place.offset, place.length))
        const bytes = place.isCompressed ? decompress(plain, place.size) : plain
        if (hashOf(bytes) === id) return bytes
        throw new Damage('it holds something else there')
      } catch (error) {
        reason = `of pack ${place.pack}: ${error.code === 'ENOENT' ? 'it is not there' : error.message}`
      }
    }
    if (repository.headersRead) throw new Damage(`${type} ${id.slice(0, 12)} ${reason}`)
    readPackHeaders(repository)
  }
}

/** From the end where the offset is negative. */
function readPack({ directory }, id, offset, length) {
  const path = join(directory, 'data', id.slice(0, 2), id)
  if (!fs.statSync(path).isFile()) throw new Damage('it is no file') // a pipe would keep us waiting
  const file = fs.openSync(path)
  try {
    const { size } = fs.fstatSync(file)
    const start = offset < 0 ? size + offset : offset
    if (!(start >= 0 && length >= 0 && start + length <= size)) throw new Damage(`it has ${size} bytes, too few`)
    const bytes = Buffer.alloc(length)
    for (let done = 0, count = 1; done < length; done += count) {
      count = fs.readSync(file, bytes, done, length - done, start + done)
      if (count === 0) throw new Damage('it ends too early')
    }
    return bytes
  } finally {
    fs.closeSync(file)
  }
}

/** For what the index does not tell, or not truly: at its end, each pack says what it holds. */
function readPackHeaders(repository) {
  repository.headersRead = true
  console.error('The index does not tell everything: looking into all packs')
  for (const pack of fs.readdirSync(join(repository.directory, 'data'), { recursive: true })) {
    const id = pack.slice(3)
    try {
      if (!isId(id)) continue
      const length = readPack(repository, id, -4, 4).readUInt32LE()
      const header = unseal(repository.key, readPack(repository, id, -4 - length, length))
      for (let at = 0, offset = 0; at < header.length; ) {
        const [type, isCompressed] = [header[at] & 1 ? 'tree' : 'data', header[at] > 1]
        const sealed = header.readUInt32LE(at + 1)
        const size = isCompressed ? header.readUInt32LE(at + 5) : sealed - 32
        at += isCompressed ? 41 : 37
        const blob = header.toString('hex', at - 32, at)
        addBlob(repository, type, blob, { pack: id, offset, length: sealed, size, isCompressed })
        offset += sealed
      }
    } catch (error) {
      console.error(`Pack ${shown(id).slice(0, 12)} does not say what it holds: ${error.message}`)
    }
  }
}

// Sealed bytes: IV (16), content in AES-256-CTR, and Poly1305-AES of that (16)

function unseal({ encrypt, k, r }, sealed) {
  if (sealed.length < 32) throw new Damage('it is too short')
  const [iv, content, mac] = [sealed.subarray(0, 16), sealed.subarray(16, -16), sealed.subarray(-16)]
  const s = createCipheriv('aes-128-ecb', k, null).setAutoPadding(false).update(iv)
  if (!timingSafeEqual(poly1305(r, s, content), mac)) throw new Damage('it was altered')
  return createDecipheriv('aes-256-ctr', encrypt, iv).update(content)
}

function hashOf(bytes) {
  return createHash('sha256').update(bytes).digest('hex')
}

function decompress(bytes, size) {
  const params = { [zlib.constants.ZSTD_d_windowLogMax]: 29 }
  return zlib.zstdDecompressSync(bytes, { params, maxOutputLength: Math.max(1, size) })
}

/**
 * Poly1305 (RFC 8439, 2.5): blocks of 16 bytes as numbers, with a bit on top, evaluated as a polynomial at r modulo
 * 2^130 - 5. Numbers are six limbs of 22 bits in doubles: a sum of six products stays below 2^53, so it is exact.
 */
function poly1305(r, s, message) {
  const clamped = Buffer.from(r)
  for (const at of [3, 7, 11, 15]) clamped[at] &= 15
  for (const at of [4, 8, 12]) clamped[at] &= 252
  const limbsOf = (number) => [0n, 22n, 44n, 66n, 88n, 110n].map((bit) => Number((number >> bit) & 0x3fffffn))
  const [r0, r1, r2, r3, r4, r5] = limbsOf(littleEndian(clamped))
  const [q1, q2, q3, q4, q5] = [r1, r2, r3, r4, r5].map((limb) => 20 * limb) // 2^132 = 20 modulo 2^130 - 5
  const whole = message.length - (message.length % 16)
  const padded = Buffer.alloc(whole + 16)
  message.copy(padded)
  padded[message.length] = 1
  let [h0, h1, h2, h3, h4, h5] = [0, 0, 0, 0, 0, 0]
  for (let at = 0; at < message.length; at += 16) {
    const [a, b, c, d] = [at, at + 4, at + 8, at + 12].map((word) => padded.readInt32LE(word))
    h0 += a & 0x3fffff
    h1 += ((a >>> 22) | (b << 10)) & 0x3fffff
    h2 += ((b >>> 12) | (c << 20)) & 0x3fffff
    h3 += (c >>> 2) & 0x3fffff
    h4 += ((c >>> 24) | (d << 8)) & 0x3fffff
    h5 += (d >>> 14) | (at < whole ? 1 << 18 : 0)
    const p0 = h0 * r0 + h1 * q5 + h2 * q4 + h3 * q3 + h4 * q2 + h5 * q1
    const p1 = h0 * r1 + h1 * r0 + h2 * q5 + h3 * q4 + h4 * q3 + h5 * q2 + Math.floor(p0 / 2 ** 22)
    const p2 = h0 * r2 + h1 * r1 + h2 * r0 + h3 * q5 + h4 * q4 + h5 * q3 + Math.floor(p1 / 2 ** 22)
    const p3 = h0 * r3 + h1 * r2 + h2 * r1 + h3 * r0 + h4 * q5 + h5 * q4 + Math.floor(p2 / 2 ** 22)
    const p4 = h0 * r4 + h1 * r3 + h2 * r2 + h3 * r1 + h4 * r0 + h5 * q5 + Math.floor(p3 / 2 ** 22)
    const p5 = h0 * r5 + h1 * r4 + h2 * r3 + h3 * r2 + h4 * r1 + h5 * r0 + Math.floor(p4 / 2 ** 22)
    const carried = (p0 % 2 ** 22) + 20 * Math.floor(p5 / 2 ** 22)
    h0 = carried % 2 ** 22
    h1 = (p1 % 2 ** 22) + Math.floor(carried / 2 ** 22)
    ;[h2, h3, h4, h5] = [p2 % 2 ** 22, p3 % 2 ** 22, p4 % 2 ** 22, p5 % 2 ** 22]
  }
  const sum = [h5, h4, h3, h2, h1, h0].reduce((number, limb) => (number << 22n) + BigInt(limb), 0n)
  const mac = (sum % (2n ** 130n - 5n)) + littleEndian(s)
  return Buffer.from(BigInt.asUintN(128, mac).toString(16).padStart(32, '0'), 'hex').reverse()
}

function littleEndian(bytes) {
  return BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)
}

try {
  await main(process.argv.slice(2))
  if (missing > 0) process.exitCode = 3
} catch (error) {
  console.error(error.message)
  process.exitCode = error.exitCode ?? 1
}
