import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'

const checkout = dirname(import.meta.dirname)

/**
 * Packs and unpacks Holdfast as npm installs it, compiled; the packages it needs are those of the checkout. Started from
 * source, every command first strips the types of what it loads: some tenths of a second that no operator waits for.
 *
 * @returns path of the program
 */
export function installPackage(folder: string): string {
  mkdirSync(folder, { recursive: true })
  const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', folder], {
    cwd: checkout,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  execFileSync('tar', ['-xzf', join(folder, packed.trim().split('\n').at(-1)!), '-C', folder])
  symlinkSync(join(checkout, 'node_modules'), join(folder, 'package/node_modules'))
  return join(folder, 'package/bin/holdfast')
}
