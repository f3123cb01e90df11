/**
 * MD5 (RFC 1321) that can go on from a saved state, which Node's cannot. {CRAM-MD5} passwords of a passwd-file are such
 * states: what HMAC-MD5 (RFC 2104) has reached after the key, outer and inner one, four little-endian words each.
 */

/** The four words between two blocks. */
type State = readonly [number, number, number, number]

const initialState: State = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476]
const blockOctets = 64

const shifts = [
  [7, 12, 17, 22],
  [5, 9, 14, 20],
  [4, 11, 16, 23],
  [6, 10, 15, 21],
] as const

const sines = Uint32Array.from({ length: 64 }, (_, index) =>
  Math.floor(Math.abs(Math.sin(index + 1)) * 2 ** 32),
)

function compress(state: State, block: Buffer): State {
  let [a, b, c, d] = state
  for (let step = 0; step < 64; step++) {
    const round = step >> 4
    let mixed: number
    let word: number
    if (round === 0) {
      mixed = (b & c) | (~b & d)
      word = step
    } else if (round === 1) {
      mixed = (d & b) | (~d & c)
      word = (5 * step + 1) & 15
    } else if (round === 2) {
      mixed = b ^ c ^ d
      word = (3 * step + 5) & 15
    } else {
      mixed = c ^ (b | ~d)
      word = (7 * step) & 15
    }
    const sum = (a + mixed + sines[step]! + block.readUInt32LE(4 * word)) | 0
    const shift = shifts[round]![step & 3]!
    a = d
    d = c
    c = b
    b = (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0
  }
  return [(state[0] + a) | 0, (state[1] + b) | 0, (state[2] + c) | 0, (state[3] + d) | 0]
}

/** Hashes `data` to its end from a state that one block led to. */
function finish(state: State, data: Buffer): Buffer {
  const padding = blockOctets - ((data.length + 9) % blockOctets || blockOctets)
  const padded = Buffer.concat([data, Buffer.from([0x80]), Buffer.alloc(padding + 8)])
  padded.writeBigUInt64LE(BigInt(8 * (blockOctets + data.length)), padded.length - 8)
  let reached = state
  for (let at = 0; at < padded.length; at += blockOctets) {
    reached = compress(reached, padded.subarray(at, at + blockOctets))
  }
  return octetsOf(reached)
}

function octetsOf(state: State): Buffer {
  const octets = Buffer.allocUnsafe(16)
  state.forEach((word, index) => {
    octets.writeInt32LE(word, 4 * index)
  })
  return octets
}

const stateOf = (octets: Buffer): State => [
  octets.readInt32LE(0),
  octets.readInt32LE(4),
  octets.readInt32LE(8),
  octets.readInt32LE(12),
]

/** Octets of a {CRAM-MD5} password. */
export const hmacMd5StateOctets = 32

/** What HMAC-MD5 has reached after this key: outer state, inner state. `digestOfLongKey` is MD5 itself, for keys over a block. */
export function hmacMd5State(key: Buffer, digestOfLongKey: (key: Buffer) => Buffer): Buffer {
  const block = Buffer.alloc(blockOctets)
  ;(key.length > blockOctets ? digestOfLongKey(key) : key).copy(block)
  const padded = (octet: number) => Buffer.from(block.map((value) => value ^ octet))
  return Buffer.concat([
    octetsOf(compress(initialState, padded(0x5c))),
    octetsOf(compress(initialState, padded(0x36))),
  ])
}

/** HMAC-MD5 of a message, from what `hmacMd5State` gave. */
export function hmacMd5From(state: Buffer, message: Buffer): Buffer {
  return finish(stateOf(state), finish(stateOf(state.subarray(16)), message))
}
