/**
 * The admin page: `GET /` for people, `/metrics` for Prometheus, `/healthz` for a watchdog. Read only, so it
 * needs no login; it is bound to loopback unless the configuration says otherwise.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createListener, type Server as Listener, type Socket } from 'node:net'
import { type ActorContext, actor, type Contract } from '../actors/index.ts'
import type { Config } from '../config/settings.ts'
import type { ListenerInfo } from '../listeners/contract.ts'
import { boundAddress, listenAt } from '../listeners/listen.ts'
import { serverTls, upgradeToTls } from '../protocols/server-tls.ts'
import type { Administered, TreeNode } from './contract.ts'
import { metricsText } from './metrics.ts'
import { readStatus } from './status.ts'

export interface AdminPageArgs {
  /** `host:port`, `[v6]:port`, `:port` or `unix:/path`. */
  readonly address: string
  readonly tls: 'off' | 'implicit'
  readonly service: Administered
}

export type AdminPageContract = Contract<{ info(): ListenerInfo }>

class AdminPage {
  readonly #context: ActorContext<AdminPageContract>
  readonly #args: AdminPageArgs
  readonly #server: Server
  readonly #listener: Listener
  #accepted = 0

  constructor(context: ActorContext<AdminPageContract>, args: AdminPageArgs) {
    this.#context = context
    this.#args = args
    this.#server = createServer({ requestTimeout: 10_000, headersTimeout: 10_000 }, (request, response) => {
      void this.#serve(request, response)
    })
    this.#listener = createListener((socket) => this.#accept(socket))
    this.#listener.maxConnections = 100
  }

  #accept(socket: Socket): void {
    this.#accepted++
    if (this.#args.tls === 'off') {
      this.#server.emit('connection', socket)
      return
    }
    // A socket that dies in the handshake has nobody else to hear of it.
    socket.on('error', () => {})
    const certificate = this.#context.setting<Config>('config')?.tls
    const tls = certificate === undefined ? undefined : serverTls(this.#context, certificate)
    if (tls === undefined) {
      socket.destroy()
      return
    }
    const secured = upgradeToTls(socket, tls)
    secured.on('error', () => {})
    this.#server.emit('connection', secured)
  }

  async listen(): Promise<this> {
    await listenAt(this.#listener, this.#context, { address: this.#args.address, service: 'admin' })
    // Out of file descriptors, mostly. The connections wait in the backlog.
    this.#listener.on(
      'error',
      this.#context.bind((error: Error) =>
        this.#context.log.error({ event: 'listener.error', error: error.message }, 'accept failed'),
      ),
    )
    return this
  }

  info(): ListenerInfo {
    const address = boundAddress(this.#listener.address(), this.#args.address)
    return { service: 'admin', address, tls: this.#args.tls, accepted: this.#accepted, refused: 0 }
  }

  terminate(): void {
    this.#listener.close()
    this.#server.closeAllConnections()
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const page = await this.#page(request.method ?? 'GET', request.url ?? '/')
      const { status, type, body, headers } = page
      const length = Buffer.byteLength(body)
      response.writeHead(status, {
        ...sameForAll,
        ...headers,
        'content-type': type,
        'content-length': length,
      })
      response.end(request.method === 'HEAD' ? undefined : body)
    } catch (error) {
      this.#context.log.error({ event: 'admin.error', error: (error as Error).message }, 'admin page failed')
      response.writeHead(503, { ...sameForAll, 'content-type': plain })
      response.end('A part of the service does not answer.\n')
    }
  }

  async #page(method: string, url: string): Promise<Page> {
    const { service } = this.#args
    const pages: Record<string, () => Promise<Page>> = {
      '/': async () => ({ status: 200, type: 'text/html; charset=utf-8', body: await statusPage(service) }),
      '/healthz': async () => {
        await service.queue().ask('counts')
        return { status: 200, type: plain, body: 'ok\n' }
      },
    }
    if (this.#context.setting<Config>('config')?.admin.metrics ?? true) {
      pages['/metrics'] = async () => ({
        status: 200,
        type: 'text/plain; version=0.0.4; charset=utf-8',
        body: await metricsText(service),
      })
    }
    const path = url.split('?', 1)[0] ?? ''
    const page = Object.hasOwn(pages, path) ? pages[path] : undefined
    if (page === undefined) {
      return { status: 404, type: plain, body: `There is ${Object.keys(pages).join(', ')}.\n` }
    }
    if (method === 'GET' || method === 'HEAD') return await page()
    return { status: 405, type: plain, body: 'Read only: GET or HEAD.\n', headers: { allow: 'GET, HEAD' } }
  }
}

interface Page {
  readonly status: number
  readonly type: string
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
}

const plain = 'text/plain; charset=utf-8'

/** No page of others may show ours in a frame, and nothing is taken for a script. */
const sameForAll = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
} as const

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
