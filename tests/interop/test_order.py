"""Replies and invalidations of a connection agree: rules R1-R3, with many connections at once.

Every connection is recorded as it is read. What arrives on it is one sequence of transactions:
`view` is the newest one it has been told of, by an invalidation or by its own finish reply.
"""

import itertools
import random
import socket
import threading

import pytest

from wire import MAX_TID, Z64, Closed, Wire, WireError, p64, u64

FILE = ('<zeo>\n  address {address}\n  msgpack {msgpack}\n  invalidation-queue-size 100000\n'
        '</zeo>\n<filestorage 1>\n  path {dir}/Data.fs\n</filestorage>\n')
MAPPING = ('<zeo>\n  address {address}\n  msgpack {msgpack}\n  invalidation-queue-size 100000\n'
           '</zeo>\n<mappingstorage 1>\n</mappingstorage>\n')
SHARED = [p64(i) for i in range(1, 6)]


class Recorder:
    """A connection whose every message is checked against those before it."""

    def __init__(self, address, encoding):
        self.wire = Wire(address, encoding)
        self.registered = self.view = self.wire.tid
        self.tids = []        # each transaction it was told of, in order
        self.changed = {}     # oid -> the newest of them
        self.own = []
        self.pending = {}     # request -> (method, arguments)

    def step(self, tid, oids):
        assert tid > self.view, f'{tid.hex()} after {self.view.hex()} on one connection'
        self.view = tid
        self.tids.append(tid)
        for oid in oids:
            self.changed[oid] = tid

    def send(self, method, *args):
        id = self.wire.send(method, *args)
        self.pending[id] = (method, args)
        if method == 'history':  # what is known when it is asked for
            self.pending[id] = (method, (*args, self.changed.get(args[0], Z64)))
        return id

    def receive(self):
        """Read one message and check it; (id, result) of a reply, else (None, None)."""
        id, flag, name, args = self.wire.receive()
        if name == 'invalidateTransaction':
            assert args[0] not in self.own, 'an invalidation of its own transaction'
            assert len(args[1]) == len(set(args[1]))
            self.step(args[0], args[1])
        elif name == 'info':
            assert set(args[0]) == {'length', 'size'}
        else:
            assert name == '.reply', name
            method, sent = self.pending.pop(id)
            if flag == 2:
                return id, WireError(*args)
            getattr(self, 'check_' + method, lambda *_: None)(sent, args)
            return id, args
        return None, None

    def call(self, method, *args):
        return self.wait(self.send(method, *args))

    def wait(self, id):
        while True:
            got, result = self.receive()
            if got == id:
                if isinstance(result, WireError):
                    raise result
                return result

    # each is called when the reply is read: R1 is about that moment

    def check_lastTransaction(self, _, tid):
        assert tid == self.view

    def check_getTid(self, sent, tid):
        self.check_current(sent[0], tid)

    def check_loadBefore(self, sent, result):
        oid, before = sent
        data, serial, end = result
        assert data.endswith(oid)
        if end is None:
            self.check_current(oid, serial)
            assert serial < before
        else:
            assert serial < before <= end
            assert end <= self.view, 'an end of which no invalidation has come'

    def check_current(self, oid, serial):
        assert serial <= self.view, 'a revision of which no invalidation has come'
        if oid in self.changed:
            assert serial == self.changed[oid], 'called current after its invalidation'

    def check_history(self, sent, result):
        """As of a moment between request and reply: nothing newer than what is known now,
        nothing older than what was known then."""
        oid, size, known = sent
        assert known <= result[0]['tid'] <= self.view
        if oid in self.changed:
            assert result[0]['tid'] <= self.changed[oid]

    def check_getInvalidations(self, sent, result):
        tid, oids = result
        assert tid == self.view
        assert set(oids) >= {o for o, changed in self.changed.items() if changed > sent[0]}

    def commit(self, oids, checks=()):
        """Commit new revisions; the tid, or None after a conflict."""
        serials = {oid: self.call('getTid', oid) for oid in (*oids, *checks)}
        id = next(self.wire.ids)
        self.wire.begin(id, [(oid, serials[oid], b'%d ' % id + oid) for oid in oids],
                        [(oid, serials[oid]) for oid in checks])
        try:
            self.call('vote', id)
        except WireError as e:
            assert e.name in ('ZODB.POSException.ConflictError',
                              'ZODB.POSException.ReadConflictError'), e
            assert e.data['serials'][1] == serials[e.data['oid']]
            return None
        finish = self.send('tpc_finish', id)
        while True:
            got, tid = self.receive()
            if got == finish:
                self.own.append(tid)
                self.step(tid, oids)  # R3: it stands where the invalidation would
                return tid

    def read_something(self, rng):
        oid = rng.choice(SHARED)
        what = rng.randrange(6)
        if what == 0:
            self.send('lastTransaction')
        elif what == 1:
            self.send('getTid', oid)
        elif what == 2:
            self.send('history', oid, 3)
        elif what == 3:
            self.send('getInvalidations', rng.choice(self.tids or [self.registered]))
        elif what == 4:
            self.send('loadBefore', oid, MAX_TID)
        else:
            known = [t for t in self.tids[-20:] if t > self.first] or [MAX_TID]
            self.send('loadBefore', oid, rng.choice(known))

    def drain(self):
        while self.pending:
            self.receive()


