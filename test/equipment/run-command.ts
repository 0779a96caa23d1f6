import { run } from '../../src/cli/main.ts'
import { type FakeIo, type FakeIoOptions, fakeIo } from '../support/fake-io.ts'

export interface CommandResult {
  readonly code: number
  readonly out: string
  readonly err: string
  readonly messages: FakeIo['messages']
}

/** Runs a command line in this process, with `cwd` as the working folder. */
export async function runCommand(
  cwd: string,
  argv: readonly string[],
  options: FakeIoOptions = {},
): Promise<CommandResult> {
  const io = fakeIo({ now: new Date(), ...options, cwd })
  const code = await run(argv, io)
  return { code, out: io.out(), err: io.err(), messages: io.messages }
}
