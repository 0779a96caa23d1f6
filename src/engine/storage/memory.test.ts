import { describeStorage } from './conformance.test-suite.ts'
import { memoryStorage } from './memory.ts'

describeStorage('memory', async () => memoryStorage())
