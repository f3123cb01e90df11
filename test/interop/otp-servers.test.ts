/** Links, monitors, exits, names and calls as OTP has them: random servers are played on OTP's gen_server and on ours. */
import { describe, expect, test } from 'vitest'
import { chosenSeed } from '../support/seed.ts'
import { countOf, hasOtp, playOnOtp, skipped } from './otp/otp.ts'
import { playServers } from './otp/play-servers.ts'
import { randomServers, serversTerm } from './otp/servers.ts'

const seed = chosenSeed()
const scenarios = Array.from({ length: countOf(300) }, (_, index) => randomServers(seed + index))
const otp = hasOtp
  ? await playOnOtp(['otp_scenarios', 'otp_servers'], scenarios.map(serversTerm))
  : new Map<string, string[]>()

describe.skipIf(!hasOtp)(`random servers do the same on OTP and on ours, seed ${seed}${skipped}`, () => {
  for (const threads of [0, 2]) {
    test(`with ${threads} threads`, async () => {
      for (const scenario of scenarios) {
        const ours = await playServers(scenario, threads)
        expect(ours, `${scenario.name}: ${JSON.stringify(scenario)}`).toEqual(otp.get(scenario.name))
      }
    }, 600_000)
  }
})
