/** The header that load balancers put in front of a connection. */
import { describe, expect, test } from 'vitest'
import { parseProxyHeader } from '../../src/protocols/proxy-header.ts'
import { Random } from '../../src/testing/random.ts'
import { chosenSeed } from '../support/seed.ts'

const line = (text: string) => parseProxyHeader(Buffer.from(text, 'latin1'))

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

function binary(command: number, family: number, body: Buffer): Buffer {
  const head = Buffer.from([command, family, body.length >> 8, body.length & 255])
  return Buffer.concat([signature, head, body])
}

function tlv(type: number, value: Buffer | string): Buffer {
  const octets = Buffer.from(value)
  return Buffer.concat([Buffer.from([type, octets.length >> 8, octets.length & 255]), octets])
}

/** 192.0.2.1:1000 to 198.51.100.2:110. */
const ipv4 = Buffer.from('c0000201c633640203e8006e', 'hex')

describe('version 1', () => {
  test.each([
    ['TCP4 9.9.9.9 8.8.8.8 1000 110', '9.9.9.9', 1000, '8.8.8.8', 110],
    ['TCP6 2001:db8::1 ::1 65535 995', '2001:db8::1', 65_535, '::1', 995],
  ])('%s', (words, from, fromPort, to, toPort) => {
    const text = `PROXY ${words}\r\n`
    expect(line(`${text}USER x\r\n`)).toEqual({
      kind: 'header',
      length: text.length,
      header: { source: { address: from, port: fromPort }, destination: { address: to, port: toPort } },
    })
    for (let length = 0; length < text.length; length++) {
      expect(line(text.slice(0, length)).kind, `${length} octets`).toBe('more')
    }
  })

  test('UNKNOWN says nothing, whatever follows', () => {
    expect(line('PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n')).toMatchObject({ kind: 'header', header: {} })
    expect(line('PROXY UNKNOWN\r\n')).toMatchObject({ kind: 'header', header: {}, length: 15 })
  })

  test.each([
    'PROXY TCP4 300.1.1.1 8.8.8.8 1 2\r\n',
    'PROXY TCP4 ::1 8.8.8.8 1 2\r\n',
    'PROXY TCP6 1.1.1.1 ::1 1 2\r\n',
    'PROXY TCP4 1.1.1.1 8.8.8.8 1 65536\r\n',
    'PROXY TCP4 1.1.1.1 8.8.8.8 1 -2\r\n',
    'PROXY TCP4 1.1.1.1 8.8.8.8 1\r\n',
    'PROXY TCP4 1.1.1.1  8.8.8.8 1 2\r\n',
    'PROXY TCP4 1.1.1.1 8.8.8.8 1 2 3\r\n',
    'PROXY UDP4 1.1.1.1 8.8.8.8 1 2\r\n',
    'proxy TCP4 1.1.1.1 8.8.8.8 1 2\r\n',
    'USER x\r\n',
    '\r\nUSER x\r\n',
    `PROXY UNKNOWN ${'x'.repeat(200)}\r\n`,
    `PROXY TCP4 ${'1'.repeat(98)}`,
  ])('%j is none', (text) => {
    expect(line(text).kind).toBe('malformed')
  })
})

describe('version 2', () => {
  test('names both ends, in whatever pieces it comes', () => {
    const octets = binary(0x21, 0x11, ipv4)
    expect(parseProxyHeader(Buffer.concat([octets, Buffer.from('CAPA\r\n')]))).toEqual({
      kind: 'header',
      length: octets.length,
      header: {
        source: { address: '192.0.2.1', port: 1000 },
        destination: { address: '198.51.100.2', port: 110 },
      },
    })
    for (let length = 0; length < octets.length; length++) {
      expect(parseProxyHeader(octets.subarray(0, length)).kind, `${length} octets`).toBe('more')
    }
  })

  test('IPv6 addresses are written in their short form', () => {
    const body = Buffer.from(`20010db8${'00'.repeat(11)}01${'00'.repeat(15)}010050006e`, 'hex')
    expect(parseProxyHeader(binary(0x21, 0x21, body))).toMatchObject({
      header: { source: { address: '2001:db8::1', port: 80 }, destination: { address: '::1' } },
    })
  })

  test.each([
    ['LOCAL', binary(0x20, 0x11, ipv4)],
    ['no family', binary(0x21, 0, Buffer.alloc(0))],
    ['unix sockets', binary(0x21, 0x31, Buffer.alloc(216))],
  ])('%s keeps the real addresses', (_, octets) => {
    expect(parseProxyHeader(octets)).toMatchObject({ kind: 'header', header: {} })
  })

  test('says what the client asked for in TLS, and who it is if that was verified', () => {
    const ssl = (client: number, verify: number) =>
      tlv(0x20, Buffer.concat([Buffer.from([client, 0, 0, 0, verify]), tlv(0x22, 'ann')]))
    const header = (...tlvs: Buffer[]) => parseProxyHeader(binary(0x21, 0x11, Buffer.concat([ipv4, ...tlvs])))
    expect(header(tlv(1, 'pop3'), tlv(2, 'mx.test'), ssl(3, 0))).toMatchObject({
      header: { alpn: 'pop3', authority: 'mx.test', tls: true, certificateName: 'ann' },
    })
    expect(header(ssl(3, 1))).toMatchObject({ header: { tls: true } })
    expect(header(ssl(3, 1))).not.toHaveProperty('header.certificateName')
    expect(header(ssl(1, 0))).not.toHaveProperty('header.certificateName')
    expect(header(ssl(0, 0))).toMatchObject({ header: { tls: false } })
    // Of a kind that is not known.
    expect(header(tlv(0xee, 'x'), tlv(4, ''))).toMatchObject({ kind: 'header' })
  })

  test.each([
    ['version 1', binary(0x11, 0x11, ipv4)],
    ['an unknown command', binary(0x22, 0x11, ipv4)],
    ['datagrams', binary(0x21, 0x12, ipv4)],
    ['an unknown family', binary(0x21, 0x41, ipv4)],
    ['addresses that are cut off', binary(0x21, 0x21, ipv4)],
    ['a TLV that is cut off', binary(0x21, 0x11, Buffer.concat([ipv4, Buffer.from([1, 0])]))],
    ['a TLV longer than the header', binary(0x21, 0x11, Buffer.concat([ipv4, Buffer.from([1, 0, 9, 1])]))],
    ['an authority that is no name', binary(0x21, 0x11, Buffer.concat([ipv4, tlv(2, 'a b')]))],
    ['TLS facts that are cut off', binary(0x21, 0x11, Buffer.concat([ipv4, tlv(0x20, 'x')]))],
    ['more than 1500 octets', binary(0x21, 0x11, Buffer.alloc(1485))],
  ])('%s is none', (_, octets) => {
    expect(parseProxyHeader(octets).kind).toBe('malformed')
  })

  test('random octets never break it', () => {
    const seed = chosenSeed()
    const numbers = new Random(seed)
    const random = (below: number) => numbers.below(below)
    for (let round = 0; round < 5_000; round++) {
      const octets = binary(0x21, 0x11, Buffer.concat([ipv4, tlv(0x20, 'abcdefgh'), tlv(2, 'mx')]))
      for (let flips = random(4); flips >= 0; flips--) octets[12 + random(octets.length - 12)] = random(256)
      expect(['header', 'more', 'malformed'], `seed ${seed} round ${round}`).toContain(
        parseProxyHeader(octets).kind,
      )
    }
  })
})
