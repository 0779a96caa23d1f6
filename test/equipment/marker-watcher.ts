import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

export interface MarkerWatcher {
  /** Stops, and answers where the marker was seen; each place once. */
  stop(): Promise<{ readonly seen: string[]; readonly rounds: number }>
}

/**
 * Looks, as fast as it can and from a process of its own, for a marker in everything below some folders and in the arguments
 * and environments of all processes. Nobody may have the marker there, this watcher included: it is told of it on its
 * standard input.
 */
export async function watchForMarker(marker: string, folders: readonly string[]): Promise<MarkerWatcher> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'marker-watcher-program.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH },
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stdin.write(`${JSON.stringify({ marker, folders })}\n`)
  while (!output.includes('ready')) await once(child.stdout, 'data')
  return {
    async stop() {
      child.stdin.end()
      await once(child, 'close')
      return JSON.parse(output.slice(output.indexOf('{')))
    },
  }
}
