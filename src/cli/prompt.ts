/** Asks for a password: on the terminal without echo, or from stdin. */
import { CommandFailure, exitCodes } from './exit.ts'
import type { Terminal } from './terminal.ts'

/** Longer input is no password. */
const maxOctets = 4_096

/** The first line of stdin. */
async function passwordFromStdin(terminal: Terminal): Promise<string> {
  const chunks: Buffer[] = []
  let octets = 0
  for await (const chunk of terminal.stdin) {
    const bytes = Buffer.from(chunk as Uint8Array)
    chunks.push(bytes)
    octets += bytes.length
    if (bytes.includes(0x0a)) break
    if (octets > maxOctets)
      throw new CommandFailure(exitCodes.badData, `password: longer than ${maxOctets} octets`)
  }
  const [line = ''] = Buffer.concat(chunks).toString('utf8').split('\n')
  return line.replace(/\r$/, '')
}

/** A new or an existing password. With `isNew` it is asked for twice. */
export async function readPasswordFrom(
  terminal: Terminal,
  options: { readonly stdin: boolean; readonly isNew: boolean },
): Promise<string> {
  if (options.stdin) return await passwordFromStdin(terminal)
  if (terminal.stdin.isTTY !== true) {
    throw new CommandFailure(
      exitCodes.usage,
      'password: stdin is no terminal (give the password with --stdin)',
    )
  }
  const password = await ask(terminal, 'Password: ')
  if (options.isNew && password !== '' && (await ask(terminal, 'Password again: ')) !== password) {
    throw new CommandFailure(exitCodes.badData, 'password: the two are not the same (try again)')
  }
  return password
}

function ask(terminal: Terminal, question: string): Promise<string> {
  const { stdin } = terminal
  terminal.print(question)
  stdin.setRawMode(true)
  stdin.setEncoding('utf8')
  stdin.resume()
  return new Promise((resolve, reject) => {
    let typed = ''
    const finish = (settle: () => void) => {
      stdin.off('data', take)
      stdin.setRawMode(false)
      stdin.pause()
      terminal.print('\n')
      settle()
    }
    const take = (text: string) => {
      for (const char of text) {
        if (char === '\r' || char === '\n' || char === '\x04') return finish(() => resolve(typed))
        if (char === '\x03') {
          return finish(() => reject(new CommandFailure(exitCodes.temporary, 'password: interrupted')))
        }
        if (char === '\x7f' || char === '\b') typed = Array.from(typed).slice(0, -1).join('')
        else if (char === '\x15') typed = ''
        else if (typed.length < maxOctets) typed += char
      }
    }
    stdin.on('data', take)
  })
}