def in_threads(*functions):
    """Run all at once; the first failure is raised."""
    failures = []

    def run(f):
        try:
            f()
        except BaseException as e:
            failures.append(e)
    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


FANOUT = ('<zeo>\n  address {address}\n  msgpack {msgpack}\n  invalidation-queue-size 100000\n'
          '</zeo>\n<zeoclient 1>\n  server {upstream}\n</zeoclient>\n')
CHAINS = {
    'file': (FILE,),
    'mapping': (MAPPING,),
    'fanout': (FILE, FANOUT),
    'fanout3': (FILE, FANOUT, FANOUT),
}


@pytest.fixture(params=['file-pickle', 'file-msgpack', 'mapping-pickle', 'fanout-pickle',
                        'fanout-msgpack', 'fanout3-pickle'])
def place(request, server):
    """(server, encoding, tid of the first transaction); the server may be a client of others"""
    kind, encoding = request.param.split('-')
    s = None
    for configuration in CHAINS[kind]:
        configuration = configuration.replace('{msgpack}', str(encoding == 'msgpack').lower())
        if s:
            configuration = configuration.replace('{upstream}', '%s:%d' % s.address)
        s = server(configuration)
    letter = 'M' if encoding == 'msgpack' else 'Z'
    with Wire(s.address, letter) as w:
        tid = w.commit([(oid, Z64, b'first ' + oid) for oid in SHARED])
    return s, letter, tid


def test_eight_writers(place):
    """T1, T2, T7, R1, R2, R3"""
    server, encoding, first = place
    seed = random.randrange(1 << 32)
    print('seed', seed)
    recorders = [Recorder(server.address, encoding) for _ in range(8)]
    late = []
    committed = []
    writing = threading.Event()
    writing.set()

    def write(number, recorder):
        rng = random.Random(f'{seed} {number}')
        recorder.first = first
        own = p64(1000 + number)
        create(recorder, own)
        for _ in range(60):
            for _ in range(rng.randrange(5)):
                recorder.read_something(rng)
            oids = rng.sample(SHARED, rng.randrange(3)) + [own]
            checks = [o for o in rng.sample(SHARED, rng.randrange(2)) if o not in oids]
            tid = recorder.commit(oids, checks)
            if tid:
                committed.append(tid)

    def create(recorder, own):
        id = next(recorder.wire.ids)
        recorder.wire.begin(id, [(own, Z64, b'0 ' + own)])
        recorder.call('vote', id)
        finish = recorder.send('tpc_finish', id)
        got = None
        while got != finish:
            got, tid = recorder.receive()
        recorder.own.append(tid)
        recorder.step(tid, [own])
        committed.append(tid)

    def come_and_go(number):
        """R2: registering under load; and T2: leaving under load."""
        rng = random.Random(f'{seed} late {number}')
        while writing.is_set():
            recorder = Recorder(server.address, encoding)
            recorder.first = first
            for _ in range(rng.randrange(20)):
                recorder.read_something(rng)
            if rng.randrange(3):
                recorder.drain()
                recorder.call('ping')
                late.append((recorder.registered, recorder.tids, recorder.view))
                recorder.wire.close()
            else:
                recorder.wire.abort_hard()

    def all_writers():
        try:
            in_threads(*(lambda n=n, r=r: write(n, r) for n, r in enumerate(recorders)))
        finally:
            writing.clear()

    in_threads(all_writers, lambda: come_and_go(0), lambda: come_and_go(1))
    committed.sort()
    assert len(set(committed)) == len(committed) > 8 * 20
    for recorder in recorders:
        recorder.drain()
        recorder.call('ping')
        # every connection has seen the same transactions in the same order, without a gap
        assert recorder.tids == [t for t in committed if t > recorder.registered]
        recorder.wire.close()
    assert len(late) > 10
    for registered, tids, view in late:
        assert tids == [t for t in committed if registered < t <= view]


class Hammer:
    """Keeps the threads of a server busy, so that their turns take long."""

    def __init__(self, address, encoding):
        self.wire = Wire(address, encoding)
        one = self.wire.message(1, 'loadBefore', (SHARED[1], MAX_TID))
        self.thread = threading.Thread(target=self.run, args=(one * 2000,))
        self.thread.start()

    def run(self, requests):
        try:
            while True:
                self.wire.socket.sendall(requests)
                left = 2000
                while left:
                    self.wire.read_frame()
                    left -= 1
        except (OSError, Closed, ValueError):
            pass

    def stop(self):
        self.wire.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.wire.close()


