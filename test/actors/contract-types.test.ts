/**
 * What contracts accept and refuse at compile time. `npm run check` is the test; at run time nothing happens here but
 * that the file loads.
 */
import { describe, expect, expectTypeOf, test } from 'vitest'
import {
  type ActorRef,
  type AnyRef,
  actor,
  type Body,
  type ChildSpec,
  type Contract,
  child,
  type Handlers,
  type MessageType,
  type Reply,
  type ReplyStream,
  type StreamItem,
  type StreamReader,
  type StreamType,
  type SupervisorContract,
  type Wire,
  type WireValue,
} from '../../src/index.ts'

// Contracts that mention themselves and each other, and values that contain themselves.
type Node = Contract<{
  join(peer: ActorRef<Node>, peers: readonly ActorRef<Node>[]): boolean
  leave(peer: ActorRef<Node>): void
  peers(): readonly ActorRef<Node>[]
}>
type Tree = Contract<{
  insert(path: readonly string[], value: WireValue): boolean
  child(name: string): ActorRef<Leaf> | undefined
  watch(observer: ActorRef<Observer>): void
  value(): WireValue
  children(): Readonly<Record<string, ActorRef<Leaf>>>
  supervisor(): ActorRef<SupervisorContract>
}>
type Leaf = Contract<{ parent(): ActorRef<Tree>; set(value: WireValue): void }>
type Observer = Contract<{ changed(by: ActorRef<Tree>, value: Readonly<Record<string, WireValue>>): void }>

interface Entry {
  readonly key: string
  readonly bytes: Uint8Array
  readonly at: bigint
  readonly nested?: Entry
  readonly list: readonly (Entry | ActorRef<Node>)[]
}
type Store = Contract<{
  put(entry: Entry, ...more: Entry[]): Entry
  all(filter?: { readonly after: number; readonly kind: 'a' | 'b' }): Promise<readonly Entry[]>
  any(ref: AnyRef): readonly [AnyRef, number]
}>

// Every message of each, asked and told. Never called.
async function uses(node: ActorRef<Node>, tree: ActorRef<Tree>, store: ActorRef<Store>, entry: Entry) {
  node.tell('join', node, [node])
  const [peer] = await node.ask('peers')
  peer?.tell('leave', node)
  tree.tell('insert', ['a'], { b: [1, null, { c: tree }] })
  const leaf = await tree.ask('child', 'x')
  const parent = await leaf?.ask('parent')
  const children = await parent?.ask('children')
  children?.['y']?.tell('set', [parent])
  await (await tree.ask('supervisor')).ask('countChildren')
  const stored = await store.ask('put', entry, entry, entry)
  const [ref] = await store.ask('any', tree)
  const refs: readonly AnyRef[] = [node, tree, store, ref]
  return { stored, all: await store.ask('all', { after: 1, kind: 'a' }), refs }
}

// What cannot be sent. Never called.
function misuses(ref: ActorRef<Wrong>, node: ActorRef<Node>, tree: ActorRef<Tree>) {
  // @ts-expect-error a function cannot cross a thread
  ref.tell('callback', () => {})
  // @ts-expect-error neither can a Map, however deep it sits
  ref.tell('nested', { list: [{ map: new Map() }] })
  // @ts-expect-error nor a Date
  ref.tell('date', new Date())
  // @ts-expect-error nor a typed array other than Uint8Array
  ref.tell('floats', new Float64Array(1))
  // @ts-expect-error nor an instance of a class that has methods
  ref.tell('instance', new WithMethod())
  // @ts-expect-error nor a value of which nothing is known
  ref.tell('unknown', 1 as unknown)
  // @ts-expect-error there is no such message
  node.tell('jion', node, [])
  // @ts-expect-error an argument is missing
  node.tell('join', node)
  // @ts-expect-error a ref of another contract
  node.tell('leave', tree)
  // @ts-expect-error a name of a lifecycle callback is no message
  ref.tell('terminate')
}

