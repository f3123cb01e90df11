/** TLS reports, RFC 8460: what is counted, the report, the mail, where it goes. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { dkimRecord, readDkimKey, signMail } from '../../../../../src/protocols/smtp/client/tls/rpt/dkim.ts'
import { type ReportEvent, Tally } from '../../../../../src/protocols/smtp/client/tls/rpt/events.ts'
import {
  buildReport,
  mailtoAddress,
  type ReportFacts,
  reportAddresses,
  reportMail,
} from '../../../../../src/protocols/smtp/client/tls/rpt/report.ts'
import { StateDatabase } from '../../../../../src/protocols/smtp/client/tls/state-database.ts'
import { verifyDkim } from '../../../../support/dkim.ts'
import { tempDir } from '../../../../support/fixtures.ts'

const sts = {
  type: 'sts',
  lines: ['version: STSv1', 'mode: testing', 'mx: *.d.test', 'max_age: 1'],
  domain: 'd.test',
  mx: ['*.d.test'],
} as const
const good: ReportEvent = { domain: 'd.test', policy: sts }
const bad: ReportEvent = {
  domain: 'd.test',
  policy: sts,
  failure: {
    type: 'certificate-expired',
    sendingIp: '192.0.2.1',
    mx: 'm1.d.test',
    receivingIp: '198.51.100.1',
    reason: 'the certificate has expired',
  },
}
const none: ReportEvent = {
  domain: 'd.test',
  policy: { type: 'no-policy-found', lines: [], domain: 'd.test', mx: [] },
}

const facts: ReportFacts = {
  domain: 'd.test',
  day: '2026-11-27',
  events: [
    { ...good, count: 5 },
    { ...bad, count: 2 },
    { ...none, count: 1 },
  ],
  hostname: 'client.test',
  contact: 'postmaster@client.test',
}

describe('the report', () => {
  it('is what RFC 8460 section 4.4 describes', () => {
    const { id, json } = buildReport(facts)
    expect(json).toEqual({
      'organization-name': 'client.test',
      'date-range': { 'start-datetime': '2026-11-27T00:00:00Z', 'end-datetime': '2026-11-27T23:59:59Z' },
      'contact-info': 'postmaster@client.test',
      'report-id': id,
      policies: [
        {
          policy: {
            'policy-type': 'sts',
            'policy-string': sts.lines,
            'policy-domain': 'd.test',
            'mx-host': ['*.d.test'],
          },
          summary: { 'total-successful-session-count': 5, 'total-failure-session-count': 2 },
          'failure-details': [
            {
              'result-type': 'certificate-expired',
              'sending-mta-ip': '192.0.2.1',
              'receiving-mx-hostname': 'm1.d.test',
              'receiving-ip': '198.51.100.1',
              'failed-session-count': 2,
              'additional-information': 'the certificate has expired',
            },
          ],
        },
        {
          policy: { 'policy-type': 'no-policy-found', 'policy-domain': 'd.test' },
          summary: { 'total-successful-session-count': 1, 'total-failure-session-count': 0 },
        },
      ],
    })
  })

  it('goes into a mail as section 5.3 describes', () => {
    const report = buildReport(facts)
    const now = Date.UTC(2026, 10, 28, 1)
    const mail = reportMail(report, facts, { to: 'tls@d.test', queueId: 'Q1', now }).toString()
    const [head = '', ...rest] = mail.split('\r\n\r\n')
    const unfolded = head.replaceAll(/\r\n\s+/g, ' ')
    expect(unfolded).toContain(
      `Subject: Report Domain: d.test Submitter: client.test Report-ID: <${report.id}>`,
    )
    expect(unfolded).toContain('TLS-Report-Domain: d.test')
    expect(unfolded).toContain('TLS-Report-Submitter: client.test')
    expect(unfolded).toContain('TLS-Required: No')
    expect(unfolded).toMatch(/Content-Type: multipart\/report; report-type="tlsrpt"; boundary="[^"]+"/)
    expect(mail).toContain('Content-Type: application/tlsrpt+gzip')
    expect(mail).toMatch(/filename="client\.test!d\.test!\d+!\d+!001\.json\.gz"/)
    const base64 = rest.find((part) => /^H4sI/.test(part))!.split('\r\n--')[0]!
    expect(base64.split('\r\n').every((line) => line.length <= 76)).toBe(true)
    expect(JSON.parse(gunzipSync(Buffer.from(base64, 'base64')).toString())).toEqual(report.json)
    expect(mail.split('\r\n').every((line) => line.length <= 998)).toBe(true)
  })
})

describe('signatures', () => {
  const keyFile = (pem: string): string => {
    const file = join(tempDir(), 'key.pem')
    writeFileSync(file, pem)
    return file
  }
  const pem = (key: KeyObject): string => key.export({ format: 'pem', type: 'pkcs8' }).toString()

  it('cover the report and its fields, and the record in the DNS has the key', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
    const key = { domain: 'client.test', selector: 's1', key: readDkimKey(keyFile(pem(privateKey))) }
    const report = buildReport(facts)
    const mail = reportMail(report, facts, { to: 'tls@d.test', queueId: 'Q1', now: 0 })
    const signed = (await signMail(mail, key)).toString('latin1')
    expect(signed.endsWith(mail.toString('latin1'))).toBe(true)
    const { name, text } = dkimRecord(key)
    expect(name).toBe('s1._domainkey.client.test')
    expect(text).toContain('s=tlsrpt;')
    const signature = verifyDkim(signed, text)
    expect(signature).toMatchObject({ domain: 'client.test', selector: 's1' })
    expect(signature.fields).toEqual(
      expect.arrayContaining(['from', 'to', 'subject', 'tls-report-domain', 'tls-report-submitter']),
    )
    expect(() => verifyDkim(signed.replace('H4sI', 'H4sJ'), text)).toThrow('the body')
    expect(() => verifyDkim(signed.replace('TLS-Report-Domain: d', 'TLS-Report-Domain: e'), text)).toThrow(
      'the fields',
    )
  })

  it('need a key that is one', () => {
    const elliptic = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    expect(() => readDkimKey(keyFile(pem(elliptic)))).toThrow(
      /key\.pem: the key is ec; DKIM needs one of RSA/,
    )
    const short = generateKeyPairSync('rsa', { modulusLength: 512 }).privateKey
    expect(() => readDkimKey(keyFile(pem(short)))).toThrow('the key has 512 bits')
    expect(() => readDkimKey(keyFile('nothing'))).toThrow(/key\.pem: no private key can be read/)
    expect(() => readDkimKey('/nowhere/key.pem')).toThrow('/nowhere/key.pem: ')
  })
})

describe('where reports go', () => {
  it.each([
    [['v=TLSRPTv1; rua=mailto:tls@d.test'], ['mailto:tls@d.test']],
    [['v=TLSRPTv1;rua=mailto:a@d.test,https://r.test/x'], ['mailto:a@d.test', 'https://r.test/x']],
    [['v=TLSRPTv1; rua=ftp://r.test,mailto:a@d.test;'], ['mailto:a@d.test']],
    [['v=spf1', 'v=TLSRPTv1; rua=mailto:a@d.test'], ['mailto:a@d.test']],
    [['v=TLSRPTv1; rua=mailto:a@d.test', 'v=TLSRPTv1; rua=mailto:b@d.test'], []],
    [['v=TLSRPTv1'], []],
    [['v=TLSRPTv1; rua='], []],
    [['v=TLSRPTv1; rua=mailto:a@d.test%0d%0aBcc:x@y.test'], []],
    [['v=TLSRPTv1; rua=mailto:%zz@d.test'], []],
    [['v=TLSRPTv1; rua=http://r.test/'], []],
    [['v=TLSRPTv1; rua=https://user:secret@r.test/'], []],
    [['v=TLSRPTv1; rua=https://'], []],
    [['v=TLSRPTv1; rua=file:///etc/passwd,HTTPS://r.test/y'], ['HTTPS://r.test/y']],
  ])('%j: %j', (texts, wanted) => {
    expect(reportAddresses(texts)).toEqual(wanted)
  })

  it('addresses are decoded', () => {
    expect(mailtoAddress('mailto:a%2Bb@d.test')).toBe('a+b@d.test')
    expect(mailtoAddress('https://r.test/')).toBeUndefined()
  })
})

describe('counts', () => {
  it('of equal events are added, also over restarts', () => {
    const tally = new Tally()
    for (const event of [good, bad, good, good]) tally.add('2026-11-27', event)
    const dir = tempDir()
    const first = new StateDatabase(dir)
    const counts = tally.take()
    first.count(counts)
    first.count(counts)
    first.close()
    expect(tally.isEmpty).toBe(true)
    const second = new StateDatabase(dir)
    expect(second.reports()).toEqual([{ day: '2026-11-27', domain: 'd.test' }])
    const events = second.events({ day: '2026-11-27', domain: 'd.test' })
    expect(events.map(({ failure, count }) => [failure?.type, count])).toEqual(
      expect.arrayContaining([
        [undefined, 6],
        ['certificate-expired', 2],
      ]),
    )
    second.dropReport({ day: '2026-11-27', domain: 'd.test' })
    expect(second.reports()).toEqual([])
    second.close()
  })

  it('are bounded, whatever a hostile server makes different each time', () => {
    const tally = new Tally()
    for (let i = 0; i < 60_000; i++) {
      tally.add('2026-11-27', { ...bad, failure: { ...bad.failure!, reason: `no ${i}` } })
    }
    const counts = tally.take()
    expect(counts.length).toBeLessThanOrEqual(20_001)
    expect(counts.reduce((sum, { count }) => sum + count, 0)).toBe(60_000)
  })

  it('a file that is no database is set aside', () => {
    const dir = tempDir()
    writeFileSync(join(dir, 'tls.db'), 'this is no database, and never was one. '.repeat(100))
    const database = new StateDatabase(dir)
    expect(database.reports()).toEqual([])
    database.close()
    expect(existsSync(join(dir, 'tls.db.damaged'))).toBe(true)
  })
})
