/** One host: a request at a time, and a pause after each. However many hosts there are, each is asked politely. */
import { type AnyRef, actor, type Contract } from 'mailactors'
import type { Limits, Page } from './frontier.ts'

export type Host = Contract<{
  visit(url: string): void
  /** To itself, when the pause is over. */
  next(): void
}>

/** Octets of a page that are looked at. */
const mostOctets = 1_000_000

export const host = actor<Host, Limits & { frontier: AnyRef }>({
  name: 'host',
  module: import.meta.url,
  init(context, { frontier, pauseMs, timeoutMs }) {
    /** Bounded by the frontier's `maxPages`. */
    const waiting: string[] = []
    let isBusy = false

    const next = (): void => {
      const url = waiting.shift()
      isBusy = url !== undefined
      if (url === undefined) return
      const done = context.bind((page: Page) => {
        frontier.tell('visited', page)
        context.sendAfter(pauseMs, 'next')
      })
      // Not awaited in a handler: meanwhile it takes further messages.
      fetchPage(url, timeoutMs).then(done, () => done({ url, status: 0, links: [] }))
    }
    return {
      visit(url) {
        waiting.push(url)
        if (!isBusy) next()
      },
      next,
    }
  },
})

async function fetchPage(url: string, timeoutMs: number): Promise<Page> {
  const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) })
  const chunks: Uint8Array[] = []
  let octets = 0
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk)
    octets += chunk.length
    if (octets > mostOctets) break
  }
  return { url, status: response.status, links: linksIn(Buffer.concat(chunks).toString(), url) }
}

/** Targets of the page's `href`s, without fragments. */
export function linksIn(html: string, base: string): string[] {
  const links = new Set<string>()
  for (const [, target = ''] of html.matchAll(/\bhref\s*=\s*["']([^"']*)["']/gi)) {
    const url = URL.parse(target, base)
    if (url === null || !/^https?:$/.test(url.protocol)) continue
    url.hash = ''
    links.add(url.href)
  }
  return [...links]
}
