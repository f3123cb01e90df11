/** The password prompt, on a stream that takes the place of a terminal. */
import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { readPasswordFrom } from '../../src/cli/prompt.ts'
import type { Terminal } from '../../src/cli/terminal.ts'

function typing(keys: string) {
  const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => stdin })
  const shown: string[] = []
  const print = (text: string) => {
    shown.push(text)
    if (text === 'Password: ') setImmediate(() => stdin.write(keys))
  }
  const terminal = { stdin: stdin as unknown as NodeJS.ReadStream, print } as Terminal
  return { shown, password: readPasswordFrom(terminal, { stdin: false, isNew: true }) }
}

test.each(['\r', '\x04'])('nothing but %j is no password, and not asked for again', async (key) => {
  const { shown, password } = typing(key)
  expect(await password).toBe('')
  expect(shown).toEqual(['Password: ', '\n'])
})
