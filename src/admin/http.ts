/**
 * The admin page: `GET /` for people, `/metrics` for Prometheus, `/healthz` for a watchdog. Read only, so it
 * needs no login; it is bound to loopback unless the configuration says otherwise.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type ActorContext, actor, type Contract } from '../actors/index.ts'
import type { ListenerInfo } from '../listeners/contract.ts'
import { boundAddress, hostAndPort, ListenError } from '../listeners/listener.ts'
import type { Administered, TreeNode } from './contract.ts'
import { metricsText } from './metrics.ts'
import { readStatus } from './status.ts'

export interface AdminPageArgs {
  /** `host:port`, `[v6]:port` or `:port`. */
  readonly address: string
  /** Whether `/metrics` is served. */
  readonly metrics: boolean
  readonly service: Administered
}

export type AdminPageContract = Contract<{ info(): ListenerInfo }>

class AdminPage {
  readonly #context: ActorContext<AdminPageContract>
  readonly #args: AdminPageArgs
  readonly #server: Server
  #accepted = 0

  constructor(context: ActorContext<AdminPageContract>, args: AdminPageArgs) {
    this.#context = context
    this.#args = args
    this.#server = createServer({ requestTimeout: 10_000, headersTimeout: 10_000 }, (request, response) => {
      void this.#serve(request, response)
    })
    this.#server.maxConnections = 100
    this.#server.on('connection', () => {
      this.#accepted++
    })
  }

  async listen(): Promise<this> {
    const { address } = this.#args
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) => {
        const details = { address, service: 'admin', errno: error.code }
        reject(new ListenError(`cannot listen on ${address}: ${error.message}`, details, { cause: error }))
      })
      this.#server.listen(hostAndPort(address), resolve)
    })
    return this
  }

  info(): ListenerInfo {
    const address = boundAddress(this.#server.address(), this.#args.address)
    return { service: 'admin', address, tls: 'off', accepted: this.#accepted, refused: 0 }
  }

  terminate(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const page = await this.#page(request.url ?? '/')
      response.writeHead(page.status, { 'content-type': page.type, 'cache-control': 'no-store' })
      response.end(request.method === 'HEAD' ? undefined : page.body)
    } catch (error) {
      this.#context.log.error({ event: 'admin.error', error: (error as Error).message }, 'admin page failed')
      response.writeHead(503, { 'content-type': 'text/plain' })
      response.end('A part of the service does not answer.\n')
    }
  }

  async #page(url: string): Promise<{ status: number; type: string; body: string }> {
    const { service, metrics } = this.#args
    const path = url.split('?', 1)[0]
    if (path === '/healthz') {
      await service.queue().ask('counts')
      return { status: 200, type: 'text/plain', body: 'ok\n' }
    }
    if (path === '/metrics' && metrics) {
      return {
        status: 200,
        type: 'text/plain; version=0.0.4; charset=utf-8',
        body: await metricsText(service),
      }
    }
    if (path === '/')
      return { status: 200, type: 'text/html; charset=utf-8', body: await statusPage(service) }
    return { status: 404, type: 'text/plain', body: 'There is /, /metrics and /healthz.\n' }
  }
}

async function statusPage(service: Administered): Promise<string> {
  const [status, tree] = await Promise.all([readStatus(service), service.tree()])
  const { queue } = status
  const rows = (cells: readonly (readonly (string | number)[])[]) =>
    cells
      .map((row) => `<tr>${row.map((cell) => `<td>${escapeHtml(String(cell))}</td>`).join('')}</tr>`)
      .join('')
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<title>mailactors on ${escapeHtml(status.hostname)}</title>
<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.1rem 1rem .1rem 0;text-align:left}pre{overflow:auto}</style>
<h1>${escapeHtml(status.hostname)}</h1>
<p>mailactors ${escapeHtml(status.version)}, up ${Math.round(status.uptimeMs / 1000)} s,
${Math.round(status.rssBytes / 1_048_576)} MiB resident</p>
<h2>Listeners</h2><table><tr><th>service<th>address<th>accepted<th>refused</tr>
${rows(status.listeners.map((l) => [l.service, l.address, l.accepted, l.refused]))}</table>
<h2>Queue</h2><table>${rows(Object.entries(queue))}</table>
<h2>Threads</h2><table><tr><th>pool<th>thread<th>actors<th>busy<th>heap MiB</tr>
${rows(
  status.threads.map((t) => [
    t.pool,
    t.thread,
    t.actors,
    `${Math.round(t.utilization * 100)} %`,
    (t.heapBytes / 1_048_576).toFixed(1),
  ]),
)}</table>
<h2>Supervision tree</h2><pre>${escapeHtml(treeText(tree, ''))}</pre></html>
`
}

/** Children shown of one supervisor; a page of 10 000 sessions helps nobody. */
const maxChildren = 50

function treeText(node: TreeNode, indent: string): string {
  const shown = node.children.slice(0, maxChildren).map((child) => treeText(child, `${indent}  `))
  const more = node.children.length - shown.length
  if (more > 0) shown.push(`${indent}  … and ${more} more\n`)
  const restarts = node.restarts === 0 ? '' : `, ${node.restarts} restarts`
  return `${indent}${node.name} (thread ${node.thread}, ${node.state}${restarts})\n${shown.join('')}`
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}

export const adminPageActor = actor<AdminPageContract, AdminPageArgs>({
  name: 'admin-page',
  module: import.meta.url,
  init: (context, args) => new AdminPage(context, args).listen(),
})
