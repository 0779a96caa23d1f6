import type { SeededRandom } from './seeded-random.ts'

const SYLLABLES = 'ba ce di fo gu ka le mi no pu ra se ti vo xy an el in or us ac et id ob ul'.split(' ')
const SHAPES: readonly ((word: () => string) => string)[] = [
  (word) => `  const ${word()} = ${word()}.${word()}(${word()}, ${word()})`,
  (word) => `  if (${word()} !== ${word()}) throw new ${word()}Error(\`${word()} ${word()} \${${word()}}\`)`,
  (word) => `import { ${word()}, ${word()} } from '../${word()}/${word()}.ts'`,
  (word) => `export async function ${word()}(${word()}: ${word()}, ${word()}: number): Promise<${word()}> {`,
  (word) => `  // ${word()} ${word()} the ${word()} of ${word()}, when ${word()} is ${word()} or ${word()}`,
  (word) => `  return ${word()}.map((${word()}) => ${word()}[${word()}] ?? ${word()})`,
  () => '}',
  () => '',
]

/** Writes text that compresses about as program source does (zstd: to a third or a fourth). */
export function sourceText(random: SeededRandom): (length: number) => string {
  const vocabulary = Array.from({ length: 6000 }, () =>
    Array.from({ length: 2 + random.below(3) }, () => SYLLABLES[random.below(SYLLABLES.length)]).join(''),
  )
  // Of words, as of everything in a language, few are used often.
  const word = () => vocabulary[Math.floor(vocabulary.length * random.next() ** 3)]!
  const line = () => `${SHAPES[random.below(SHAPES.length)]!(word)}\n`
  const common = Array.from({ length: 2000 }, line)
  return (length) => {
    let text = ''
    while (text.length < length) text += random.next() < 0.25 ? common[random.below(common.length)]! : line()
    return text.slice(0, length)
  }
}
