/** The four requests as a script: the acceptance cases of group L that are about the data model alone. */
import { describe, expect, test } from 'vitest'
import { CacheScript } from '../../src/cache/script.ts'

/** Runs lines `request -> answer`; a line without an arrow is answered with 0. */
function play(text: string, ttlLimitMs = 2_000): void {
  const script = new CacheScript(ttlLimitMs)
  for (const line of text.split('\n').map((one) => one.trim())) {
    if (line === '') continue
    const [request = '', wanted = '0'] = line.split(' -> ')
    expect(`${request} -> ${script.run(request)}`).toBe(`${request} -> ${wanted}`)
  }
}

describe('cache script', () => {
  test('L03 after 2.1 s it is over', () => {
    play(`save_endp 2 e p 5
          save_dest 2 d q e
          sleep 2.1 -> 0 closed=5
          find_dest d -> 2
          find_endp e -> 2`)
  })

  test('L04 the ttl is capped, whatever the client asks for', () => {
    play(`save_endp 30 e p 5
          sleep 1.9
          size -> 0 sessions=1
          sleep 0.2 -> 0 closed=5`)
    play('save_endp 30 e p 5\nsleep 29\nfind_endp e -> 0 endp_props=p fd=5', 60_000)
  })

  test('L19 first in, first out', () => {
    play(`save_endp 2 e p1 5
          save_endp 2 e p2 6
          find_endp e -> 0 endp_props=p1 fd=5
          find_endp e -> 0 endp_props=p2 fd=6
          find_endp e -> 2`)
  })

  test('L20 the same binding again: one, with a new time', () => {
    play(`save_dest 2 d q e
          sleep 1
          save_dest 2 d q e
          sleep 1.5
          save_endp 2 e p 5
          find_dest d -> 0 dest_props=q endp_props=p fd=5
          sleep 0.5
          save_endp 2 e p 6
          find_dest d -> 2`)
  })

  test('a binding with other properties is another one, behind the first', () => {
    play(`save_dest 2 d q1 e
          save_dest 2 d q2 e
          save_endp 2 e p 5
          find_dest d -> 0 dest_props=q1 endp_props=p fd=5`)
  })

  test('L22 a binding without a session is passed over and stays', () => {
    play(`save_dest 2 d q1 e1
          save_dest 2 d q2 e2
          save_endp 2 e2 p2 6
          find_dest d -> 0 dest_props=q2 endp_props=p2 fd=6
          save_endp 2 e1 p1 5
          find_dest d -> 0 dest_props=q1 endp_props=p1 fd=5`)
  })

  test('L23 one session: hit, then miss', () => {
    play(`save_dest 2 d q e
          save_endp 2 e p 5
          find_dest d -> 0 dest_props=q endp_props=p fd=5
          find_dest d -> 2`)
  })

  test('L24 taken by its address: a miss, and the binding is still there', () => {
    play(`save_dest 2 d q e
          save_endp 2 e p 5
          find_endp e -> 0 endp_props=p fd=5
          find_dest d -> 2
          save_endp 2 e p 6
          find_dest d -> 0 dest_props=q endp_props=p fd=6`)
  })

  test('L25 what is malformed has status 1, and nothing breaks', () => {
    const usage = '1 usage: save_endp TTL ENDPOINT PROPERTIES [FD]'
    const ttl = '1 the ttl is a number of seconds above 0'
    play(`save_endp 0 e p 5 -> ${ttl}
          save_endp -1 e p 5 -> ${ttl}
          save_endp x e p 5 -> ${ttl}
          save_endp 2 e -> ${usage}
          save_dest 0 d q e -> ${ttl}
          save_dest 2 d q -> 1 usage: save_dest TTL DESTINATION PROPERTIES ENDPOINT
          find_endp -> 1 usage: find_endp ENDPOINT
          find_dest a b -> 1 usage: find_dest DESTINATION
          fnord x -> 1 unknown request fnord
          save_endp 2 e "" 5
          find_endp e -> 0 endp_props= fd=5`)
  })

  test('L27 L28 statistics: percent, peaks, a new interval', () => {
    play(`save_dest 2 d1 q e1
          save_dest 2 d2 q e2
          save_endp 2 e1 p 1
          save_endp 2 e1 p 2
          save_endp 2 e2 p 3
          save_endp 2 e3 p 4
          find_dest d1 -> 0 dest_props=q endp_props=p fd=1
          find_dest d1 -> 0 dest_props=q endp_props=p fd=2
          find_dest d2 -> 0 dest_props=q endp_props=p fd=3
          find_dest none -> 2
          report -> 0 since=0 dest=3/1=75% endp=0/0 peaks=2,3,4
          sleep 1
          stats -> 0 since=0 dest=0/0 endp=0/0 peaks=0,0,0`)
  })

  test('comments and empty lines', () => {
    const script = new CacheScript(2_000)
    expect([script.run(''), script.run('# find_endp e'), script.run('  ')]).toEqual([
      undefined,
      undefined,
      undefined,
    ])
  })
})
