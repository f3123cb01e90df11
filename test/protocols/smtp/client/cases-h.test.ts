/** Acceptance cases of group H: content. No published id is left out. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { ClientSettings } from '../../../../src/protocols/smtp/client/config.ts'
import { type CaseRow, runCase } from './cases.ts'
import { type LogLine, recipients, type Setup } from './harness.ts'

const mail = (header: readonly string[], ...lines: readonly string[]): Buffer =>
  Buffer.from(`${[...header, '', ...lines].join('\r\n')}\r\n`, 'latin1')

interface Sent {
  /** Lines between the header and the final dot. */
  readonly body: readonly string[]
  readonly header: readonly string[]
  readonly commands: readonly string[]
  readonly log: readonly LogLine[]
}

/** What is on the wire for a content. */
async function send(bytes: Buffer, setup: Setup = {}, row: Partial<CaseRow> = {}): Promise<Sent> {
  const request = { body: '8BITMIME' as const, content: { bytes }, size: bytes.length, ...setup.request }
  const { sessions, log } = await runCase({
    id: '',
    title: '',
    outcome: ['sent'],
    ...row,
    setup: { ...setup, request },
  })
  const [{ commands, content }] = sessions as [(typeof sessions)[number]]
  const lines = (content[0] ?? '').split('\r\n').slice(0, -2)
  const blank = lines.indexOf('')
  return { header: lines.slice(0, blank), body: lines.slice(blank + 1), commands, log }
}

const with8 = { servers: [{ keywords: ['8BITMIME'] }] }
const x = (count: number): string => 'x'.repeat(count)

describe('lines', () => {
  it.each([
    ['H01 998 octets are one line', [x(998)], [x(998)]],
    ['H02 999 octets are two', [x(999)], [x(998), ' x']],
    ['H03 2000 octets are three', [x(2_000)], [x(998), ` ${x(997)}`, ` ${x(5)}`]],
    ['H05 dots are doubled at the beginning of a line', ['.', '..', '.a'], ['..', '...', '..a']],
    ['H06 but not where a line was broken', [`${x(998)}.y`], [x(998), ' .y']],
  ])('%s', async (_, lines, wire) => {
    const { body, log } = await send(mail(['Subject: x'], ...lines), {}, with8)
    expect(body).toEqual(wire)
    const folded = log.filter(({ event }) => event === 'delivery.lines-folded')
    expect(folded).toHaveLength(wire.length > lines.length ? 1 : 0)
  })

  it('H07 a line that has no end gets one', async () => {
    const { body } = await send(Buffer.from('Subject: x\r\n\r\nno end'), {}, with8)
    expect(body).toEqual(['no end'])
  })
})

const text8 = ['Content-Type: text/plain; charset=iso-8859-1', 'Content-Transfer-Encoding: 8bit']

