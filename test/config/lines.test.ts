import { parse } from 'smol-toml'
import { expect, test } from 'vitest'
import { keyLines, lineOf } from '../../src/config/lines.ts'
import { Random } from '../../src/testing/random.ts'
import { chosenSeed } from '../support/seed.ts'

const text = `# a comment
hostname = "x" # [not.a.table]
data_dir = '''
[neither]
this = 1
'''

[smtp]
relayhost = """
a = 1 \\"""
"""
"quoted key" = 1
list = [
  "a", # ]
  "[b]",
]
dotted.inner = { x = 1, y = "}" }
last = 3

[[listener]]
service = "pop3"

[[listener]]
  service = "smtp"
[pools.connections]
min_threads = 1
`

test('the text is TOML, so the lines are those a parser would report', () => {
  expect(parse(text)).toMatchObject({ smtp: { last: 3 }, listener: [{}, {}] })
})

test.each([
  { path: ['hostname'], line: 2 },
  { path: ['data_dir'], line: 3 },
  { path: ['smtp'], line: 8 },
  { path: ['smtp', 'relayhost'], line: 9 },
  { path: ['smtp', 'quoted key'], line: 12 },
  { path: ['smtp', 'list'], line: 13 },
  { path: ['smtp', 'dotted', 'inner'], line: 17 },
  { path: ['smtp', 'dotted', 'inner', 'x'], line: 17 },
  { path: ['smtp', 'last'], line: 18 },
  { path: ['smtp', 'nowhere'], line: 8 },
  { path: ['listener', 0, 'service'], line: 21 },
  { path: ['listener', 1, 'service'], line: 24 },
  { path: ['listener', 1, 'address'], line: 23 },
  { path: ['pools', 'connections', 'min_threads'], line: 26 },
  { path: ['this'], line: 1 },
])('$path is at line $line', ({ path, line }) => {
  expect(lineOf(keyLines(text), path)).toBe(line)
})

test('any text ends the scan', () => {
  const seed = chosenSeed()
  const numbers = new Random(seed)
  const random = (below: number): number => numbers.below(below)
  const letters = '[]{}"\'#=.,\n\\ab \t'
  for (let round = 0; round < 2_000; round++) {
    const junk = Array.from({ length: random(60) }, () => letters[random(letters.length)]).join('')
    for (const line of keyLines(junk).values()) expect(line).toBeGreaterThan(0)
  }
})
