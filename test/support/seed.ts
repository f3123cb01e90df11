/**
 * The seed of a randomised test. Unless told otherwise each run does the same, so that a failure belongs to what was changed:
 * `SEED=N` plays another one, `SEED=random` draws one. It is printed.
 */
export function chosenSeed(): number {
  const said = process.env.SEED ?? '20261128'
  const seed = said === 'random' ? Math.floor(Math.random() * 2 ** 31) : Number(said)
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new Error(`SEED is a number from 0, or the word random: ${said}`)
  console.log(`seed ${seed}`)
  return seed
}
