/** What `bin/holdfast` found this Node.js to take, and leaves for later. */
const NAME = 'HOLDFAST_V8_OPTIONS'

let later: string | undefined

/** Takes the options out of the environment, which programs that are started from here get as the operator has it. */
export function takeV8Options(env: Record<string, string | undefined>): void {
  later = env[NAME]
  delete env[NAME]
}

/**
 * Sets them, for all threads. For a command that has loaded what it starts with: V8 has no more use for code that was compiled
 * before, by others or by itself.
 */
export function setV8Options(): void {
  if (later) process.getBuiltinModule('node:v8').setFlagsFromString(later)
  later = undefined
}