class WithMethod {
  readonly x = 1
  method(): void {}
}
type Wrong = Contract<{
  callback(call: () => void): void
  nested(value: { readonly list: readonly { readonly map: Map<string, string> }[] }): void
  date(at: Date): void
  floats(list: Float64Array): void
  instance(value: WithMethod): void
  unknown(value: unknown): void
  terminate(): void
}>

describe('contracts', () => {
  test('are checked where messages are sent', () => {
    for (const never of [uses, misuses]) expectTypeOf(never).toBeFunction()
  })

  test('may mention themselves, each other and values that contain themselves', () => {
    expectTypeOf<Wire<WireValue>>().toEqualTypeOf<WireValue>()
    expectTypeOf<Reply<Store, 'all'>>().toEqualTypeOf<readonly Entry[]>()
    expectTypeOf<Body<Store, 'put'>>().toEqualTypeOf<[entry: Entry, ...more: Entry[]]>()
    expectTypeOf<Reply<Node, 'peers'>>().toEqualTypeOf<readonly ActorRef<Node>[]>()
    expectTypeOf<MessageType<Leaf>>().toEqualTypeOf<'parent' | 'set'>()
    expectTypeOf<ActorRef<Node>>().toExtend<AnyRef>()
    expectTypeOf<ActorRef<Node>>().toExtend<WireValue>()
    expectTypeOf<ActorRef<Node>>().not.toExtend<ActorRef<Tree>>()
  })

  test('tell streams of replies from replies', () => {
    type Feed = Contract<{
      follow(from: number): ReplyStream<Entry>
      maps(): ReplyStream<Date>
      last(): Entry
    }>
    expectTypeOf<StreamType<Feed>>().toEqualTypeOf<'follow' | 'maps'>()
    expectTypeOf<StreamItem<Feed, 'follow'>>().toEqualTypeOf<Entry>()
    expectTypeOf<StreamItem<Feed, 'maps'>>().not.toEqualTypeOf<Date>()
    const use = (feed: ActorRef<Feed>) => {
      expectTypeOf(feed.stream('follow', 1)).toEqualTypeOf<StreamReader<Entry>>()
      // @ts-expect-error its reply is no stream
      feed.stream('last')
    }
    expectTypeOf(use).toBeFunction()
  })

  test('are what the handlers of an actor are checked against', () => {
    actor<Node, { peers: readonly ActorRef<Node>[] }>({
      name: 'node',
      module: import.meta.url,
      init: (_context, { peers }) => ({
        join: (peer, others) => others.includes(peer),
        leave(peer) {
          expectTypeOf(peer).toEqualTypeOf<ActorRef<Node>>()
        },
        peers: () => peers,
      }),
    })
    const wrong = {
      join: () => 'yes',
      leave() {},
      peers: () => [],
    }
    // @ts-expect-error a reply of another type
    const handlers: Handlers<Node> = wrong
    void handlers
  })

  test('have child specs whose arguments are checked, where one wants it', () => {
    type Args = { readonly file: string }
    const worker = actor<Contract<{ go(): void }>, Args>({
      name: 'w',
      module: import.meta.url,
      init: () => ({ go() {} }),
    })
    const plain = actor<Contract<{ go(): void }>>({
      name: 'p',
      module: import.meta.url,
      init: () => ({ go() {} }),
    })
    const specs: ChildSpec[] = [
      child({ id: 'a', actor: worker, args: { file: 'x' }, restart: 'transient' }),
      child({ id: 'b', actor: plain }),
    ]
    expect(specs[0]).toEqual({ id: 'a', actor: worker, args: { file: 'x' }, restart: 'transient' })
    // @ts-expect-error it wants arguments
    child({ id: 'c', actor: worker })
    // @ts-expect-error other ones
    child({ id: 'd', actor: worker, args: { file: 1 } })
  })
})
