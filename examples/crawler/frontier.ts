/**
 * The frontier: which pages were seen, which wait for which host, and when the crawl is done. It does no work itself;
 * each host has an actor of its own, which sets the pace.
 */
import {
  type ActorRef,
  actor,
  type Contract,
  Deferred,
  type StartChildResult,
  type SupervisorContract,
} from 'mailactors'
import { type Host, host } from './host.ts'

export interface Page {
  readonly url: string
  /** HTTP status; 0 when there was no answer. */
  readonly status: number
  readonly links: readonly string[]
}

export interface Limits {
  /** Pages in all. */
  readonly maxPages: number
  /** Milliseconds between the end of a request and the next one to the same host. */
  readonly pauseMs: number
  readonly timeoutMs: number
}

export type Frontier = Contract<{
  /** Crawls from these pages on, within their hosts. Answered with all pages when none is left. */
  crawl(urls: readonly string[]): readonly Page[]
  /** From a host: a page is done. */
  visited(page: Page): void
}>

interface Site {
  ref: ActorRef<Host> | undefined
  /** Sent, or to be sent, and not visited yet. */
  readonly open: Set<string>
  /** Ends of its actor, which are tried again a few times. */
  failures: number
}

const mostFailures = 3

export const frontier = actor<Frontier, Limits>({
  name: 'frontier',
  module: import.meta.url,
  init(context, limits) {
    const sites = new Map<string, Site>()
    const seen = new Set<string>()
    const pages: Page[] = []
    let asked: Deferred<readonly Page[]> | undefined

    const add = (url: string): void => {
      const site = sites.get(new URL(url).host)
      if (site === undefined || site.failures > mostFailures) return
      if (seen.has(url) || seen.size >= limits.maxPages) return
      seen.add(url)
      site.open.add(url)
      site.ref?.tell('visit', url)
    }
    const addSite = (name: string): void => {
      if (sites.has(name)) return
      const site: Site = { ref: undefined, open: new Set(), failures: 0 }
      sites.set(name, site)
      startHost(name, site)
    }
    const startHost = (name: string, site: Site): void => {
      const hosts = context.whereis<SupervisorContract>('hosts')
      const fail = (): void => failed(name, site)
      const args = { ...limits, frontier: context.self }
      const spec = { id: name, actor: host, args, placement: { pool: 'fetchers' }, restart: 'temporary' }
      const started = (result: StartChildResult): void => {
        if (result.ok) {
          site.ref = result.ref as ActorRef as ActorRef<Host>
          context.monitor(site.ref)
          for (const url of site.open) site.ref.tell('visit', url)
        } else fail()
      }
      if (hosts === undefined) fail()
      else hosts.ask('startChild', spec).then(context.bind(started), context.bind(fail))
    }
    const failed = (name: string, site: Site): void => {
      site.ref = undefined
      site.failures++
      if (site.failures <= mostFailures) startHost(name, site)
      else for (const url of [...site.open]) finish({ url, status: 0, links: [] })
    }
    const finish = (page: Page): void => {
      // A host that was started again may visit a page twice; it counts once.
      if (sites.get(new URL(page.url).host)?.open.delete(page.url) !== true) return
      pages.push(page)
      for (const link of page.links) add(link)
      for (const site of sites.values()) if (site.open.size > 0) return
      asked?.resolve(pages)
    }
    return {
      crawl(urls) {
        asked = new Deferred()
        for (const url of urls) addSite(new URL(url).host)
        for (const url of urls) add(new URL(url).href)
        return asked
      },
      visited: finish,
      handleDown({ ref }) {
        for (const [name, site] of sites) if (site.ref?.id === ref.id) failed(name, site)
      },
    }
  },
})