describe('8 to 7 bits', () => {
  it('H08 H25 a text becomes quoted-printable, and checks see it as it was', async () => {
    const settings = { header_checks: ['regexp:/dev/null'], mime_header_checks: [] }
    for (const over of [{}, { settings }]) {
      const { header, body, commands } = await send(mail(text8, `caf\xe9 ${x(100)}`, 'a = b '), over)
      expect(header).toEqual([text8[0], 'Content-Transfer-Encoding: quoted-printable'])
      expect(body).toEqual([`caf=E9 ${x(66)}=`, x(34), 'a =3D b=20'])
      expect(commands[1]).toBe('MAIL FROM:<s@client.test>')
    }
  })

  it('H10 a part far behind in a large file says that the mail has eight bits', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'ma-content-'))
    const part = (encoding: string, ...lines: string[]) => [
      '--b',
      `Content-Transfer-Encoding: ${encoding}`,
      '',
      ...lines,
    ]
    const lines = [
      ...part('7bit', 'Content-Transfer-Encoding: 8bit', ...Array<string>(6_000).fill('x'.repeat(76))),
      ...part('8bit', 'caf\xe9'),
      '--b--',
    ]
    const octets = mail(['Content-Type: multipart/mixed; boundary=b'], ...lines)
    writeFileSync(join(directory, 'f'), octets)
    const request = { content: { file: 'f', size: octets.length }, body: '7BIT' as const }
    const setup = { request, environment: { contentDir: directory } }
    for (const server of [{ keywords: ['8BITMIME'] }, {}]) {
      const { sessions } = await runCase({
        id: 'H10',
        title: '',
        setup,
        servers: [server],
        outcome: ['sent'],
      })
      const takes8 = 'keywords' in server
      expect(sessions[0]!.commands[1]).toBe(`MAIL FROM:<s@client.test>${takes8 ? ' BODY=8BITMIME' : ''}`)
      expect(sessions[0]!.content[0]).toContain(
        takes8 ? '8bit\r\n\r\ncaf\xe9' : 'quoted-printable\r\n\r\ncaf=E9',
      )
    }
    // Without the part it is what its client said.
    writeFileSync(
      join(directory, 'f'),
      octets.toString('latin1').replace('8bit\r\n\r\ncaf', '7bit\r\n\r\ncaf'),
      'latin1',
    )
    const { sessions } = await runCase({
      id: 'H10',
      title: '',
      setup,
      servers: [{ keywords: ['8BITMIME'] }],
      outcome: ['sent'],
    })
    expect(sessions[0]!.commands[1]).toBe('MAIL FROM:<s@client.test> BODY=7BIT')
    rmSync(directory, { recursive: true })
  })

  it('H25 a check sees the original encoding', async () => {
    const { log } = await send(mail(text8, 'caf\xe9'), {
      settings: { body_checks: [{ 'caf=E9': 'WARN encoded' }], mime_header_checks: ['static:DUNNO'] },
    })
    // The body is checked as it goes out, its header before it is replaced is never seen at all.
    expect(log.filter(({ event }) => event === 'delivery.content-check')).toHaveLength(1)
  })

  it('H10 of a multipart only the part that needs it', async () => {
    const bytes = mail(
      ['Content-Type: multipart/mixed; boundary=b', 'Content-Transfer-Encoding: 8bit'],
      '--b',
      ...text8,
      '',
      'caf\xe9',
      '--b',
      'Content-Transfer-Encoding: base64',
      '',
      'AAAA=',
      '--b--',
    )
    const { header, body } = await send(bytes)
    expect(header).toEqual(['Content-Type: multipart/mixed; boundary=b', 'Content-Transfer-Encoding: 7bit'])
    expect(body).toEqual([
      '--b',
      text8[0],
      'Content-Transfer-Encoding: quoted-printable',
      '',
      'caf=E9',
      '--b',
      'Content-Transfer-Encoding: base64',
      '',
      'AAAA=',
      '--b--',
    ])
  })

  it('H11 not where it is turned off', async () => {
    const { body, header } = await send(mail(text8, 'caf\xe9'), {
      content: { disable_mime_output_conversion: true },
    })
    expect([header, body]).toEqual([text8, ['caf\xe9']])
  })

  // Postfix 3.7 itself returns mail from 103 multiparts on; this is where the case list draws the line.
  it('H12 nested too deep: hung up without a dot', async () => {
    const nested = Array.from({ length: 101 }, (_, n) => [
      ...(n === 0 ? [] : [`--b${n - 1}`]),
      `Content-Type: multipart/mixed; boundary=b${n}`,
      'Content-Transfer-Encoding: 8bit',
      '',
    ]).flat()
    const bytes = Buffer.from(`${nested.join('\r\n')}\r\nx\r\n`)
    const { commands } = await send(bytes, {}, { outcome: ['bounced 5.6.0'] })
    expect(commands).not.toContain('CONTENT')
    expect(commands).not.toContain('QUIT')
  })
})

const generic = (...entries: [string, string][]): Partial<ClientSettings> => ({
  generic_maps: [Object.fromEntries(entries)],
})

describe('generic maps', () => {
  const bytes = mail(
    [
      'From: S <s@client.test>',
      'To: s@client.test, o@x.test',
      'Reply-To: s@client.test',
      'X-Of: s@client.test',
      'Subject: s@client.test',
    ],
    's@client.test',
  )

  it('H13 envelope and address fields, nothing else', async () => {
    const { header, body, commands } = await send(
      bytes,
      { settings: generic(['s@client.test', 'p@pub.test']) },
      with8,
    )
    expect(commands[1]).toBe('MAIL FROM:<p@pub.test> BODY=8BITMIME')
    expect(header).toEqual([
      'From: S <p@pub.test>',
      'To: p@pub.test, o@x.test',
      'Reply-To: p@pub.test',
      'X-Of: s@client.test',
      'Subject: s@client.test',
    ])
    expect(body).toEqual(['s@client.test'])
  })

  it('H15 the null sender stays', async () => {
    const { commands } = await send(
      bytes,
      { settings: generic(['@client.test', '@pub.test']), request: { sender: '' } },
      with8,
    )
    expect(commands[1]).toBe('MAIL FROM:<> BODY=8BITMIME')
  })

  it('a map that cannot be asked: the mail waits', async () => {
    await send(
      bytes,
      { settings: { generic_maps: ['fail:x'] } },
      { outcome: ['deferred 4.3.0'], hop: '4.3.0' },
    )
  })
})

