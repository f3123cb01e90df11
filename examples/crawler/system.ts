import { ActorSystem, supervisor } from 'mailactors'
import { type Frontier, frontier, type Limits, type Page } from './frontier.ts'

/** Hosts are temporary: when one ends, the frontier decides whether it is started again. */
export const hosts = supervisor({
  name: 'hosts',
  module: import.meta.url,
  init: () => ({ strategy: 'one_for_one', children: [] }),
})

export const defaultLimits: Limits = { maxPages: 1_000, pauseMs: 1_000, timeoutMs: 10_000 }

export function startCrawler(limits: Partial<Limits> = {}): Promise<ActorSystem> {
  return ActorSystem.start({
    pools: { fetchers: { minThreads: 2 } },
    children: [
      { id: 'hosts', actor: hosts, registerAs: 'hosts' },
      { id: 'frontier', actor: frontier, args: { ...defaultLimits, ...limits }, registerAs: 'frontier' },
    ],
  })
}

/** All pages reached from `urls`. Takes as long as it takes. */
export async function crawl(system: ActorSystem, urls: readonly string[]): Promise<readonly Page[]> {
  const frontier = system.whereis<Frontier>('frontier')
  if (frontier === undefined) throw new Error('the crawler has stopped')
  return await frontier.askWith({ timeoutMs: Infinity }, 'crawl', urls)
}
