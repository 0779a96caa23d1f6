import { isUtf8 } from 'node:buffer'
import { chmod, lchown, lstat, readFile, readlink, symlink, unlink, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import type { Finding } from '../../application/finding.ts'
import { readSecrets } from '../../application/sources/secrets.ts'
import type { TreeNode } from '../../engine/format/tree-node.ts'
import { readTree } from '../../engine/repository/read-blob.ts'
import { OperationError } from '../error.ts'
import type { Manifest } from '../manifest.ts'
import { findNode, readWhole } from '../snapshot-files.ts'
import type { Rewrite } from './plan-in-place.ts'
import { maskLine, type Relocation, type RewrittenLine, relocatePath, rewriteText } from './relocation.ts'
import type { ChosenSnapshot } from './snapshot-choice.ts'
import { outermost } from './unit-paths.ts'
import { withUnsealed } from './unseal-secrets.ts'

export interface PlanRewritesOptions {
  readonly relocation: Relocation
  /** Further files that are rewritten, as they are called in the snapshot. */
  readonly alsoRewrite: readonly string[]
  /** Undefined: secrets stay sealed. */
  readonly identities: readonly string[] | undefined
  readonly signal: AbortSignal
}

export interface PlannedRewrites {
  readonly rewrites: readonly Rewrite[]
  /** What names the old place and is not rewritten; why the secrets cannot be unsealed. */
  readonly findings: readonly Finding[]
}

/** Files of the host are written for a machine; whatever else an application holds is its own business. */
const HOST_KINDS: ReadonlySet<string> = new Set(['pm2', 'systemd', 'nginx'])
const ENVIRONMENT_FILE = /^\.env|\.env$/
/** A larger one is no configuration. */
const FILE_LIMIT = 1024 * 1024
/** Files of other components are looked through by these names, so many of them at most. */
const CONFIGURATION = /\.(json|ya?ml|toml|ini|conf|cfg|env|properties|xml|[cm]?js|sh|py|rb|php)$/
const LOOKED_THROUGH = 2000

/**
 * Finds what must be rewritten where an application comes back to another root, user or port: in units, ecosystem files and
 * sites, in environment files (which are sealed, so that the archive is opened, in memory), in symbolic links, and in the
 * files that are named. Databases are never touched. Configuration elsewhere that names the old place is a finding.
 *
 * The sealed archive is read to its end in any case: so it is known whether the key opens it.
 */
export async function planRewrites(chosen: ChosenSnapshot, options: PlanRewritesOptions): Promise<PlannedRewrites> {
  return new RewritePlanner(chosen, options).plan()
}

class RewritePlanner {
  readonly #chosen: ChosenSnapshot
  readonly #options: PlanRewritesOptions
  readonly #rewrites: Rewrite[] = []
  readonly #findings: Finding[] = []
  readonly #databases: ReadonlySet<string>
  #lookedThrough = 0

  constructor(chosen: ChosenSnapshot, options: PlanRewritesOptions) {
    this.#chosen = chosen
    this.#options = options
    this.#databases = new Set(chosen.manifest?.databases.map(({ path }) => path))
  }

  async plan(): Promise<PlannedRewrites> {
    const { manifest } = this.#chosen
    const { relocation } = this.#options
    const moves = relocation.root !== undefined || relocation.user !== undefined || relocation.ports.length > 0
    if (moves) for (const component of manifest?.components ?? []) await this.#component(component)
    if (manifest?.secrets !== undefined && this.#options.identities !== undefined) await this.#secrets(moves)
    return { rewrites: this.#rewrites, findings: this.#findings }
  }

  async #component({ kind, paths }: Manifest['components'][number]): Promise<void> {
    const { repository, stored } = this.#chosen
    for (const path of outermost(paths.map((each) => each.path))) {
      const node = await findNode(repository, stored.snapshot.tree, path, this.#options.signal)
      if (node) await this.#walk(node, path, kind)
    }
  }

  async #walk(node: TreeNode, path: string, kind: string): Promise<void> {
    const { repository } = this.#chosen
    const todo = [{ node, path }]
    for (let next = todo.pop(); next; next = todo.pop()) {
      this.#options.signal.throwIfAborted()
      const { type, subtree } = next.node
      if (type === 'symlink') this.#link(next.path, next.node.linkTarget?.toString())
      else if (type === 'file') await this.#file(next.node, next.path, kind)
      else if (type === 'dir' && subtree !== undefined) {
        for (const child of await readTree(repository, subtree, this.#options.signal)) {
          todo.push({ node: child, path: `${next.path}/${child.name}` })
        }
      }
    }
  }

  #link(path: string, target: string | undefined): void {
    if (target !== undefined) this.#note(path, linkLines(target, this.#options.relocation))
  }

  async #file(node: TreeNode, path: string, kind: string): Promise<void> {
    if (node.size > FILE_LIMIT || this.#databases.has(path)) return
    const isRewritten = this.#isRewritten(path, kind)
    if (!isRewritten && (!CONFIGURATION.test(path) || this.#lookedThrough++ >= LOOKED_THROUGH)) return
    const content = await readWhole(this.#chosen.repository, node, FILE_LIMIT, this.#options.signal)
    const lines = linesOf(content, this.#options.relocation)
    if (isRewritten) this.#note(path, lines)
    else if (lines.length > 0) this.#mention(path, lines)
  }

  #isRewritten(path: string, kind: string | undefined): boolean {
    const { alsoRewrite, relocation } = this.#options
    const named = alsoRewrite.includes(path) || alsoRewrite.includes(relocatePath(path, relocation))
    return named || (kind !== undefined && HOST_KINDS.has(kind)) || ENVIRONMENT_FILE.test(basename(path))
  }

  #note(path: string, lines: readonly RewrittenLine[]): void {
    if (lines.length > 0) this.#rewrites.push({ path: relocatePath(path, this.#options.relocation), lines })
  }

  #mention(path: string, lines: readonly RewrittenLine[]): void {
    const [first] = lines
    const more = lines.length > 1 ? `, and ${lines.length - 1} more` : ''
    this.#findings.push({
      severity: 'warning',
      code: 'names-old-place',
      path,
      message: `${path} names what is different here and stays as it is: line ${first!.line}: ${first!.before}${more}`,
      hint: `If it counts, add --rewrite ${path}`,
    })
  }

  async #secrets(moves: boolean): Promise<void> {
    const { relocation, signal } = this.#options
    const kinds = new Map(this.#chosen.manifest?.components.map(({ name, kind }) => [name, kind]))
    const owners = new Map(this.#chosen.manifest?.secrets?.files.map(({ path, component }) => [path, component]))
    const found: { path: string; lines: readonly RewrittenLine[] }[] = []
    const identities = this.#options.identities ?? []
    const base = this.#chosen.manifest?.secrets?.base
    const opened = await withUnsealed(this.#chosen, { identities, signal }, async (plaintext) => {
      found.length = 0
      for await (const { path, type, size, linkTarget, content } of readSecrets(plaintext, { base, signal })) {
        if (!moves) continue
        if (type === 'symlink' && linkTarget !== undefined)
          found.push({ path, lines: linkLines(linkTarget, relocation) })
        const kind = kinds.get(owners.get(path) ?? '')
        if (type !== 'file' || size > FILE_LIMIT || !this.#isRewritten(path, kind)) continue
        const lines = linesOf(Buffer.concat(await Array.fromAsync(content)), relocation)
        found.push({ path, lines: lines.map((line) => maskLine(line, relocation)) })
      }
    })
    if ('finding' in opened) this.#findings.push(opened.finding)
    else for (const { path, lines } of found) this.#note(path, lines)
  }
}

function linkLines(before: string, relocation: Relocation): readonly RewrittenLine[] {
  const after = relocatePath(before, relocation)
  return after === before ? [] : [{ line: 1, before, after }]
}

function linesOf(content: Buffer, relocation: Relocation): readonly RewrittenLine[] {
  if (!isUtf8(content) || content.includes(0)) return []
  return rewriteText(content.toString('utf8'), relocation).lines
}

/**
 * Rewrites one staged entry, which keeps its owner and its mode. Rejects with `SWAP` when that would change other lines than
 * were planned.
 */
export async function applyRewrite(staged: string, planned: Rewrite, relocation: Relocation): Promise<void> {
  const { mode, uid, gid } = await lstat(staged).then((stats) => {
    if (stats.isFile() || stats.isSymbolicLink()) return stats
    throw differs(planned.path)
  })
  if ((await lstat(staged)).isSymbolicLink()) {
    const [line] = planned.lines
    const target = relocatePath(await readlink(staged), relocation)
    if (target !== line?.after) throw differs(planned.path)
    await unlink(staged)
    await symlink(target, staged)
    if (process.geteuid?.() === 0) await lchown(staged, uid, gid)
    return
  }
  const { text, lines } = rewriteText(await readFile(staged, 'utf8'), relocation)
  if (lines.map(({ line }) => line).join() !== planned.lines.map(({ line }) => line).join()) throw differs(planned.path)
  await chmod(staged, 0o600)
  await writeFile(staged, text)
  await chmod(staged, mode & 0o7777)
}

function differs(path: string): OperationError {
  return new OperationError('SWAP', `Nothing was changed: ${path} is not what was planned to be rewritten`, {
    facts: { path },
    hint: 'The snapshot contradicts its manifest: run `holdfast verify`',
  })
}