describe('checks', () => {
  const bytes = mail(['Received: here', 'Subject: a', 'X-A: 1', 'Content-Type: text/plain'], 'body')
  const actions = (log: readonly LogLine[]) =>
    log.filter(({ event }) => event === 'delivery.content-check').map(({ facts }) => facts.action)

  it('H16 fields are left out, replaced and put in front', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'ma-checks-'))
    const file = join(directory, 'checks')
    writeFileSync(file, '/^Received:/ IGNORE\n/^Subject:/ REPLACE Subject: z\n/^X-A:/ PREPEND X-B: 1\n')
    const { header, log } = await send(bytes, { settings: { header_checks: [`regexp:${file}`] } }, with8)
    expect(header).toEqual(['Subject: z', 'X-B: 1', 'X-A: 1', 'Content-Type: text/plain'])
    expect(actions(log)).toEqual(['replace', 'prepend'])
    rmSync(directory, { recursive: true })
  })

  it('H17 REJECT is not for mail that is sent', async () => {
    const { header, log } = await send(
      bytes,
      { settings: { header_checks: [{ 'Subject: a': 'REJECT no' }] } },
      with8,
    )
    expect(header).toContain('Subject: a')
    expect(log.map(({ event }) => event)).toContain('delivery.content-check-odd')
  })

  it('H18 a MIME field of the mail itself is judged by the MIME table', async () => {
    const wanted = { 'Content-Type: text/plain': 'REPLACE Content-Type: text/html' }
    const unwanted = { 'Content-Type: text/plain': 'REPLACE Content-Type: text/no' }
    const settings = { mime_header_checks: [wanted], header_checks: [unwanted] }
    expect((await send(bytes, { settings }, with8)).header.at(-1)).toBe('Content-Type: text/html')
  })

  it('H20 a table that fails half way: no dot', async () => {
    const { commands } = await send(
      bytes,
      { settings: { body_checks: ['fail:x'] } },
      { ...with8, outcome: ['deferred 4.3.0'], hop: '4.3.0' },
    )
    expect(commands).not.toContain('CONTENT')
    expect(commands).not.toContain('QUIT')
  })

  it('lines of the body', async () => {
    const { body } = await send(
      mail(['A: b'], 'one', 'two', 'three'),
      { settings: { body_checks: [{ one: 'IGNORE', two: 'REPLACE 2', three: 'PREPEND 2.5' }] } },
      with8,
    )
    expect(body).toEqual(['2', '2.5', 'three'])
  })
})

describe('addresses', () => {
  const odd = ['a b@d.test', 'a"b@d.test', '.a@d.test', 'a@b@d.test']

  it('H21 quoted where they need it', async () => {
    const setup = { request: { recipients: recipients(...odd) } }
    const { sessions } = await runCase({
      id: 'H21',
      title: '',
      setup,
      outcome: ['sent', 'sent', 'sent', 'sent'],
    })
    expect(sessions[0]!.commands.slice(2, 6)).toEqual([
      'RCPT TO:<"a b"@d.test>',
      'RCPT TO:<"a\\"b"@d.test>',
      'RCPT TO:<".a"@d.test>',
      'RCPT TO:<"a@b"@d.test>',
    ])
  })

  it('H22 not quoted on request', async () => {
    const setup = {
      settings: { quote_rfc821_envelope: false },
      request: { recipients: recipients('a b@d.test') },
    }
    await runCase({ id: 'H22', title: '', setup, outcome: ['sent'], commands: ['RCPT TO:<a b@d.test>'] })
  })
})

describe('a damaged queue', () => {
  it('H23 a file that ends too early: returned, hung up without a dot, and to be kept', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'ma-content-'))
    writeFileSync(join(directory, 'f'), 'Subject: x\r\n\r\nhalf')
    const setup = { request: { content: { file: 'f', size: 1_000 } }, environment: { contentDir: directory } }
    const { report, sessions } = await runCase({ id: 'H23', title: '', setup, outcome: ['bounced 5.3.0'] })
    expect(report.damaged).toBe(true)
    expect(sessions[0]!.commands.at(-1)).toBe('DATA')
    rmSync(directory, { recursive: true })
  })

  it('H23 a file with other octets than were queued: the same, when its checksum is known', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'ma-content-'))
    const octets = Buffer.alloc(300_000, 'Subject: x\r\n')
    const crc = crc32(octets)
    for (const flipped of [0, 150_000, octets.length - 1]) {
      const damaged = Buffer.from(octets)
      damaged[flipped]! ^= 0x40
      writeFileSync(join(directory, 'f'), damaged)
      const request = { content: { file: 'f', size: octets.length, crc } }
      const setup = { request, environment: { contentDir: directory } }
      const { report, sessions } = await runCase({ id: 'H23', title: '', setup, outcome: ['bounced 5.3.0'] })
      expect(report.damaged).toBe(true)
      expect(sessions[0]!.commands.at(-1)).toBe('DATA')
    }
    writeFileSync(join(directory, 'f'), octets)
    const request = { content: { file: 'f', size: octets.length, crc } }
    const setup = { request, environment: { contentDir: directory } }
    await runCase({ id: 'H23', title: '', setup, outcome: ['sent'] })
    rmSync(directory, { recursive: true })
  })
})
