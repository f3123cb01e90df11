/** `node main.ts [PORT]`, and then `nc localhost PORT` in some terminals. Ends at end of input. */
import type { Listener } from './listener.ts'
import { startChat } from './system.ts'

const system = await startChat(Number(process.argv[2] ?? 0))
console.log(`port ${await system.whereis<Listener>('listener')?.ask('port')}`)
process.stdin.resume().on('end', () => system.stop())
