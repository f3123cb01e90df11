/** `node main.ts URL…`: prints the pages that can be reached from there on the same hosts, one request a second to each. */
import { crawl, startCrawler } from './system.ts'

await using system = await startCrawler()
for (const { status, url } of await crawl(system, process.argv.slice(2))) console.log(status, url)
