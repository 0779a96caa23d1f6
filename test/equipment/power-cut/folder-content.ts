import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Files by their path below a folder; a folder holds `null`. The folder itself is not among them. */
export type FolderContent = ReadonlyMap<string, Buffer | null>

export function readFolder(folder: string): FolderContent {
  const content = new Map<string, Buffer | null>()
  const visit = (below: string) => {
    for (const entry of readdirSync(join(folder, below), { withFileTypes: true })) {
      const path = join(below, entry.name)
      content.set(path, entry.isDirectory() ? null : readFileSync(join(folder, path)))
      if (entry.isDirectory()) visit(path)
    }
  }
  visit('')
  return content
}

/** Into an empty folder. */
export function writeFolder(folder: string, content: FolderContent): void {
  for (const path of [...content.keys()].sort()) {
    const bytes = content.get(path)
    if (bytes === null) mkdirSync(join(folder, path))
    else writeFileSync(join(folder, path), bytes!)
  }
}
