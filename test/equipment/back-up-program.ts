/** `back-up-program.ts REPOSITORY PATH…`: backs up, and prints the report as JSON. Run by `path-operations.ts`. */
import { backUp } from './path-operations.ts'

const [location, ...paths] = process.argv.slice(2)
const report = await backUp(location!, paths)
console.log(JSON.stringify(report, (_, value) => (typeof value === 'bigint' ? String(value) : value)))
