/** TLS reports by HTTPS: they arrive, and nobody makes us talk to what only we can reach. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:https'
import { buffer } from 'node:stream/consumers'
import { createSecureContext } from 'node:tls'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isPublic, postReport } from '../../../../../src/protocols/smtp/client/tls/rpt/post.ts'
import { Authority } from '../../../../support/certificates.ts'

interface Posted {
  readonly method: string
  readonly url: string
  readonly type: string
  readonly body: string
}

let authority: Authority
let server: Server
let port: number
let status = 200
const posted: Posted[] = []
let connections = 0

beforeAll(async () => {
  authority = await Authority.make()
  const { cert, key } = await authority.issue({ names: ['r.test'], addresses: ['127.0.0.1'] })
  server = createServer({ cert, key }, async (request, response) => {
    const body = gunzipSync(await buffer(request)).toString()
    posted.push({ method: request.method!, url: request.url!, type: request.headers['content-type']!, body })
    response.writeHead(status, { Location: `https://r.test:${port}/elsewhere` }).end('x'.repeat(100_000))
  })
  server.on('connection', () => connections++)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  port = (server.address() as { port: number }).port
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})

const body = gzipSync('{"a":1}')
const post = (uri: string, over: { address?: string; allowPrivate?: boolean; trusting?: boolean } = {}) => {
  const { address = '127.0.0.1', allowPrivate = true, trusting = true } = over
  return postReport(uri, body, {
    context: createSecureContext(trusting ? { ca: authority.cert } : {}),
    find: async (name) => (name === 'r.test' ? [{ address, family: address.includes(':') ? 6 : 4 }] : []),
    allowPrivate,
  })
}

describe('a report by HTTPS', () => {
  it('arrives', async () => {
    await post(`https://r.test:${port}/tls?x=1`)
    await post(`https://127.0.0.1:${port}`)
    expect(posted).toEqual([
      { method: 'POST', url: '/tls?x=1', type: 'application/tlsrpt+gzip', body: '{"a":1}' },
      { method: 'POST', url: '/', type: 'application/tlsrpt+gzip', body: '{"a":1}' },
    ])
  })

  it('goes nowhere else when the server says so', async () => {
    posted.length = 0
    status = 307
    await expect(post(`https://r.test:${port}/`)).rejects.toThrow('answered 307')
    status = 500
    await expect(post(`https://r.test:${port}/`)).rejects.toThrow('answered 500')
    status = 200
    expect(posted.map(({ url }) => url)).toEqual(['/', '/'])
  })

  it('not to loopback and private networks, by name or by address', async () => {
    connections = 0
    for (const uri of [`https://r.test:${port}/`, `https://127.0.0.1:${port}/`, `https://127.1:${port}/`]) {
      await expect(post(uri, { allowPrivate: false })).rejects.toThrow('is not on the public internet')
    }
    await expect(post(`https://[::ffff:127.0.0.1]:${port}/`, { allowPrivate: false })).rejects.toThrow(
      'public',
    )
    await expect(post(`https://r.test:${port}/`, { allowPrivate: false, address: '::1' })).rejects.toThrow(
      'is not on the public internet',
    )
    expect(connections).toBe(0)
  })

  it('only to a server with the right certificate', async () => {
    posted.length = 0
    await expect(post(`https://r.test:${port}/`, { trusting: false })).rejects.toThrow()
    await expect(post(`https://unknown.test:${port}/`)).rejects.toThrow('has no address')
    expect(posted).toEqual([])
  })
})

it.each([
  ['8.8.8.8', true],
  ['2606:4700::1111', true],
  ['192.0.2.1', false],
  ['10.1.2.3', false],
  ['172.31.255.255', false],
  ['172.32.0.1', true],
  ['100.64.0.1', false],
  ['169.254.169.254', false],
  ['192.168.1.1', false],
  ['0.0.0.0', false],
  ['224.0.0.1', false],
  ['255.255.255.255', false],
  ['::1', false],
  ['::', false],
  ['fe80::1', false],
  ['fd00::1', false],
  ['::ffff:8.8.8.8', false],
  ['64:ff9b::7f00:1', false],
  ['2002:7f00:1::', false],
  ['2001:db8::1', false],
])('%s is on the public internet: %s', (address, is) => {
  expect(isPublic(address)).toBe(is)
})
