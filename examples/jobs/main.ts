/** `node main.ts FILE COUNT`: adds so many jobs to the queue in FILE, unless they are there, and ends when all are done. */
import type { Queue } from './queue.ts'
import { startJobs } from './system.ts'

const [file = 'jobs.db', count = '100'] = process.argv.slice(2)
await using system = await startJobs(file)
const queue = () => system.whereis<Queue>('queue')!

for (let number = 0; number < Number(count); number++)
  await queue().ask('add', `job-${number}`, `text ${number}`)
console.log('added')
for (;;) {
  const counts = await queue().ask('counts')
  if (counts.waiting + counts.taken === 0) {
    console.log(JSON.stringify(counts))
    break
  }
  await new Promise((resolve) => setTimeout(resolve, 20))
}
