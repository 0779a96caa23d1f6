// Makes a repository, stores a folder in it, and brings the folder back:
//
//   RESTIC_PASSWORD=… node engine.js /srv/documents /srv/repository /tmp/documents-restored
import { mkdir } from 'node:fs/promises'
import { hostname, userInfo } from 'node:os'
import { resolve } from 'node:path'
import {
  acquireLock,
  archive,
  BlobWriter,
  checkRepository,
  createChunker,
  createRepository,
  encodeTree,
  loadIndex,
  localStorage,
  now,
  openRepository,
  readSnapshot,
  readTree,
  restore,
  writeSnapshot,
} from 'holdfast/engine'

const [folder, location, target] = process.argv.slice(2).map((path) => resolve(path))
const password = Buffer.from(process.env.RESTIC_PASSWORD ?? '')
const onProblem = ({ message }) => console.error(message)

const created = await createRepository(localStorage(location), { password })
console.log(`repository ${created.config.id.slice(0, 10)}, version ${created.config.version}`)

const id = await store(created)
console.log(`snapshot ${id.slice(0, 8)}`)

// Everything from here on would work as well in another process, or after `restic backup`.
const repository = await openRepository(localStorage(location), { password })
const { errors } = await checkRepository(repository, { readData: true })
console.log(`check: ${errors} errors`)
const { files } = await bringBack(await loadIndex(repository))
console.log(`restored ${files} files`)

async function store(repository) {
  await using lock = await acquireLock(repository)
  const writer = new BlobWriter(await loadIndex(repository), { signal: lock.signal })
  const { nodes } = await archive([Buffer.from(folder)], {
    sink: writer,
    chunker: createChunker(repository.config.polynomial),
    onProblem,
    signal: lock.signal,
  })
  const { id: tree } = await writer.save('tree', encodeTree(nodes))
  // Only now is everything stored that the snapshot refers to.
  await writer.finish()
  const { username, uid, gid } = userInfo()
  return writeSnapshot(repository, {
    time: now(),
    tree,
    paths: [folder],
    hostname: hostname(),
    username,
    uid,
    gid,
    excludes: [],
    tags: ['example'],
    programVersion: 'example 1.0',
  })
}

async function bringBack(repository) {
  const { tree } = await readSnapshot(repository, id)
  await mkdir(target, { recursive: true })
  const items = (await readTree(repository, tree)).map((node) => ({
    node,
    destination: Buffer.concat([Buffer.from(`${target}/`), node.name]),
  }))
  return restore(repository, items, { verify: true, onProblem })
}