@pytest.mark.parametrize('busy', [False, True])
def test_ping_across_workers(place, busy):
    """T65: what was acknowledged before a ping (or any other request) was sent has been seen when
    it is answered, whichever threads serve the two."""
    server, encoding, first = place
    recorders = [Recorder(server.address, encoding) for _ in range(5)]
    requests = [('ping',), ('lastTransaction',), ('getTid', SHARED[0]),
                ('loadBefore', SHARED[0], MAX_TID), ('history', SHARED[0], 1),
                ('getInvalidations', first)]
    hammers = [Hammer(server.address, encoding) for _ in range(3 * busy)]
    try:
        for round in range(24 if busy else 60):
            writer = recorders[round % 5]
            tid = writer.commit(SHARED[:1])
            for reader in recorders:
                if reader is not writer:
                    result = reader.call(*requests[round % len(requests)])
                    assert reader.view == tid, requests[round % len(requests)]
                    if requests[round % len(requests)][0] == 'getTid':
                        assert result == tid
    finally:
        for h in hammers:
            h.stop()
    # register, too
    tid = recorders[0].commit(SHARED[:1])
    for _ in range(5):
        late = Recorder(server.address, encoding)
        assert late.registered == tid
        late.wire.close()
    for r in recorders:
        r.wire.close()


def test_pipelined_finishes(place):
    """R3: a client that sends its next transaction without waiting for the reply to the last."""
    server, encoding, first = place
    recorders = [Recorder(server.address, encoding) for _ in range(4)]

    def write(number, recorder):
        oid = p64(2000 + number)
        recorder.first = first
        order = []
        for i in range(40):
            data = b'%d ' % i + oid
            recorder.wire.begin(i, [(p64(u64(oid) + 100 * i), Z64, data)])
            recorder.call('vote', i)
            order.append(recorder.send('tpc_finish', i))
        recorder.finishes = order

    # the finish replies are read as steps of the sequence, wherever they stand
    def check_finish(recorder):
        return lambda sent, tid: (recorder.own.append(tid), recorder.step(tid, []))
    for recorder in recorders:
        recorder.check_tpc_finish = check_finish(recorder)
    in_threads(*(lambda n=n, r=r: write(n, r) for n, r in enumerate(recorders)))
    everything = []
    for recorder in recorders:
        recorder.drain()
        everything += recorder.own
        assert recorder.own == sorted(recorder.own) and len(recorder.own) == 40
    for recorder in recorders:
        recorder.call('ping')
        assert recorder.tids == sorted(everything)
        recorder.wire.close()


def test_invalidations_name_what_was_written(place):
    """T10: new objects, too. T11: not those that were only checked."""
    server, encoding, first = place
    with Wire(server.address, encoding) as reader, Wire(server.address, encoding) as writer:
        new = p64(77)
        tid = writer.commit([(new, Z64, b'new'), (SHARED[0], first, b'x'),
                             (SHARED[0], first, b'y')], [(SHARED[1], first)])
        reader.call('ping')
        assert [(t, sorted(oids)) for t, oids in reader.invalidations()] == [
            (tid, [SHARED[0], new])]
        assert reader.call('loadBefore', SHARED[0], MAX_TID)[0] == b'y'
        reader_last, changed = reader.call('getInvalidations', first)
        assert (reader_last, sorted(changed)) == (tid, [SHARED[0], new])
        # the client that has committed is not told of it
        writer.call('ping')
        assert writer.invalidations() == []


def test_applied_before_visible(place):
    """T4: a stock client's lastTransaction() moves after its cache has applied invalidations."""
    from ZEO.ClientStorage import ClientStorage
    server, encoding, first = place
    reader = ClientStorage(server.address, wait_timeout=30)
    try:
        with Wire(server.address, encoding) as writer:
            oid, serial = SHARED[0], first
            done = threading.Event()
            seen = []

            def read():
                while not (done.is_set() and seen and seen[-1] == serial):
                    tid = reader.lastTransaction()
                    data, got, end = reader.loadBefore(oid, p64(u64(tid) + 1))
                    assert got == tid
                    assert end is None or end > tid
                    seen.append(tid)

            def write():
                nonlocal serial
                try:
                    for i in itertools.takewhile(
                            lambda i: i < 100 or len(set(seen)) < 20, itertools.count()):
                        serial = writer.commit([(oid, serial, b'%d' % i)])
                finally:
                    done.set()

            in_threads(read, write)
            assert seen == sorted(seen)
    finally:
        reader.close()
