/**
 * Plays a script of `mailactors cache script` to the real scache(8) over its socket and answers as ours does. In Python,
 * because Node passes no descriptors. Each connection that is saved is one end of a pipe; the other end shows when it is closed.
 *
 * Time is that of the system in whole seconds, as scache has it: all that happens between two sleeps happens within one. If it
 * does not, the last line is `late`, and the answers are worth nothing.
 */
export const scacheClient = `
import os, select, socket, sys, time

channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
channel.connect(sys.argv[1])
channel.settimeout(20)
received, descriptors = b'', []
saved, inodes = {}, {}

def read_reply():
    """Attributes up to the empty name that ends them, in their order."""
    global received
    words = []
    while True:
        while b'\\0' not in received: fill()
        word, received = received.split(b'\\0', 1)
        if word == b'' and len(words) % 2 == 0: return words[1::2]
        words.append(word)

def fill():
    global received
    data, new, _, _ = socket.recv_fds(channel, 4096, 8)
    if data == b'' : sys.exit('scache hung up')
    received += data
    descriptors.extend(new)

def ask(request, *attributes):
    words = [b'request', request.encode()]
    for name, value in attributes: words += [name, value.encode()]
    channel.sendall(b'\\0'.join(words) + b'\\0\\0')

def descriptor():
    """One octet, and with it the descriptor. It waits for a word of ours before and after."""
    global received
    channel.sendall(b'dummy\\0\\0\\0')
    while not descriptors or received == b'': fill()
    channel.sendall(b'dummy\\0\\0\\0')
    received = received[1:]
    found = descriptors.pop(0)
    number = inodes[os.fstat(found).st_ino]
    os.close(found)
    os.close(saved.pop(number))
    return number

def save_endpoint(words):
    names = [b'ttl', b'label', b'property']
    ask('save_endp', *zip(names, words))
    if len(words) >= 3 and int(words[0]) > 0:
        # It says when it is ready for the descriptor.
        read_reply()
        ours, theirs = os.pipe()
        number = int(words[3])
        saved[number] = ours
        inodes[os.fstat(ours).st_ino] = number
        socket.send_fds(channel, [b'x'], [theirs])
        os.close(theirs)
    return read_reply()[0].decode()

def closed():
    """Those whose other end is gone."""
    poll = select.poll()
    for number, end in saved.items(): poll.register(end, 0)
    gone = [end for end, _ in poll.poll(0)]
    numbers = sorted(number for number, end in saved.items() if end in gone)
    for number in numbers: os.close(saved.pop(number))
    return numbers

def wait(seconds):
    global begun
    until = int(begun) + seconds
    time.sleep(max(0, until + 0.05 - time.time()))
    begun = until
    # A request that is none: its timers come first.
    ask('fnord')
    read_reply()
    numbers = closed()
    return '0' if not numbers else '0 closed=' + ','.join(map(str, numbers))

def play(verb, words):
    if verb == 'save_endp': return save_endpoint(words)
    if verb == 'save_dest':
        ask(verb, *zip([b'ttl', b'label', b'property', b'label'], words))
        return read_reply()[0].decode()
    if verb in ('find_endp', 'find_dest'):
        ask(verb, *zip([b'label'], words))
        status, *properties = [word.decode() for word in read_reply()]
        if status != '0': return status
        names = ['endp_props'] if verb == 'find_endp' else ['dest_props', 'endp_props']
        shown = ' '.join(f'{name}={value}' for name, value in zip(names, properties))
        return f'0 {shown} fd={descriptor()}'
    if verb == 'sleep': return wait(int(words[0]))
    ask(verb)
    return read_reply()[0].decode()

if read_reply() != [b'connection_cache_protocol'] : sys.exit('this is not scache')
time.sleep(1.05 - time.time() % 1)
begun = int(time.time())
late = False
for line in sys.stdin:
    verb, *words = ['' if word == '""' else word for word in line.split()]
    print(play(verb, words))
    late = late or int(time.time()) != begun
if late: print('late')
`
