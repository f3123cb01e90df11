import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { tableSources } from '../../src/tables/config.ts'
import {
  findAddress,
  findDomain,
  findNetwork,
  mapAddress,
  type TableProblem,
  Tables,
  tableProblems,
} from '../../src/tables/contract.ts'

const folder = mkdtempSync(join(tmpdir(), 'tables-'))
afterAll(() => rmSync(folder, { recursive: true }))

let now = 0
let warnings: TableProblem[] = []
let tables = new Tables({ now: () => now, warn: (problem) => warnings.push(problem) })
beforeEach(() => {
  now = 0
  warnings = []
  tables = new Tables({ now: () => now, warn: (problem) => warnings.push(problem) })
})

const maps = (written: unknown) => tables.maps(tableSources(written, folder))
const file = (name: string, content: string) => {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}
/** What the tables say: the value, `undefined` for not there, the detail of an error after `!`. */
const ask = (written: unknown, key: string) => {
  const answer = maps(written).lookup(key)
  return answer.kind === 'found' ? answer.value : answer.kind === 'error' ? `!${answer.detail}` : undefined
}
const problems = (written: unknown) =>
  tableProblems(tableSources(written, folder)).map((one) => `${one.where}: ${one.what}`)

describe('how tables are written', () => {
  it.each([
    ['inline:{a=b, c=d}', 'a', 'b'],
    ['inline:{ A = b , { c = two words, more } }', 'c', 'two words, more'],
    ['inline:{a=b}', 'A', 'b'],
    ['inline:{a=b}', 'x', undefined],
    ['static:yes', 'whatever', 'yes'],
    ['static:{two words}', 'whatever', 'two words'],
    ['inline:{a=1}, inline:{a=2 b=3}', 'b', '3'],
    ['inline:{a=1} inline:{a=2}', 'a', '1'],
    [{ 'a@b': 'c' }, 'A@B', 'c'],
    [['inline:{a=1}', { z: 'y' }], 'z', 'y'],
    ['unionmap:{inline:{a=1},inline:{a=2},inline:{b=3}}', 'a', '1,2'],
    ['pipemap:{inline:{a=b},inline:{b=c}}', 'a', 'c'],
    ['pipemap:{inline:{a=b},inline:{x=c}}', 'a', undefined],
    ['fail:later', 'a', '!fail:later'],
  ])('%j asked for %s', (written, key, expected) => {
    expect(ask(written, key)).toBe(expected)
  })

  it.each([
    ['hash:/etc/x', /hash: needs a database library \(write texthash:\/etc\/x/],
    ['lmdb:/etc/x', /write texthash/],
    ['ldap:x', /no table type ldap \(there are texthash, regexp/],
    ['/etc/x', /is not type:name/],
    ['inline:{a=b', /braces/],
    ['texthash:', /name after texthash: is missing/],
    [{ a: 1 }, /1 is not a string/],
    [5, /is not a table/],
    ['unionmap:{}', /the tables are missing/],
    ['pipemap:x', /the tables are missing \(write pipemap:\{type:name/],
  ])('%j is refused', (written, what) => {
    expect(() => tableSources(written, folder)).toThrow(what)
  })

  it.each([['inline:{a}'], ['inline:{}'], ['inline:{=b}']])('%s is a problem of its content', (written) => {
    expect(problems(written)).toHaveLength(1)
    expect(ask(written, 'a')).toMatch(/^!/)
  })

  it('paths start from the folder of the configuration, in tables of tables too', () => {
    file('path', 'a b\n')
    expect(ask('unionmap:{texthash:path}', 'a')).toBe('b')
  })
})

describe('texthash', () => {
  it('has comments, lines that go on, and keys with quoted white space', () => {
    file('text', '# comment\n\nKey  value with spaces  \nlong one\n  # inside\n  two\n"x y"@d quoted\n')
    expect(ask('texthash:text', 'kEY')).toBe('value with spaces')
    expect(ask('texthash:text', 'long')).toBe('one  two')
    expect(ask('texthash:text', '"x y"@d')).toBe('quoted')
  })

  it('names file and line of what has no value', () => {
    const path = file('novalue', 'a b\nlonely\n')
    expect(problems('texthash:novalue')).toEqual([
      `${path}:2: there is a key and no value (write: key, white space, value)`,
    ])
  })

  it('warns of a key that is there twice, and takes the first', () => {
    const path = file('twice', 'a 1\nA 2\n')
    expect(ask('texthash:twice', 'a')).toBe('1')
    expect(warnings).toEqual([{ where: `${path}:2`, what: expect.stringContaining('first value counts') }])
  })

  it('an empty result is an error, not an answer', () => {
    expect(maps([{ a: '' }]).lookup('a')).toEqual({
      kind: 'error',
      detail: expect.stringContaining('empty result'),
    })
  })
})

describe('files that change', () => {
  it('are read again a second later, not with each lookup', () => {
    file('change', 'a 1\n')
    expect(ask('texthash:change', 'a')).toBe('1')
    file('change.new', 'a 22\n')
    renameSync(join(folder, 'change.new'), join(folder, 'change'))
    expect(ask('texthash:change', 'a')).toBe('1')
    now += 1_000
    expect(ask('texthash:change', 'a')).toBe('22')
  })

  it('keep their last good content when they break, with one warning', () => {
    const path = file('breaks', 'a 1\n')
    expect(ask('texthash:breaks', 'a')).toBe('1')
    file('breaks', 'lonely\n')
    for (let second = 1; second <= 3; second++) {
      now += 1_000
      expect(ask('texthash:breaks', 'a')).toBe('1')
    }
    expect(warnings.map(({ where }) => where)).toEqual([`${path}:1`])
    file('breaks', 'a mended\n')
    now += 1_000
    expect(ask('texthash:breaks', 'a')).toBe('mended')
  })

  it('that are not there are errors until they are', () => {
    expect(ask('texthash:absent', 'a')).toMatch(/^!texthash:.*no such file/)
    file('absent', 'a 1\n')
    now += 1_000
    expect(ask('texthash:absent', 'a')).toBe('1')
  })

  it('are looked at again after the clock was set back', () => {
    now = 10_000_000
    file('clock', 'a 1\n')
    expect(ask('texthash:clock', 'a')).toBe('1')
    file('clock', 'a 222\n')
    now = 5_000
    expect(ask('texthash:clock', 'a')).toBe('222')
  })
})

describe('cidr', () => {
  it.each([
    ['10.0.0.0/8 a', '10.1.2.3', 'a'],
    ['10.0.0.0/8 a', '11.1.2.3', undefined],
    ['192.0.2.1 one', '192.0.2.1', 'one'],
    ['!10.0.0.0/8 outside', '192.0.2.1', 'outside'],
    ['!10.0.0.0/8 outside', 'not-an-address', undefined],
    ['2001:db8::/32 six', '2001:db8:0:1::1', 'six'],
    ['[2001:db8::]/32 six', '2001:db8::1', 'six'],
    ['[2001:db8::1] six', '2001:DB8:0::1', 'six'],
    ['::/0 six', '192.0.2.1', undefined],
    ['0.0.0.0/0 four', '::1', undefined],
    ['if 10.0.0.0/8\n10.1.0.0/16 $1 kept\nendif\n0.0.0.0/0 rest', '10.1.0.9', '$1 kept'],
    ['if 10.0.0.0/8\n10.1.0.0/16 a\nendif\n0.0.0.0/0 rest', '10.2.0.9', 'rest'],
    ['if !10.0.0.0/8\n0.0.0.0/0 out\nendif\n10.2.0.0/16 in', '10.2.0.9', 'in'],
    ['if !10.0.0.0/8\n0.0.0.0/0 out\nendif', '1.2.0.9', 'out'],
  ])('%j asked for %s', (content, key, expected) => {
    file('cidr', content)
    expect(ask('cidr:cidr', key)).toBe(expected)
  })

  it.each([
    ['1.2.3.4/8 x', /:1: .*bits set after the prefix \/8/],
    ['1.2.3.4/33 x', /is not a prefix \(0 to 32\)/],
    ['2001:db8::1/32 x', /bits set/],
    ['host x', /is not an address or a network/],
    ['1.2.3.4', /the result after the pattern is missing/],
    ['if 10.0.0.0/8\n10.0.0.0/8 x', /:1: the endif of this if is missing/],
    ['endif', /endif without an if/],
    ['if 10.0.0.0/8 text\nendif', /not expected after an if/],
  ])('%j is refused', (content, what) => {
    file('cidr-bad', content)
    expect(problems('cidr:cidr-bad').join('\n')).toMatch(what)
  })
})

describe('searches', () => {
  const search = { delimiter: '+', isLocal: (domain: string) => domain === 'here.test' }

  it.each([
    ['u+x@d.test', { 'u+x@d.test': 'whole', 'u@d.test': 'no' }, 'whole', ''],
    ['u+x@d.test', { 'u@d.test': 'base' }, 'base', '+x'],
    ['u+x@here.test', { 'u+x': 'local' }, 'local', ''],
    ['u+x@here.test', { u: 'local' }, 'local', '+x'],
    ['u+x@d.test', { u: 'other' }, undefined, ''],
    ['u+x@d.test', { '@d.test': 'domain' }, 'domain', ''],
    ['+x@d.test', { '@d.test': 'domain' }, 'domain', ''],
  ])('%s in %j', (address, entries, expected, extension) => {
    const found = findAddress(maps([entries]), address, search)
    expect(found.lookup.kind === 'found' ? found.lookup.value : undefined).toBe(expected)
    expect(found.extension).toBe(extension)
  })

  it('patterns see the whole address and no part of it', () => {
    file('parts', '/^@d/ part\n/^u@/ whole\n')
    expect(findAddress(maps('regexp:parts'), 'u@d.test', search).lookup).toEqual({
      kind: 'found',
      value: 'whole',
    })
    expect(findAddress(maps('regexp:parts'), 'v@d.test', search).lookup).toEqual({ kind: 'none' })
  })

  it.each([
    ['u+x@d.test', { '@d.test': '@e.test' }, {}, 'u+x@e.test'],
    ['u+x@d.test', { 'u@d.test': 'v@e.test' }, {}, 'v@e.test'],
    ['u+x@d.test', { 'u@d.test': 'v@e.test' }, { propagateExtension: true }, 'v+x@e.test'],
    ['u@d.test', { 'u@d.test': 'v' }, { origin: 'o.test' }, 'v@o.test'],
  ])('%s mapped by %j', (address, entries, options, expected) => {
    expect(mapAddress(maps([entries]), address, { ...search, ...options })).toEqual({
      kind: 'found',
      value: expected,
    })
  })

  it('domains: the domain, then its parents with a dot', () => {
    const table = maps([{ 'd.test': 'd', '.d.test': 'below', '.test': 'top' }])
    expect(
      ['d.test', 'x.y.d.test', 'e.test', '192.0.2.1', 'test'].map((domain) => findDomain(table, domain)),
    ).toEqual([
      { kind: 'found', value: 'd' },
      { kind: 'found', value: 'below' },
      { kind: 'found', value: 'top' },
      { kind: 'none' },
      { kind: 'none' },
    ])
    expect(findDomain(table, 'x.d.test', { parents: 'plain' })).toEqual({ kind: 'found', value: 'd' })
  })

  it('networks: whole octets from the right', () => {
    const table = maps([{ '192.0': 'net', '2001:db8': 'six' }])
    expect(findNetwork(table, '192.0.2.1')).toEqual({ kind: 'found', value: 'net' })
    expect(findNetwork(table, '2001:db8::1')).toEqual({ kind: 'found', value: 'six' })
    expect(findNetwork(table, '198.0.2.1')).toEqual({ kind: 'none' })
  })

  it('an error ends the search', () => {
    expect(findAddress(maps(['fail:x', { 'u@d': 'y' }]), 'u@d', search).lookup.kind).toBe('error')
  })
})
