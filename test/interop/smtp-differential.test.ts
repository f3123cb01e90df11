/**
 * The same scripted servers behind Postfix's delivery client and behind ours: status and code of each recipient,
 * number of sessions, commands and content must agree. Listed scripts first, then random ones from a seed.
 */
import { isDeepStrictEqual } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { startDovecot, startReceivingPostfix } from '../support/peers.ts'
import { type ModelCase, observeOurs, observeService, PostfixModel } from '../support/postfix-model.ts'
import { because } from '../support/privileges.ts'
import { chosenSeed } from '../support/seed.ts'
import { contentCases, contents, otherProfiles, removeTables } from './differential/contents.ts'
import { listed } from './differential/listed.ts'
import { lmtp, plain } from './differential/profiles.ts'
import { randomCases } from './differential/random.ts'
import { randomSaslCases } from './differential/random-sasl.ts'
import { saslCases, sinkCases } from './differential/sasl-and-sink.ts'

const noPostfix = whyMissing(['postfix'], { root: true })

afterAll(removeTables)

test.skipIf(noPostfix !== undefined)(
  `Postfix's client, ours, and our whole service do the same with the same servers${because(noPostfix)}`,
  { timeout: 240_000 },
  async () => {
    const seed = chosenSeed()
    const count = Number(process.env.RANDOM_CASES ?? 40)
    const random = [...randomCases(seed, count), ...randomSaslCases(seed, Math.ceil(count / 2))]
    // What is set for the whole service, or is the client's alone, is not tried through the service.
    const forAll = [...listed, ...contentCases(), ...saslCases, ...random]
    const cases = [...forAll, ...otherProfiles, ...sinkCases()]
    const theirs = await PostfixModel.observe(cases)
    const ours = await Promise.all(cases.map((one) => observeOurs(one)))
    const service = await observeService(forAll)
    const differences = cases.flatMap((one, index) =>
      [ours[index], service[index]].flatMap((seen) => {
        if (seen === undefined || isDeepStrictEqual(seen, theirs[index])) return []
        return [JSON.stringify({ name: one.name, case: one.servers, postfix: theirs[index], ours: seen })]
      }),
    )
    expect(differences.join('\n'), `seed ${seed}: ${differences.length} of ${cases.length} differ`).toBe('')
  },
)

const noDovecot = whyMissing(['dovecot', 'postfix'], { root: true })

test.skipIf(noDovecot !== undefined)(
  `the same with a receiving Postfix and with Dovecot's LMTP${because(noDovecot)}`,
  { timeout: 120_000 },
  async () => {
    const [postfix, dovecot] = [await startReceivingPostfix(), await startDovecot()]
    const cases: ModelCase[] = [
      {
        name: 'Postfix',
        profile: plain,
        servers: [],
        port: postfix.port,
        recipients: ['good', 'reject', 'tempfail'],
      },
      {
        name: 'Postfix, all refused',
        profile: plain,
        servers: [],
        port: postfix.port,
        recipients: ['reject'],
      },
      {
        name: 'Postfix, 8bit',
        profile: plain,
        servers: [],
        port: postfix.port,
        content: contents['8bit text']!,
        body: '8BITMIME',
      },
      {
        name: 'Dovecot',
        profile: lmtp,
        servers: [],
        port: dovecot.lmtpPort,
        recipients: ['u0', 'u1', 'a b'],
      },
      { name: 'Dovecot, null sender', profile: lmtp, servers: [], port: dovecot.lmtpPort, sender: '' },
    ]
    const tagged = cases.map((one, index) => ({ ...one, tag: `x${index}` }))
    const theirs = await PostfixModel.observe(tagged)
    for (const [index, one] of tagged.entries())
      expect(await observeOurs(one), one.name).toEqual(theirs[index])
  },
)
