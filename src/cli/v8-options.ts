/** What `bin/holdfast` found this Node.js to take, and leaves for later. */
const NAME = 'HOLDFAST_V8_OPTIONS'

/**
 * Takes the options out of the environment, which programs that are started from here get as the operator has it, and sets them as
 * soon as threads run. Then there is much to do, and most of the program is loaded: of code that was compiled before, by others or by
 * itself, V8 has no use from then on, and a thread takes a third longer to start.
 */
export function setV8OptionsWithThreads(env: Record<string, string | undefined>): void {
  const options = env[NAME]
  delete env[NAME]
  if (!options) return
  let starting = 0
  process.on('worker', (worker) => {
    starting += 1
    worker.once('online', () => {
      starting -= 1
      if (starting === 0) process.getBuiltinModule('node:v8').setFlagsFromString(options)
    })
  })
}
