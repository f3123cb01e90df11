/** State machines as OTP has them: random ones are played on OTP's gen_statem and on ours. */
import { describe, expect, test } from 'vitest'
import { chosenSeed } from '../support/seed.ts'
import { machineTerm, randomMachine } from './otp/machines.ts'
import { countOf, hasOtp, playOnOtp, skipped } from './otp/otp.ts'
import { playMachine } from './otp/play-machines.ts'

const seed = chosenSeed()

describe.skipIf(!hasOtp)(`random machines do the same on OTP and on ours, seed ${seed}${skipped}`, () => {
  test('the traces', async () => {
    const machines = Array.from({ length: countOf(300) }, (_, index) => randomMachine(seed + index))
    const played: { name: string; term: string; ours: string[] }[] = []
    for (const machine of machines) {
      const ours = await playMachine(machine)
      if (ours !== undefined) played.push({ name: machine.name, term: machineTerm(machine), ours })
    }
    // What a busy machine makes late tells another story: those that differ are played again.
    let differ = played
    let strays = 0
    for (let round = 0; round < 4 && differ.length > 0; round++) {
      const traces = await playOnOtp(
        ['otp_machines'],
        differ.map(({ term }) => term),
      )
      strays += [...traces.values()].filter((trace) => trace.includes('  stray')).length
      differ = differ.filter(({ name, ours }) => {
        const otp = traces.get(name)!
        return !otp.includes('  stray') && String(otp) !== String(ours)
      })
      for (const { name, term, ours } of round < 3 ? [] : differ) {
        expect(ours, `${name}: ${term}`).toEqual(traces.get(name))
      }
    }
    expect(played.length - strays).toBeGreaterThan(machines.length / 2)
  }, 600_000)
})
