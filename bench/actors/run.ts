/** One question put to one contestant, in a process of its own: `run.ts CONTESTANT QUESTION MS`. Prints the figures. */
import type { Contestant, Question } from './workload.ts'

const [, , name = '', question = '', ms = '600'] = process.argv
const { contestant } = (await import(`./${name}.ts`)) as { contestant: Contestant }
const measure = contestant[question as Question]
if (measure === undefined) throw new Error(`${name} has no ${question}`)
console.log(JSON.stringify(await measure(Number(ms))))
process.exit(0)
