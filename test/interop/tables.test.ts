/** Our tables beside Postfix's own: the same files and keys to `postmap -q`. Skipped where Postfix is not installed. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { tableSources } from '../../src/tables/config.ts'
import { Tables } from '../../src/tables/contract.ts'

const isInstalled = spawnSync('postmap', ['-c', '/nonexistent', '-q', 'x', 'static:x']).error === undefined
const folder = mkdtempSync(join(tmpdir(), 'tables-'))
afterAll(() => rmSync(folder, { recursive: true }))

// Postfix waits until its configuration is two seconds old, lest it be half written.
writeFileSync(join(folder, 'main.cf'), 'myhostname = x.test\n')
utimesSync(join(folder, 'main.cf'), 1, 1)

const keys = [
  'a b ab aab A abcd x@y a.b xy ] a{ \\ abab - (a) a{x} *a bc 10.1.2.3 10.9.9.9 192.0.2.1 ::1 2001:db8::5 u@d.test',
  '"a_b"@d.test @d.test user+ext@d.test Mixed.Case@D.Test',
].flatMap((line) => line.split(' '))

const contents: readonly (readonly [type: string, content: string])[] = [
  ...[
    '^a',
    'b$',
    'a|b',
    '(a)(b)',
    '[^a]',
    '[[:upper:]]',
    'a*',
    '(ab)+',
    'a{2}',
    '\\.',
    '^(.*)@(.*)$',
    'x?y',
    '[]a]',
  ].map((pattern) => ['regexp', `/${pattern}/ yes\n`] as const),
  ...[
    '[a\\]',
    'a\\{',
    '.',
    '(a|ab)(c|bcd)(d*)',
    '^.{3}$',
    'a+?',
    '(a*)*',
    'a||b',
    '()',
    'a^',
    '[a-]',
    '[-a]',
    'a{1,}',
    'a{x}',
  ].map((pattern) => ['regexp', `!/${pattern}/ no\n/${pattern}/i yes\n`] as const),
  ['regexp', '/^(.)(.*)$/ $2$1 ${1}-$(2)$$\n'],
  ['regexp', 'if /b/\n/^a/ both\nif !/x/\n/./ b\nendif\n/./ bx\nendif\n/./ rest\n'],
  ['regexp', '/^(a)?(b)?/ <$1|$2>\n'],
  ['cidr', '10.1.0.0/16 a\n!10.0.0.0/8 outside\n10.0.0.0/8 $1 b\n'],
  ['cidr', 'if 10.0.0.0/8\n10.1.0.0/16 a\nendif\n[2001:db8::]/32 six\n::/0 all six\n0.0.0.0/0 all four\n'],
  ['texthash', '# c\na  one two \nAB\ttab\n"a_b"@d.test q\nlong x\n # c\n  y\nmixed.case@d.test m\n'],
]

describe.skipIf(!isInstalled)('postmap answers as we do', () => {
  it.each(contents)('%s %j', (type, content) => {
    const path = join(folder, 'table')
    writeFileSync(path, content)
    const { stdout } = spawnSync('postmap', ['-c', folder, '-q', '-', `${type}:${path}`], {
      input: `${keys.join('\n')}\n`,
      encoding: 'utf8',
    })
    const theirs = Object.fromEntries(
      stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => line.split('\t')),
    )
    const maps = new Tables({ now: () => 0, warn: () => {} }).maps(tableSources(`${type}:${path}`))
    const ours = Object.fromEntries(
      keys.flatMap((key) => {
        const answer = maps.lookup(key)
        return answer.kind === 'found' ? [[key, answer.value]] : []
      }),
    )
    expect(ours).toEqual(theirs)
  })
})
