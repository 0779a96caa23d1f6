/**
 * Feeds every parser of bytes from outside with inputs that are nearly right.
 *
 *   node test/fuzz/fuzz-main.ts                           100,000 inputs, another seed each time
 *   node test/fuzz/fuzz-main.ts --inputs 10000000         as many as a release gets
 *   node test/fuzz/fuzz-main.ts tree snapshot --seed 7    only targets whose name contains one of the words
 *
 * Every input of a finding is written to a folder; it belongs into test/fuzz/regressions once the finding is mended.
 */
import { randomInt } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type FuzzFinding, FuzzProcesses, fuzzTarget, shareInputs } from './fuzz-run.ts'
import { fuzzTargets } from './fuzz-targets.ts'

const { values, positionals } = parseArgs({
  options: {
    inputs: { type: 'string', default: '100000' },
    seed: { type: 'string', default: String(randomInt(2 ** 32)) },
    findings: { type: 'string', default: join(tmpdir(), 'holdfast-fuzz-findings') },
    processes: { type: 'string', default: String(availableParallelism()) },
  },
  allowPositionals: true,
})

const targets = fuzzTargets.filter(
  ({ name }) => positionals.length === 0 || positionals.some((word) => name.includes(word)),
)
const shares = [...shareInputs(targets, Number(values.inputs))]
console.log(`${targets.length} parsers, seed ${values.seed}`)

let findings = 0
function show({ target, number, reason, input }: FuzzFinding): void {
  findings += 1
  const file = join(values.findings, `${target.replaceAll(' ', '-')}-${values.seed}-${number}`)
  mkdirSync(values.findings, { recursive: true })
  if (input) writeFileSync(file, input)
  console.log(
    `\n${target}, input ${number}${input ? ` (${input.length} bytes, ${file})` : ''}: ${reason.slice(0, 1500)}\n`,
  )
  process.exitCode = 1
}

let total = 0
const queue = shares.values()
await Promise.all(
  Array.from({ length: Number(values.processes) }, async () => {
    using processes = new FuzzProcesses()
    for (const [target, inputs] of queue) {
      const begun = performance.now()
      const { counts } = await fuzzTarget(target, { seed: values.seed, inputs, processes, onFinding: show })
      total += inputs
      const { taken, refused, reasons, perByte, slowest } = counts
      const seconds = ((performance.now() - begun) / 1000).toFixed(1)
      console.log(
        `${target.name}: ${inputs} inputs in ${seconds} s, ${taken} taken, ${refused} refused, ${reasons} reasons, at most ${slowest} ms and ${perByte} bytes a byte`,
      )
    }
  }),
)
console.log(`${total} inputs, ${findings} findings`)
