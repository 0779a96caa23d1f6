import type { FuzzTarget } from './fuzz-target.ts'

/** An input that once crashed, hung or cost too much, and must not again. */
export interface Regression {
  readonly target: FuzzTarget['name']
  /** What it did. */
  readonly finding: string
  readonly input: string | Buffer
}

export const regressions: readonly Regression[] = [
  {
    target: 'tree',
    finding: 'was no tree, but for the reader of large ones an empty one',
    input: '{"nodes":[,]}\n',
  },
  {
    target: 'tree',
    finding:
      'could not be read for a large number behind a blank and a colon, unless another number was written without the blank',
    input: `{"nodes":[${['"inode" :', '"inode":'].map((inode, i) => `{"name":"${i}","type":"file",${inode}18446744073709551615}`).join(',')}]}\n`,
  },
  {
    target: 'nginx configuration',
    finding: 'stood still before white space that is none for nginx, until memory was used up',
    input: 'server_name\u00a0example.com;',
  },
  {
    target: 'nginx configuration',
    finding: 'looked for the end of every string of a Lua block that has none',
    input: `a_by_lua_block {${'[['.repeat(100_000)}`,
  },
  {
    target: 'unit file',
    finding: 'read what a line continues again for every further line',
    input: '\\\n'.repeat(120_000),
  },
  {
    target: 'unit file',
    finding: 'looked for the end of a value at every blank in it',
    input: `a=${' '.repeat(120_000)}b`,
  },
  {
    target: 'pm2 file in JSON',
    finding: 'looked through the file for every variable in it',
    input: `[{"name":"a","env":{${Array.from({ length: 8000 }, (_, i) => `"API_TOKEN_${i}":"secret-${i}"`).join(',')}}}]`,
  },
  {
    target: 'pm2 file in YAML',
    finding: 'compared each key with every other',
    input: `a:\n${Array.from({ length: 5_000 }, (_, i) => `  k${i}: 1\n`).join('')}`,
  },
  {
    target: 'pm2 file in YAML',
    finding: 'cut out the line, which was the whole file, for each of its mistakes',
    input: '[]'.repeat(32_000),
  },
  {
    target: 'patterns of what is left out',
    finding: 'tried every way to place each letter in a long name',
    input: '*a*a*a*a*a*a*a*a*b',
  },
  {
    target: 'patterns of what is left out',
    finding: 'tried every way to place each folder in a long path',
    input: '/**/ab/**/ab/**/ab/**/ab/**/ab/**/x',
  },
  {
    target: 'patterns of what is left out',
    finding: 'looked at everything in front of each of the spaces at the end',
    input: `a${' '.repeat(1990)}`,
  },
  {
    target: 'pm2 file in JSON',
    finding: 'ran out of stack over lists in lists',
    input: `{"apps":[{"name":"a","env":{"A":${'['.repeat(20_000)}${']'.repeat(20_000)}}}]}`,
  },
  {
    target: 'config file',
    finding: 'compared each key with every other',
    input: `app: a\n${Array.from({ length: 10_000 }, (_, i) => `k${i}: 1\n`).join('')}`,
  },
  {
    target: 'config file',
    finding: 'looked through the whole file for each of the keys that stand twice',
    input: ': shop\n'.repeat(20_000),
  },
  {
    target: 'schedules and lengths of time',
    finding: 'compared every letter with those of all time zones',
    input: 'x'.repeat(200_000),
  },
  {
    target: 'SSH private key',
    finding: 'threw what OpenSSL throws',
    input: '-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----\n',
  },
  {
    target: 'tar archive',
    finding: 'had a size that a double cannot hold',
    input: tarOfHugeFile(),
  },
]

/** A header whose size is 2 * 256^7, in base 256, with the sum that makes it valid. */
function tarOfHugeFile(): Buffer {
  const header = Buffer.alloc(512)
  header.write('large')
  header.write(['0000644', '0000000', '0000000', ''].join('\0'), 100)
  header[124] = 0x80
  header[128] = 2
  header.write(`${'0'.repeat(11)}\0`, 136)
  header.write('        0', 148)
  header.write(`ustar\0${'00'}`, 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return Buffer.concat([header, Buffer.alloc(1024)])
}
