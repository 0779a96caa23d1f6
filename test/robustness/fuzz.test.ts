import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { describe, it } from 'node:test'
import { type FuzzFinding, FuzzProcesses, fuzzTarget, shareInputs } from '../fuzz/fuzz-run.ts'
import { fuzzTargets } from '../fuzz/fuzz-targets.ts'
import { regressions } from '../fuzz/regressions.ts'

// Every parser of bytes from outside, fed with inputs that are nearly right: none crashes, hangs, or takes more memory than it may.
// `node test/fuzz/fuzz-main.ts` shows what was found input by input.

const INPUTS = process.env.HOLDFAST_FULL === '1' ? 10_000_000 : 80_000
const SEED = process.env.HOLDFAST_SEED ?? String(randomInt(2 ** 32))

function told({ target, number, reason, input }: FuzzFinding): string {
  const bytes = input === undefined ? '' : `, in base64: ${input.toString('base64').slice(0, 2000)}`
  return `${target}, input ${number} of seed ${SEED}: ${reason.slice(0, 1000)}${bytes}`
}

describe('parsers of bytes from outside', () => {
  it('refuse or read every input that they once could not', async () => {
    using processes = new FuzzProcesses()
    const findings: string[] = []
    for (const target of fuzzTargets) {
      const inputs = regressions.filter((each) => each.target === target.name).map(({ input }) => Buffer.from(input))
      if (inputs.length === 0) continue
      await fuzzTarget(target, { seed: '', inputs, processes, onFinding: (finding) => findings.push(told(finding)) })
    }
    assert.deepEqual(findings, [])
    const known = new Set(fuzzTargets.map(({ name }) => name))
    for (const { target } of regressions) assert.ok(known.has(target), `there is no parser "${target}"`)
  })

  it(`refuse or read ${INPUTS} inputs that are nearly right (HOLDFAST_SEED=${SEED})`, async (t) => {
    const findings: string[] = []
    let total = 0
    const queue = [...shareInputs(fuzzTargets, INPUTS)].values()
    const drain = async () => {
      using processes = new FuzzProcesses()
      for (const [target, inputs] of queue) {
        const { counts } = await fuzzTarget(target, {
          seed: SEED,
          inputs,
          processes,
          onFinding: (finding) => findings.push(told(finding)),
        })
        total += inputs
        const { taken, refused, reasons } = counts
        if (INPUTS >= 1_000_000) t.diagnostic(`${target.name}: ${taken} taken, ${refused} refused, ${reasons} reasons`)
        // Samples that the parser does not even know are no samples of anything.
        if (taken === 0) findings.push(`${target.name} took none of ${inputs} inputs`)
      }
    }
    await Promise.all(Array.from({ length: availableParallelism() }, drain))
    assert.deepEqual(findings, [])
    t.diagnostic(`${total} inputs for ${fuzzTargets.length} parsers`)
  })
})
