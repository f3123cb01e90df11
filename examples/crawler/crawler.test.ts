import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ActorSystem } from 'mailactors'
import { afterEach, expect, test } from 'vitest'
import { linksIn } from './host.ts'
import { crawl, startCrawler } from './system.ts'

const closing: (() => unknown)[] = []
let system: ActorSystem
afterEach(async () => {
  await system?.stop()
  for (const close of closing.splice(0)) await close()
})

/** A web server of its own host, which notes how it is asked. */
async function startSite(page: (path: string) => string | undefined) {
  const site = { url: '', requests: [] as string[], busy: 0, mostBusy: 0, pauses: [] as number[] }
  let ended: number | undefined
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    site.requests.push(path)
    site.mostBusy = Math.max(site.mostBusy, ++site.busy)
    if (ended !== undefined) site.pauses.push(performance.now() - ended)
    const text = page(path)
    setTimeout(() => {
      site.busy--
      ended = performance.now()
      response.writeHead(text === undefined ? 404 : 200).end(text)
    }, 2)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  site.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  return site
}

const links = (...targets: string[]) => targets.map((target) => `<a href="${target}">x</a>`).join('')

test('every page of every host once, one request at a time to each, with a pause between', async () => {
  const pauseMs = 10
  const other = await startSite((path) => (path === '/' ? links('a', 'b', 'c', 'd') : links('/')))
  const site = await startSite((path) => {
    if (path === '/missing') return undefined
    return path === '/'
      ? links('1', '2#part', '/missing', `${other.url}a`, 'http://192.0.2.1/', 'mailto:a@b')
      : links('/', '1', '3')
  })
  system = await startCrawler({ pauseMs })
  const pages = await crawl(system, [site.url, other.url])

  expect(site.requests.toSorted()).toEqual(['/', '/1', '/2', '/3', '/missing'])
  expect(other.requests.toSorted()).toEqual(['/', '/a', '/b', '/c', '/d'])
  expect(pages.map(({ url }) => url).toSorted()).toEqual(
    [
      ...site.requests.map((path) => site.url + path.slice(1)),
      ...other.requests.map((path) => other.url + path.slice(1)),
    ].toSorted(),
  )
  expect(pages.find(({ url }) => url.endsWith('missing'))?.status).toBe(404)
  for (const { mostBusy, pauses } of [site, other]) {
    expect(mostBusy).toBe(1)
    // Timers may ring a fraction of a millisecond early.
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(pauseMs - 1)
  }
})

test('no more pages than allowed', async () => {
  const endless = await startSite((path) => links(`${path}0`, `${path}1`))
  system = await startCrawler({ pauseMs: 0, maxPages: 20 })
  expect(await crawl(system, [endless.url])).toHaveLength(20)
  expect(endless.requests).toHaveLength(20)
})

test('a host that does not answer is no reason to wait for ever', async () => {
  const silent = createServer(() => undefined)
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  closing.push(() => {
    silent.closeAllConnections()
    silent.close()
  })
  const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/`
  system = await startCrawler({ pauseMs: 0, timeoutMs: 50 })
  expect(await crawl(system, [url])).toEqual([{ url, status: 0, links: [] }])
})

test('a thread that dies costs no page', async () => {
  const kill = async (): Promise<void> => {
    const thread = (await system.threads()).find(({ pool, actors }) => pool === 'fetchers' && actors > 0)
    if (thread !== undefined) system.killThread(thread.thread)
  }
  const paths = Array.from({ length: 20 }, (_, number) => `/${number}`)
  const site = await startSite((path) => {
    if (path === '/5' && site.requests.filter((one) => one === '/5').length === 1) void kill()
    return path === '/' ? links(...paths) : ''
  })
  system = await startCrawler({ pauseMs: 1 })
  const pages = await crawl(system, [site.url])
  expect(pages.map(({ url }) => new URL(url).pathname).toSorted()).toEqual(['/', ...paths].toSorted())
  expect(pages.every(({ status }) => status === 200)).toBe(true)
})

test('links are found as a browser would, without fragments and other schemes', () => {
  const html = `<a href="b">x</a> <A HREF='../c?d=1#e'>x</A> <a href="ftp://f/">x</a> <a href="http://[">x</a>`
  expect(linksIn(html, 'http://h/a/')).toEqual(['http://h/a/b', 'http://h/c?d=1'])
})
