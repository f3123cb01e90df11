import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { actor, type Contract, serveOnce } from '../../src/index.ts'
import { socketEcho } from './fixtures/actors.ts'

/** What a client gets to read. */
async function textOf(stream: PassThrough): Promise<string> {
  let text = ''
  for await (const chunk of stream) text += String(chunk)
  return text
}

test('a service serves one client on a pair of streams, and ends', async () => {
  const [input, output] = [new PassThrough(), new PassThrough()]
  input.write('hello')
  input.end()
  const [reason, text] = await Promise.all([serveOnce({ actor: socketEcho, input, output }), textOf(output)])
  expect(reason).toEqual({ kind: 'normal' })
  expect(text).toBe('0 hello')
})

test('a service that fails says so', async () => {
  const broken = actor<Contract<{ x(): void }>>({
    name: 'broken',
    module: import.meta.url,
    init() {
      throw new Error('no service')
    },
  })
  const reason = await serveOnce({ actor: broken, input: new PassThrough(), output: new PassThrough() })
  expect(reason).toMatchObject({ kind: 'error', message: 'no service' })
})
