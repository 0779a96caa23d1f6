import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** A host's files in a temporary folder. Values that begin with `-> ` are links; `ROOT` stands for the folder. */
export function hostTree(files: Readonly<Record<string, string>>) {
  const root = mkdtempSync(join(tmpdir(), 'holdfast-host-'))
  for (const [path, content] of Object.entries(files)) {
    const file = join(root, path)
    mkdirSync(dirname(file), { recursive: true })
    if (content.startsWith('-> ')) symlinkSync(content.slice(3).replaceAll('ROOT', root), file)
    else writeFileSync(file, content.replaceAll('ROOT', root))
  }
  return {
    root,
    [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }),
  }
}

/** What a capture holds, as paths of the host. */
export function parts(
  root: string,
  capture: {
    readonly targets: readonly Buffer[]
    readonly secrets: readonly Buffer[]
    readonly findings: readonly { readonly severity: string; readonly code: string; readonly path?: string }[]
  },
) {
  const onHost = (path: string): string => (path.startsWith(`${root}/`) ? path.slice(root.length) : path)
  return {
    targets: capture.targets.map((path) => onHost(path.toString())).sort(),
    secrets: capture.secrets.map((path) => onHost(path.toString())).sort(),
    findings: capture.findings.map(({ severity, code, path }) => `${severity} ${code} ${onHost(path ?? '')}`),
  }
}
