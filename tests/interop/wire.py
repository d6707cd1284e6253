"""A client of the wire protocol that shows every byte: what stock clients would never send."""

import itertools
import os
import pickle
import socket
import struct
import time

import msgpack

Z64 = bytes(8)
MAX_TID = b'\x7f' + b'\xff' * 7
WIRE_TIMEOUT_S = 30


class WireError(Exception):
    """An exception of the server: .name is its class, .data its dictionary or arguments."""

    def __init__(self, name, data):
        super().__init__(name, data)
        self.name = name
        self.data = data


class Closed(Exception):
    """The server has closed the connection."""


def logged_start(server):
    """The server's log, when all is in it that is told of a start: it answers before."""
    wait_until('the start is in the log', lambda: 'listening on' in server.text())
    return server.text()


def wait_until(what, condition, timeout_s=WIRE_TIMEOUT_S):
    """Poll for what only another process can see; its value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f'waited {timeout_s} s for: {what}'
        time.sleep(0.01)


def frame(content):
    return struct.pack('>I', len(content)) + content


def p64(n):
    return struct.pack('>Q', n)


def u64(b):
    return struct.unpack('>Q', b)[0]


def connect(address):
    if isinstance(address, str):
        s = socket.socket(socket.AF_UNIX)
    else:
        s = socket.socket(socket.AF_INET6 if ':' in address[0] else socket.AF_INET)
    s.settimeout(WIRE_TIMEOUT_S)
    s.connect(address)
    if not isinstance(address, str):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


class Wire:
    """One connection. Messages that are no reply to a call are kept, in order, in .events.

    `context` is an ssl.SSLContext when the server speaks TLS.
    """

    def __init__(self, address, encoding='Z', register=True, storage='1', read_only=False,
                 handshake=True, context=None):
        self.encoding = encoding
        self.socket = connect(address)
        if context:
            self.socket = context.wrap_socket(self.socket)
        self.file = self.socket.makefile('rb', 1 << 16)
        self.ids = itertools.count(1)
        self.events = []
        self.tid = None
        self.greeting = self.read_frame()
        if handshake:
            self.send_raw(frame(encoding.encode() + b'5'))
            if register:
                self.tid = self.call('register', storage, read_only)

    # bytes

    def send_raw(self, data):
        self.socket.sendall(data)

    def read_frame(self):
        try:
            head = self.file.read(4)
            if len(head) < 4:
                raise Closed()
            size = struct.unpack('>I', head)[0]
            content = self.file.read(size)
        except ConnectionResetError:
            raise Closed() from None
        if len(content) < size:
            raise Closed()
        return content

    def closed(self):
        """Read until the server has closed; a timeout is a failure of the test."""
        try:
            while True:
                self.read_frame()
        except Closed:
            return True

    # messages

    def encode(self, message):
        if self.encoding == 'M':
            return msgpack.packb(message, use_bin_type=True)
        return pickle.dumps(message, 3)

    def decode(self, content):
        if self.encoding == 'M':
            return msgpack.unpackb(content, raw=False, use_list=False, strict_map_key=False)
        return pickle.loads(content)

    def message(self, id, name, args, flag=0):
        return frame(self.encode((id, flag, name, args)))

    def send(self, name, *args):
        """Send a request without waiting; its id."""
        id = next(self.ids)
        self.send_raw(self.message(id, name, args))
        return id

    def send_async(self, *calls):
        """Calls (name, args...) that want no reply, in one piece."""
        self.send_raw(b''.join(self.message(0, c[0], c[1:], 1) for c in calls))

    def receive(self):
        """The next message: (id, flag, name, args)."""
        return self.decode(self.read_frame())

    def reply(self, id):
        """Wait for the reply to a request; what comes before it is kept in .events."""
        while True:
            got, flag, name, args = self.receive()
            if name != '.reply' or got != id:
                self.events.append((got, flag, name, args))
            elif flag == 2:
                raise WireError(*args)
            else:
                return args

    def call(self, name, *args):
        return self.reply(self.send(name, *args))

    # transactions

    def begin(self, id, stores=(), checks=(), user='', description='', extension={}):
        self.send_async(
            ('tpc_begin', id, user, description, extension),
            *(('storea', oid, serial, data, id) for oid, serial, data in stores),
            *(('checkCurrentSerialInTransaction', oid, serial, id) for oid, serial in checks))

    def commit(self, stores=(), checks=(), id=None, **meta):
        """Commit (oid, serial, data) triples; the transaction's tid."""
        id = id or next(self.ids)
        self.begin(id, stores, checks, **meta)
        self.call('vote', id)
        return self.call('tpc_finish', id)

    def invalidations(self):
        """What has come of them: [(tid, oids)]; forgets the events."""
        found = [(args[0], list(args[1])) for _, _, name, args in self.events
                 if name == 'invalidateTransaction']
        self.events = []
        return found

    def abort_hard(self):
        """Close with a reset, as a killed machine's system would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def resident_kib(pid):
    """Memory of a process that is in use, without mapped files: that is the page cache's."""
    with open(f'/proc/{pid}/status') as f:
        for line in f:
            if line.startswith('RssAnon:'):
                return int(line.split()[1])
    raise AssertionError('no RssAnon')


def n_sockets(pid):
    """How many sockets a process has open."""
    n = 0
    for fd in os.listdir(f'/proc/{pid}/fd'):
        try:
            n += os.readlink(f'/proc/{pid}/fd/{fd}').startswith('socket:')
        except FileNotFoundError:
            pass  # closed meanwhile
    return n


def is_sanitized(program):
    """Sanitizers keep freed memory: limits on memory hold for plain builds only."""
    data = program.read_bytes()
    return b'__asan_init' in data or b'__tsan_init' in data
