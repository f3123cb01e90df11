/** What piscina runs. */
export default function echo([destination]: readonly unknown[]): unknown {
  if (destination === 'exit') process.exit(1)
  return destination
}
