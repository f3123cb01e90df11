import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { afterAll, describe, expect, it } from 'vitest'
import { tableSources } from '../../src/tables/config.ts'
import { Tables, tableProblems } from '../../src/tables/contract.ts'

const folder = mkdtempSync(join(tmpdir(), 'patterns-'))
afterAll(() => rmSync(folder, { recursive: true }))

let files = 0
/** What a table with this content says to a key. */
function ask(type: string, content: string, key: string): string | undefined {
  const path = join(folder, `${++files}`)
  writeFileSync(path, content)
  const sources = tableSources(`${type}:${path}`)
  expect(tableProblems(sources)).toEqual([])
  const answer = new Tables({ now: () => 0, warn: () => {} }).maps(sources).lookup(key)
  return answer.kind === 'found' ? answer.value : undefined
}

const problem = (type: string, content: string) => {
  const path = join(folder, `${++files}`)
  writeFileSync(path, content)
  return tableProblems(tableSources(`${type}:${path}`))
    .map(({ where, what }) => `${where.slice(path.length)} ${what}`)
    .join('\n')
}

describe.each(['regexp', 'pcre'])('%s', (type) => {
  it.each([
    ['/^a.c$/ yes', 'aBc', 'yes'],
    ['/^a.c$/i yes', 'ABC', undefined],
    ['!/^a/ not', 'bcd', 'not'],
    ['!/^a/ not', 'Abc', undefined],
    ['! ! /^a/ twice', 'abc', 'twice'],
    ['/(a)(b)?(c)/ $1-$2-${3}x$(1)$$', 'ac', 'a--cxa$'],
    ['|a/b| slash', 'xa/b', 'slash'],
    ['/a\\/b/ slash', 'a/b', 'slash'],
    ['/^(.*)@old$/ $1@new', 'u@OLD', 'u@new'],
    ['if /^a/\n/b/ ab\nendif\n/./ rest', 'ab', 'ab'],
    ['if /^a/\n/b/ ab\nendif\n/./ rest', 'cb', 'rest'],
    ['if !/^a/\n/b/ b without a\nendif\n/./ rest', 'cb', 'b without a'],
    ['IF /a/\nif /b/\n/c/ abc\nENDIF\n/d/ ad\nendif', 'acd', 'ad'],
    ['/a{2,3}b/ yes', 'aab', 'yes'],
    ['/[[:digit:]]{3}/ yes', 'a123', 'yes'],
    ['/[]x]/ yes', ']', 'yes'],
    ['/[^]x]/ yes', ']', undefined],
    ['/[a-f]z/ yes', 'Fz', 'yes'],
    ['/[A-Fa]z/ yes', 'cZ', 'yes'],
    ['/a.b/ yes', 'a\nb', 'yes'],
    ['/^b/m yes', 'a\nb', 'yes'],
    ['/^b/ yes', 'a\nb', undefined],
    ['/a$/m yes', 'a\nb', 'yes'],
    ['/(a)\\1/ twice', 'aA', 'twice'],
    ['/a\\.b/ dot', 'a.b', 'dot'],
    ['/a\\.b/ dot', 'axb', undefined],
    ['/\\bfoo\\b/ word', 'a foo b', 'word'],
    ['/x/ a\n  b', 'x', 'a  b'],
    ['/\\{/ brace', '{', 'brace'],
    ['/ä/ umlaut', 'Ä', 'umlaut'],
  ])('%j asked for %j', (content, key, expected) => {
    expect(ask(type, content, key)).toBe(expected)
  })

  it.each([
    ['/a', /^:1 the "\/" that ends the pattern is missing/],
    ['abc def', /is not \/pattern\//],
    ['/a/q x', /"q" after the pattern is no flag/],
    ['/a/', /the result after the pattern is missing/],
    ['/a/ $1', /the pattern has no group for \$1/],
    ['!/(a)/ $1', /\$1 has no meaning after "!"/],
    ['/(a)/ $1x', /is not \$1, \$\{1\} or \$\$/],
    ['/(a/ x', /a "\)" is missing/],
    ['/[a/ x', /a "\]" is missing/],
    ['/[z-a]/ x', /runs backwards/],
    ['/[[:alhpa:]]/ x', /no character class \[:alhpa:\]/],
    ['# fine\nif /a/\n/b/ x\n', /^:2 the endif of this if is missing/],
    ['/a/ ok\nendif', /^:2 endif without an if/],
    ['/+/ x', /nothing "\+" could repeat/],
  ])('%j is refused', (content, what) => {
    expect(problem(type, content)).toMatch(what)
  })

  it('lists everything that is wrong', () => {
    expect(problem(type, '/a x\n/b/ fine\n/(/ y\n').split('\n')).toHaveLength(2)
  })

  it.each(['/^(a+)+$/ x', '/^(A|a|aa)+$/ x', '/([a-z]+)*!/ x'])('%s takes no exponential time', (content) => {
    setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks')
    expect(ask(type, content, `${'a'.repeat(4_000)}?`)).toBe(undefined)
  })
})

describe('regexp (POSIX)', () => {
  it.each([
    ['/a*?b/ yes', 'b', 'yes'],
    ['/^[\\d]$/ yes', '\\', 'yes'],
    ['/\\<foo\\>/ word', 'a foo.', 'word'],
    ['/a.b/m yes', 'a\nb', undefined],
    ['/a{,2}b$/ yes', 'b', 'yes'],
    ['/[[.a.][=b=]]c/ yes', 'bc', 'yes'],
    ['/a)/ yes', 'a)', 'yes'],
    ['/\\d/ yes', 'd', 'yes'],
  ])('%j asked for %j', (content, key, expected) => {
    expect(ask('regexp', content, key)).toBe(expected)
  })

  it.each([
    ['/(?:a)/ x', /not POSIX syntax \(use a pcre: table\)/],
    ['/{/ x', /"\{" is not followed by a count/],
    ['/a/x x', /basic regular expressions/],
  ])('%j is refused', (content, what) => {
    expect(problem('regexp', content)).toMatch(what)
  })
})

describe('pcre', () => {
  it.each([
    ['/(?i)A(?-i)b/i yes', 'ab', 'yes'],
    ['/(?i)A(?-i)b/i yes', 'aB', undefined],
    ['/(?i:A)b/i yes', 'aB', undefined],
    ['/a(?=b)/ yes', 'ab', 'yes'],
    ['/(?<!x)b/ yes', 'xb', undefined],
    ['/(?P<name>a)(b)/ $2$1', 'ab', 'ba'],
    ['/(?>a+)ab/ yes', 'aaab', undefined],
    ['/a++ab/ yes', 'aaab', undefined],
    ['/x*+y/ yes', 'xxy', 'yes'],
    ['/(?>(a)|b)c/ $1', 'ac', 'a'],
    ['/\\Aab\\z/ yes', 'ab', 'yes'],
    ['/\\d+\\h\\S/ yes', '12 x', 'yes'],
    ['/\\Qa.b\\E+/ yes', 'a.bbb', 'yes'],
    ['/\\Qa.b\\E/ yes', 'axb', undefined],
    ['/a b # comment/x yes', 'ab', 'yes'],
    ['/a.b/s yes', 'a\nb', undefined],
    ['/(a+)/U $1', 'aaa', 'a'],
    ['/(a+?)/U $1', 'aaa', 'aaa'],
    ['/b/A yes', 'ab', undefined],
    ['/\\x41\\x{42}/ yes', 'ab', 'yes'],
    ['/(?#comment)a/ yes', 'a', 'yes'],
    ['/[\\w.-]+@/ yes', 'a.b-c@', 'yes'],
    ['/(?:a|b)c/ yes', 'bc', 'yes'],
    ['/{/ brace', '{', 'brace'],
    ['/(a)\\g{1}0/ yes', 'aa0', 'yes'],
  ])('%j asked for %j', (content, key, expected) => {
    expect(ask('pcre', content, key)).toBe(expected)
  })

  it.each([
    ['/(?R)/ x', /not supported/],
    ['/(*UTF8)a/ x', /not supported/],
    ['/\\p{L}/ x', /"\\p" is not supported/],
    ['/a)/ x', /a "\)" has no "\("/],
    ['/\\1(a)/ x', /no group 1/],
  ])('%j is refused', (content, what) => {
    expect(problem('pcre', content)).toMatch(what)
  })
})
