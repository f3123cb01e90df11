import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { createMaildir } from '../../../../src/mailbox/deliver.ts'
import { SmtpClient } from '../../../support/clients.ts'
import { until } from '../../../support/until.ts'
import { bytesOf, codes, converse, serverConfig, TestServer } from './harness.ts'

const script = (...lines: string[]) => lines.map((line) => `${line}\r\n`).join('')

const remoteMail = script(
  'EHLO client.test',
  'MAIL FROM:<a@src.test>',
  'RCPT TO:<b@dest.test>',
  'DATA',
  'Subject: hello',
  '',
  '..dot',
  'body',
  '.',
  'QUIT',
)

describe('a mail for another host', () => {
  test('is on the queue before 250, content unstuffed behind a Received field', async () => {
    const server = await TestServer.start()
    const transcript = await server.exchange(remoteMail)
    expect(codes(transcript)).toEqual([220, 250, 250, 250, 354, 250, 221])
    const [mail] = server.queue.mails
    expect(transcript).toContain(`250 2.0.0 Ok: queued as ${mail!.queueId}\r\n`)
    expect(mail!.envelope).toEqual({ sender: 'a@src.test', recipients: [{ address: 'b@dest.test' }] })
    expect(mail!.client).toMatchObject({ address: '127.0.0.1', helo: 'client.test', protocol: 'ESMTP' })
    expect(bytesOf(mail!)).toMatch(
      /^Received: from client\.test \(localhost \[127\.0\.0\.1\]\)\r\n\tby mx\.test \(mailactors\) with ESMTP id [0-9A-Z]{18}\r\n\tfor <b@dest\.test>; [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000 \(UTC\)\r\nSubject: hello\r\n\r\n\.dot\r\nbody\r\n$/,
    )
    expect(server.events('mail.accepted')).toEqual([
      expect.objectContaining({
        queueId: mail!.queueId,
        from: 'a@src.test',
        recipients: ['b@dest.test'],
        octets: 30,
        client: '127.0.0.1',
        session: 's1',
      }),
    ])
  })

  test('keeps its DSN parameters', async () => {
    const server = await TestServer.start()
    await server.exchange(
      script(
        'EHLO c',
        'MAIL FROM:<a@src.test> RET=HDRS ENVID=QQ+2B314159 BODY=8BITMIME SMTPUTF8 SIZE=5',
        'RCPT TO:<b@dest.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+40x@dest.test',
        'RCPT TO:<c@dest.test> NOTIFY=NEVER',
        'DATA',
        '',
        'x',
        '.',
      ),
    )
    expect(server.queue.mails[0]!.envelope).toEqual({
      sender: 'a@src.test',
      envid: 'QQ+314159',
      ret: 'HDRS',
      body: '8BITMIME',
      smtputf8: true,
      recipients: [
        { address: 'b@dest.test', notify: ['SUCCESS', 'DELAY'], orcpt: 'rfc822;Bob+40x@dest.test' },
        { address: 'c@dest.test', notify: ['NEVER'] },
      ],
    })
    // Several recipients must not learn of each other, and the word says UTF-8.
    expect(bytesOf(server.queue.mails[0]!)).not.toContain('for <')
    expect(server.queue.mails[0]!.client.protocol).toBe('UTF8SMTP')
  })

  test('goes once to a recipient that is named twice', async () => {
    const server = await TestServer.start()
    await server.exchange(
      script('EHLO c', 'MAIL FROM:<>', 'RCPT TO:<b@d.test>', 'RCPT TO:<b@d.test>', 'DATA', '', '.'),
    )
    expect(server.queue.mails[0]!.envelope.recipients).toEqual([{ address: 'b@d.test' }])
  })

  test.each([
    {
      name: 'a temporary refusal',
      answer: () => ({ status: 'refused', temporary: true, dsn: '4.3.1', reason: 'disk' }) as const,
      reply: '452 4.3.1 ',
    },
    {
      name: 'a final refusal',
      answer: () => ({ status: 'refused', temporary: false, dsn: '5.3.4', reason: 'never' }) as const,
      reply: '554 5.3.4 ',
    },
    {
      name: 'a queue that dies over it',
      answer: () => {
        throw new Error('boom')
      },
      reply: '451 4.3.0 ',
    },
  ])('is not acknowledged after $name', async ({ answer, reply }) => {
    const server = await TestServer.start()
    server.queue.answer = answer
    const transcript = await server.exchange(remoteMail)
    expect(codes(transcript)).toEqual([220, 250, 250, 250, 354, Number(reply.slice(0, 3)), 221])
    expect(transcript).toContain(reply)
    expect(server.events('mail.accepted')).toEqual([])
  })

  test('gets 451 when there is no queue, and a large one leaves no file', async () => {
    const server = await TestServer.start({ withoutQueue: true })
    const transcript = await server.exchange(remoteMail.replace('body', 'x'.repeat(200_000)))
    expect(codes(transcript).at(-2)).toBe(451)
    expect(server.contentFiles()).toEqual([])
  })
})

describe('a mail for a local user', () => {
  test('is in the Maildir before 250, with Return-Path and Delivered-To in front', async () => {
    const server = await TestServer.start()
    const transcript = await server.exchange(
      script(
        'EHLO c',
        'MAIL FROM:<a@src.test>',
        'RCPT TO:<Ann@localhost>',
        'DATA',
        'Subject: x',
        '',
        'hi',
        '.',
      ),
    )
    expect(codes(transcript)).toEqual([220, 250, 250, 250, 354, 250])
    expect(server.maildrop('ann')).toEqual([
      expect.stringMatching(
        /^Return-Path: <a@src\.test>\nDelivered-To: Ann@localhost\nReceived: from c [\s\S]*\nSubject: x\n\nhi\n$/,
      ),
    ])
    expect(server.queue.mails).toEqual([])
    expect(server.events('delivery')).toEqual([
      expect.objectContaining({ to: 'Ann@localhost', relay: 'local', status: 'sent', dsn: '2.0.0' }),
    ])
  })

  test('is stored once for a user with two addresses, and the rest goes to the queue', async () => {
    const server = await TestServer.start()
    const transcript = await server.exchange(
      script(
        'EHLO c',
        'MAIL FROM:<a@src.test>',
        'RCPT TO:<ann@localhost>',
        'RCPT TO:<ann@mx.test>',
        'RCPT TO:<bob@[127.0.0.1]>',
        'RCPT TO:<c@dest.test>',
        'DATA',
        '',
        'hi',
        '.',
      ),
    )
    expect(codes(transcript).at(-1)).toBe(250)
    expect(server.maildrop('ann')).toHaveLength(1)
    expect(server.maildrop('bob')).toHaveLength(1)
    expect(server.queue.mails.map((mail) => mail.envelope.recipients)).toEqual([[{ address: 'c@dest.test' }]])
    expect(server.events('delivery')).toHaveLength(3)
  })

  /** A file where the Maildir should be. */
  function breakMaildir(server: TestServer, user: string): void {
    mkdirSync(join(server.dir, 'mail', user), { recursive: true })
    writeFileSync(join(server.dir, 'mail', user, 'Maildir'), '')
  }
  const toBoth = script(
    'EHLO c',
    'MAIL FROM:<>',
    'RCPT TO:<ann@localhost>',
    'RCPT TO:<bob@localhost>',
    'DATA',
    '',
    '.',
    'QUIT',
  )

  test('that cannot be stored for anyone is not acknowledged', async () => {
    const server = await TestServer.start()
    breakMaildir(server, 'ann')
    breakMaildir(server, 'bob')
    expect(codes(await server.exchange(toBoth)).slice(-2)).toEqual([451, 221])
    expect(server.queue.mails).toEqual([])
    expect(server.events('mail.accepted')).toEqual([])
    expect(server.events('delivery').map((line) => line.status)).toEqual(['deferred', 'deferred'])
  })

  test('that cannot be stored for one of two is kept for that one by the queue', async () => {
    const server = await TestServer.start()
    breakMaildir(server, 'ann')
    expect(codes(await server.exchange(toBoth)).slice(-2)).toEqual([250, 221])
    expect(server.maildrop('bob')).toHaveLength(1)
    expect(server.queue.mails.map((mail) => mail.envelope.recipients)).toEqual([
      [{ address: 'ann@localhost' }],
    ])
  })

  test('that neither the mailbox nor the queue takes is not acknowledged', async () => {
    const server = await TestServer.start()
    breakMaildir(server, 'ann')
    server.queue.answer = () => ({ status: 'refused', temporary: true, dsn: '4.3.1', reason: 'full' })
    expect(codes(await server.exchange(toBoth)).slice(-2)).toEqual([452, 221])
  })

  test('of a domain that is routed elsewhere goes to the queue, also from strangers', async () => {
    const server = await TestServer.start({
      transport: { localhost: 'lmtp:unix:/run/other.sock' },
      smtpd: { mynetworks: [] },
    })
    expect(codes(await server.exchange(toBoth)).slice(-2)).toEqual([250, 221])
    expect(server.queue.mails[0]!.envelope.recipients).toHaveLength(2)
  })

  test('gets 451 when its account cannot be looked up, and the session goes on', async () => {
    const server = await TestServer.start()
    const transcript = await server.exchange(
      script('HELO c', 'MAIL FROM:<>', 'RCPT TO:<trouble@localhost>', 'RCPT TO:<nobody@localhost>', 'QUIT'),
    )
    expect(codes(transcript)).toEqual([220, 250, 250, 451, 550, 221])
  })
})

describe('large content', () => {
  const body = `${'x'.repeat(70)}\r\n`.repeat(20_000)
  const large = `${script('EHLO c', 'MAIL FROM:<>', 'RCPT TO:<b@d.test>', 'DATA', 'Subject: big', '')}${body}.\r\n`

  test('goes to the queue as a file', async () => {
    const server = await TestServer.start()
    expect(codes(await server.exchange(large)).at(-1)).toBe(250)
    const { content, queueId } = server.queue.mails[0]!
    expect(server.contentFiles()).toEqual([queueId])
    const file = join(server.dir, 'queue', 'content', queueId)
    const stored = readFileSync(file, 'latin1')
    expect(content).toEqual({ file, size: stored.length, crc: crc32(Buffer.from(stored, 'latin1')) })
    expect(stored).toMatch(/^Received: from c /)
    expect(stored.endsWith(`\r\nSubject: big\r\n\r\n${body}`)).toBe(true)
  })

  test('for a local user leaves no file in the queue', async () => {
    const server = await TestServer.start()
    expect(codes(await server.exchange(large.replace('b@d.test', 'ann@localhost'))).at(-1)).toBe(250)
    expect(server.maildrop('ann')[0]).toContain(body.replaceAll('\r\n', '\n'))
    expect(server.contentFiles()).toEqual([])
  })

  test('of a client that vanishes leaves nothing', async () => {
    const server = await TestServer.start()
    const socket = server.connect()
    socket.write(large.slice(0, 500_000))
    await until('a content file', () => server.contentFiles().length === 1)
    socket.destroy()
    await server.sessionsEnded()
    await until('no content file', () => server.contentFiles().length === 0)
    expect(server.queue.mails).toEqual([])
  })

  test('over message_size_limit is read to its end and refused', async () => {
    const server = await TestServer.start({ smtpd: { message_size_limit: 200_000 } })
    const transcript = await server.exchange(`${large}NOOP\r\nMAIL FROM:<> SIZE=200001\r\nQUIT\r\n`)
    expect(codes(transcript)).toEqual([220, 250, 250, 250, 354, 552, 250, 552, 221])
    expect(transcript).toContain('552 5.3.4 ')
    await until('no content file', () => server.contentFiles().length === 0)
  })

  test('is refused with 452 when it cannot be written, and the session goes on', async () => {
    const server = await TestServer.start()
    // The folder's name is taken by a file: every write fails.
    writeFileSync(join(server.dir, 'queue', 'content'), '')
    expect(codes(await server.exchange(`${large}NOOP\r\nQUIT\r\n`))).toEqual([
      220, 250, 250, 250, 354, 451, 250, 221,
    ])
  })

  test('is not kept when the queue refuses it', async () => {
    const server = await TestServer.start()
    server.queue.answer = () => ({ status: 'refused', temporary: true, dsn: '4.3.1', reason: '' })
    expect(codes(await server.exchange(large)).at(-1)).toBe(452)
    expect(server.contentFiles()).toEqual([])
  })
})

describe('loops and missing fields', () => {
  test('a mail with more Received fields than hopcount_limit is refused', async () => {
    const server = await TestServer.start()
    const send = (hops: number) =>
      server.exchange(
        `${script('EHLO c', 'MAIL FROM:<>', 'RCPT TO:<b@d.test>', 'DATA')}${'Received: x\r\n'.repeat(hops)}\r\n.\r\n`,
      )
    // With ours it has 49; Postfix counts that way, too.
    expect(codes(await send(48)).at(-1)).toBe(250)
    const refused = await send(49)
    expect(refused).toContain('554 5.4.0 ')
    expect(server.queue.mails).toHaveLength(1)
  })

  test('only submission adds what is missing', async () => {
    const lines = script('EHLO c', 'MAIL FROM:<a@src.test>', 'RCPT TO:<b@d.test>', 'DATA', 'To: b', '', '.')
    const smtp = await TestServer.start()
    await smtp.exchange(lines)
    expect(bytesOf(smtp.queue.mails[0]!)).toMatch(/\(UTC\)\r\nTo: b\r\n\r\n$/)
    const submission = await TestServer.start({ service: 'submission' })
    const login = script('EHLO c', `AUTH PLAIN ${Buffer.from('\0ann\0secret').toString('base64')}`)
    await submission.exchange(login + lines)
    expect(bytesOf(submission.queue.mails[0]!)).toMatch(
      /with ESMTPA id [\s\S]*\(UTC\)\r\nTo: b\r\nMessage-Id: <\d{14}\.[0-9A-Z]{18}@mx\.test>\r\nDate: [^\r]+\r\nFrom: a@src\.test\r\n\r\n$/,
    )
  })

  test('a body without a header stays a body', async () => {
    const server = await TestServer.start()
    await server.exchange(script('EHLO c', 'MAIL FROM:<>', 'RCPT TO:<b@d.test>', 'DATA', 'just text', '.'))
    expect(bytesOf(server.queue.mails[0]!)).toMatch(/\(UTC\)\r\n\r\njust text\r\n$/)
  })
})

describe('smuggling', () => {
  const ends = ['\n.\n', '\n.\r\n', '\r.\r', '\r.\r\n', '\r\n.\n', '\r\n.\r', '\r\n\0.\r\n', '\n\n.\r\r\n']
  const inner = 'MAIL FROM:<evil@x>\r\nRCPT TO:<victim@d.test>\r\nDATA\r\nevil\r\n.\r\n'

  test.each(ends.map((end) => ({ end, name: JSON.stringify(end) })))(
    '$name does not end the content',
    async ({ end }) => {
      const server = await TestServer.start()
      const transcript = await server.exchange(
        `${script('EHLO c', 'MAIL FROM:<>', 'RCPT TO:<b@d.test>', 'DATA')}Subject: x\r\n\r\na${end}${inner}QUIT\r\n`,
      )
      expect(codes(transcript)).toEqual([220, 250, 250, 250, 354, 250, 221])
      expect(server.queue.mails).toHaveLength(1)
      const content = bytesOf(server.queue.mails[0]!)
      expect(content).toContain('MAIL FROM:<evil@x>\r\n')
      // And nobody further on can take it for one either.
      expect(content).not.toMatch(/\r(?!\n)|(?<!\r)\n/)
    },
  )

  // A CR alone became a space, and is no reason to refuse: Postfix takes such mail as well.
  const bareNewlines = ends.filter((end) => /(?<!\r)\n/.test(end))
  test.each(bareNewlines.map((end) => ({ end, name: JSON.stringify(end) })))(
    '$name from a client that is not on this machine is refused',
    async ({ end }) => {
      const server = await TestServer.start({ smtpd: { forbid_bare_newline_exclusions: [] } })
      const transcript = await server.exchange(
        `${script('EHLO c', 'MAIL FROM:<>', 'RCPT TO:<b@d.test>', 'DATA')}Subject: x\r\n\r\na${end}${inner}QUIT\r\n`,
      )
      expect(codes(transcript)).toEqual([220, 250, 250, 250, 354, 550, 221])
      expect(server.queue.mails).toEqual([])
    },
  )
})

test('a reload counts for the next session', async () => {
  const server = await TestServer.start()
  const relay = script('EHLO c', 'MAIL FROM:<>', 'RCPT TO:<x@d.test>', 'QUIT')
  expect(codes(await server.exchange(relay))).toEqual([220, 250, 250, 250, 221])
  await server.system.configure({ config: serverConfig(server.dir, { smtpd: { mynetworks: [] } }) })
  expect(codes(await server.exchange(relay))).toEqual([220, 250, 250, 554, 221])
})

describe('LMTP', () => {
  test.each([
    { lmtp: {}, to: ['ann'], fields: ['Return-Path', 'Delivered-To: ann@localhost', 'Received'] },
    { lmtp: {}, to: ['ann', 'bob'], fields: ['Return-Path', 'Received'] },
    {
      lmtp: { hdr_delivery_address: 'original' as const },
      to: ['ann@localhost> ORCPT=rfc822;Ann+2Bx@old.test'],
      fields: ['Return-Path', 'Delivered-To: Ann+x@old.test', 'Received'],
    },
    { lmtp: { hdr_delivery_address: 'none' as const }, to: ['ann'], fields: ['Return-Path', 'Received'] },
    { lmtp: { add_received_header: false }, to: ['ann', 'bob'], fields: ['Return-Path'] },
  ])('S70 D3 $lmtp: mail for $to gets $fields', async ({ lmtp, to, fields }) => {
    const server = await TestServer.start({ service: 'lmtp', unix: true, lmtp })
    const rcpt = to.map((one) => (one.includes('>') ? `RCPT TO:<${one}` : `RCPT TO:<${one}@localhost>`))
    await server.exchange(
      script('LHLO c', 'MAIL FROM:<a@b.test>', ...rcpt, 'DATA', 'Subject: x', '', 'x', '.', 'QUIT'),
    )
    const header = server.maildrop('ann')[0]!.split('\nSubject')[0]!
    const found = header.split('\n').filter((line) => !line.startsWith('\t'))
    expect(found.map((line) => (line.startsWith('Delivered-To') ? line : line.split(':')[0]))).toEqual(fields)
  })

  test('S70 lmtp.rcpt_check_quota: who has no room is refused at RCPT, others get the mail', async () => {
    const mail = script('LHLO c', 'MAIL FROM:<>', 'RCPT TO:<ann>', 'RCPT TO:<bob>', 'DATA', 'x', '.', 'QUIT')
    const quota = { storage_size: 10 }
    for (const rcpt_check_quota of [false, true]) {
      const server = await TestServer.start({
        service: 'lmtp',
        unix: true,
        quota,
        lmtp: { rcpt_check_quota },
      })
      const maildir = join(server.dir, 'mail', 'ann', 'Maildir')
      createMaildir(maildir)
      writeFileSync(join(maildir, 'cur', '1.x:2,'), '0123456789')
      const early = codes(await server.exchange(mail)).slice(2)
      expect(early).toEqual(
        rcpt_check_quota ? [250, 552, 250, 354, 250, 221] : [250, 250, 250, 354, 552, 250, 221],
      )
    }
  })

  test('D6 S63 mail for several is one file where it can be, and each has it', async () => {
    const inodes = (server: TestServer) =>
      ['ann', 'bob', 'cid'].map((user) => {
        const folder = join(server.dir, 'mail', user, 'Maildir', 'new')
        return readdirSync(folder).map((name) => statSync(join(folder, name)).ino)
      })
    const mail = ['ann', 'bob', 'cid', 'ann'].map((user) => `RCPT TO:<${user}>`)
    const text = script('LHLO c', 'MAIL FROM:<>', ...mail, 'DATA', 'x: y', '', '.', 'QUIT')
    for (const copy_with_hardlinks of [true, false]) {
      const server = await TestServer.start({
        service: 'lmtp',
        unix: true,
        users: ['ann', 'bob', 'cid'],
        maildir: { copy_with_hardlinks },
      })
      for (const user of ['bob', 'cid']) createMaildir(join(server.dir, 'mail', user, 'Maildir'))
      expect(codes(await server.exchange(text)).slice(-5)).toEqual([250, 250, 250, 250, 221])
      const found = inodes(server)
      expect(found.map((one) => one.length)).toEqual([1, 1, 1])
      expect(new Set(found.flat()).size).toBe(copy_with_hardlinks ? 1 : 3)
      expect(server.maildrop('cid')).toEqual(server.maildrop('ann'))
      expect(server.events('delivery')).toHaveLength(4)
    }
  })

  test('S69 lmtp.user_concurrency_limit: from RCPT to the end of the mail', async () => {
    const server = await TestServer.start({
      service: 'lmtp',
      unix: true,
      lmtp: { user_concurrency_limit: 2 },
    })
    const client = async () => {
      const one = await SmtpClient.connect(server.path)
      await one.expect(250, 'LHLO c')
      await one.expect(250, 'MAIL FROM:<a@b.test>')
      return one
    }
    const [a, b, c] = [await client(), await client(), await client()]
    await a.expect(250, 'RCPT TO:<ann>')
    await b.expect(250, 'RCPT TO:<ann@localhost>')
    await b.expect(250, 'RCPT TO:<bob>')
    expect(await c.command('RCPT TO:<ann>')).toMatchObject({
      code: 451,
      lines: [expect.stringMatching(/^4\.3\.0 /)],
    })
    await c.expect(250, 'RCPT TO:<bob>')
    await c.expect(451, 'RCPT TO:<bob>')
    await a.expect(354, 'DATA')
    await c.expect(451, 'RCPT TO:<ann>')
    a.write('x: y\r\n.\r\n')
    expect((await a.reply()).code).toBe(250)
    await c.expect(250, 'RCPT TO:<ann>')
    await a.expect(250, 'MAIL FROM:<a@b.test>')
    await a.expect(451, 'RCPT TO:<ann>')
    await c.expect(250, 'RSET')
    await a.expect(250, 'RCPT TO:<ann>')
    // Gone without a word.
    b.close()
    await until('the session of the other has ended', async () => {
      return (await a.command('RCPT TO:<ann>')).code === 250
    })
    for (const one of [a, c]) one.close()
  })

  test('answers for each recipient after the content', async () => {
    const server = await TestServer.start({ service: 'lmtp', unix: true })
    mkdirSync(join(server.dir, 'mail', 'bob'), { recursive: true })
    writeFileSync(join(server.dir, 'mail', 'bob', 'Maildir'), '')
    const transcript = await server.exchange(
      script(
        'EHLO c',
        'LHLO c',
        'MAIL FROM:<a@b.test>',
        'RCPT TO:<ann@anywhere.test>',
        'RCPT TO:<nobody>',
        'RCPT TO:<bob>',
        'RCPT TO:<ann>',
        'DATA',
        '',
        'x',
        '.',
        'MAIL FROM:<>',
        'DATA',
        'QUIT',
      ),
    )
    expect(transcript).toMatch(/^220 mx\.test LMTP mailactors\r\n500 5\.5\.1 /)
    expect(codes(transcript).slice(2)).toEqual([
      250, 250, 250, 550, 250, 250, 354, 250, 451, 250, 250, 503, 221,
    ])
    expect(server.maildrop('ann')).toHaveLength(1)
    expect(server.maildrop('ann')[0]).toContain('with LMTP id ')
  })
})

describe('logging in', () => {
  const plain = (user: string, password: string) => Buffer.from(`\0${user}\0${password}`).toString('base64')

  test('lets a stranger send anywhere', async () => {
    const server = await TestServer.start({ smtpd: { mynetworks: [] } })
    const transcript = await server.exchange(
      script(
        'EHLO c',
        'MAIL FROM:<a@b.test>',
        'RCPT TO:<x@d.test>',
        'RSET',
        `AUTH PLAIN ${plain('ann', 'wrong')}`,
        `AUTH PLAIN ${plain('ann', 'secret')}`,
        'AUTH PLAIN',
        'MAIL FROM:<a@b.test>',
        'RCPT TO:<x@d.test>',
        'DATA',
        '',
        '.',
      ),
    )
    expect(codes(transcript)).toEqual([220, 250, 250, 554, 250, 535, 235, 503, 250, 250, 354, 250])
    expect(server.queue.mails[0]!.client).toMatchObject({ protocol: 'ESMTPA', user: 'ann' })
    expect(JSON.stringify(server.log)).not.toContain('secret')
  })

  test('works with LOGIN and can be given up', async () => {
    const server = await TestServer.start()
    const base64 = (text: string) => Buffer.from(text).toString('base64')
    const transcript = await server.exchange(
      script(
        'EHLO c',
        'AUTH LOGIN',
        base64('ann'),
        '*',
        'AUTH PLAIN',
        '*',
        'AUTH DIGEST-MD5',
        'AUTH LOGIN',
        '!!!',
        'AUTH LOGIN',
        base64('ann'),
        base64('secret'),
        'QUIT',
      ),
    )
    expect(codes(transcript)).toEqual([220, 250, 334, 334, 501, 334, 501, 504, 334, 501, 334, 334, 235, 221])
  })

  test('is required by submission', async () => {
    const server = await TestServer.start({ service: 'submission' })
    expect(codes(await server.exchange(script('EHLO c', 'MAIL FROM:<a@b.test>')))).toEqual([220, 250, 530])
  })
})

describe('the end of a session', () => {
  test('a stop says 421 to idle clients', async () => {
    const server = await TestServer.start()
    const socket = server.connect()
    let received = ''
    socket.setEncoding('latin1').on('data', (text: string) => {
      received += text
    })
    await until('the greeting', () => received.includes('220 '))
    const closed = new Promise((resolve) => socket.on('close', resolve))
    await server.system.stop()
    await closed
    expect(received).toMatch(/^220 [^\r]*\r\n421 4\.3\.2 [^\r]*\r\n$/)
  })

  test('a mail that is being stored is answered before the stop', async () => {
    const server = await TestServer.start()
    let let250: () => void = () => {}
    const committed = new Promise<void>((resolve) => {
      let250 = resolve
    })
    let hasAsked = false
    server.queue.answer = async () => {
      hasAsked = true
      await committed
      return { status: 'queued' }
    }
    const transcript = converse(server.connect(), [Buffer.from(remoteMail.replace('QUIT\r\n', ''))])
    await until('the mail at the queue', () => hasAsked)
    const stopped = server.system.stop()
    let250()
    expect(codes(await transcript).slice(5, 6)).toEqual([250])
    await stopped
  })

  test('an idle client is sent away, also when it trickles octets', async () => {
    const server = await TestServer.start({ smtpd: { timeout: 200 } })
    const socket = server.connect()
    const trickle = setInterval(() => socket.writable && socket.write('N'), 20)
    const transcript = await converseOpen(socket)
    clearInterval(trickle)
    expect(transcript).toMatch(/^220 [^\r]*\r\n421 4\.4\.2 [^\r]*\r\n$/)
    expect(server.events('smtpd.disconnect')).toEqual([expect.objectContaining({ reason: 'timeout' })])
  })

  test('too many errors end it, and its last words arrive', async () => {
    const server = await TestServer.start({ smtpd: { error_sleep_time: 0 } })
    const transcript = await server.exchange('BOGUS\r\n'.repeat(100))
    expect(codes(transcript)).toEqual([220, ...Array<number>(20).fill(500), 421])
  })

  test('errors over the soft limit are answered late', async () => {
    const server = await TestServer.start({
      smtpd: { error_sleep_time: 1, soft_error_limit: 2, hard_error_limit: 5 },
    })
    expect(codes(await server.exchange('BOGUS\r\n'.repeat(100)))).toEqual([220, 500, 500, 500, 500, 500, 421])
  })

  test.each(['GET / HTTP/1.1', 'CONNECT x:25 HTTP/1.0', '\x16\x03\x01\x02'])(
    '%j is sent away',
    async (line) => {
      const server = await TestServer.start()
      expect(codes(await server.exchange(`${line}\r\nMAIL FROM:<>\r\n`))).toEqual([220, 221])
    },
  )

  test('a line without end is cut off', async () => {
    const server = await TestServer.start()
    const transcript = await server.exchange('x'.repeat(300_000))
    expect(codes(transcript)).toEqual([220, 500, 421])
  })
})

function converseOpen(socket: ReturnType<TestServer['connect']>): Promise<string> {
  return new Promise((resolve) => {
    let received = ''
    socket.setEncoding('latin1').on('data', (text: string) => {
      received += text
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(received))
  })
}

test('ETRN makes the mail of a domain due, page by page', async () => {
  const server = await TestServer.start({ fastFlush: ['D.test'] })
  expect(
    codes(await server.exchange(script('EHLO c', 'ETRN d.TEST', 'ETRN e.test', 'ETRN x.d.test', 'QUIT'))),
  ).toEqual([220, 250, 250, 459, 250, 221])
  const wanted = ['@d.test', '@x.d.test'].flatMap((domain) => [`flush ${domain} `, `flush ${domain} Q2`])
  await until('the second pages', () => server.queue.flushed.length === 4)
  expect([...server.queue.flushed].sort()).toEqual(wanted)
})

test('ETRN without a queue is refused for now', async () => {
  const server = await TestServer.start({ fastFlush: ['d.test'], withoutQueue: true })
  expect(codes(await server.exchange(script('EHLO c', 'ETRN d.test', 'QUIT')))).toEqual([220, 250, 458, 221])
})

test('who is connected when the service stops is told so', async () => {
  const server = await TestServer.start()
  const socket = server.connect()
  let received = ''
  socket.on('data', (octets: Buffer) => {
    received += octets.toString()
  })
  await until('the greeting', () => received.includes('220 '))
  await server.system.stop()
  await until('the goodbye', () => received.includes('421 4.3.2 mx.test'))
  socket.destroy()
})

test('Received names TLS and the user only when told to', async () => {
  const server = await TestServer.start({ smtpd: { sasl_authenticated_header: true } })
  const login = `AUTH PLAIN ${Buffer.from('\0ann\0secret').toString('base64')}`
  await server.exchange(script('EHLO c', login, 'MAIL FROM:<>', 'RCPT TO:<b@d.test>', 'DATA', 'A: b', '.'))
  expect(bytesOf(server.queue.mails[0]!)).toMatch(
    /^Received: from c \([^\r]*\)\r\n\t\(Authenticated sender: ann\)\r\n\tby mx/,
  )
})
