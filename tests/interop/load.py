"""Transactions that tell by themselves whether they are whole, and writers that commit them."""

import hashlib
import random
import threading

from wire import MAX_TID, Z64, Closed, Wire, WireError, p64, u64

OBJECTS = 8  # of one writer


def record(writer, number, oids, oid, filler):
    """Says which transaction it is of, and which other records that has."""
    head = b'%d %d %s %d' % (writer, number, b','.join(b'%d' % o for o in oids), oid)
    body = head + b'|' + filler
    return hashlib.sha256(body).hexdigest().encode() + b'|' + body


def parse(data):
    """(writer, number, oids, oid) of a record; a damaged one fails."""
    digest, body = data.split(b'|', 1)
    assert hashlib.sha256(body).hexdigest().encode() == digest, 'a damaged record'
    writer, number, oids, oid = body.split(b'|', 1)[0].split()
    return int(writer), int(number), [int(o) for o in oids.split(b',')], int(oid)


class Writer:
    """Commits to objects of its own. What it was told, and what it tried, outlives the server."""

    def __init__(self, number, rng):
        self.number = number
        self.rng = rng
        self.oids = [1000 * (number + 1) + i for i in range(OBJECTS)]
        self.count = 0
        self.acknowledged = {}  # tid -> transaction
        self.doubtful = None    # the transaction that was sent and not answered
        self.data = {}          # transaction -> {oid: data}

    def transaction(self):
        self.count += 1
        oids = sorted(self.rng.sample(self.oids, self.rng.randrange(1, OBJECTS)))
        filler = self.rng.randbytes(self.rng.choice((10, 200, 5000, 40000)))
        self.data[self.count] = {
            oid: record(self.number, self.count, oids, oid, filler) for oid in oids}
        return self.count

    def run(self, address):
        """Until the connection breaks."""
        try:
            with Wire(address, self.rng.choice('ZM')) as w:
                while True:
                    self.commit(w)
        except (OSError, Closed):
            pass

    def serials(self, w):
        found = {}
        for oid in self.oids:
            try:
                found[oid] = w.call('getTid', p64(oid))
            except WireError as e:
                assert e.name == 'ZODB.POSException.POSKeyError', e
                found[oid] = Z64
        return found

    def commit(self, w):
        serials = self.serials(w)
        number = self.transaction()
        w.begin(number, [(p64(oid), serials[oid], data)
                         for oid, data in self.data[number].items()])
        w.call('vote', number)
        self.doubtful = number
        tid = w.call('tpc_finish', number)
        self.doubtful = None
        self.acknowledged[tid] = number
        return tid

    def verify(self, w):
        """What was acknowledged is there; the doubtful transaction is there or not, as a whole."""
        current = {}
        for tid, number in self.acknowledged.items():
            for oid, data in self.data[number].items():
                current[oid] = (data, tid)
        found = {}
        for oid in self.oids:
            try:
                data, tid, end = w.call('loadBefore', p64(oid), MAX_TID)
            except WireError as e:
                assert e.name == 'ZODB.POSException.POSKeyError' and oid not in current, e
            else:
                assert end is None
                found[oid] = (data, tid)
        if self.doubtful is not None:
            doubtful = self.data[self.doubtful]
            there = {oid for oid in doubtful if found.get(oid, (None,))[0] == doubtful[oid]}
            assert there in (set(), set(doubtful)), 'a part of a transaction'
            if there:
                tids = {found[oid][1] for oid in there}
                assert len(tids) == 1 and max(self.acknowledged, default=Z64) < min(tids)
                self.acknowledged[tids.pop()] = self.doubtful
                current.update({oid: found[oid] for oid in there})
            self.doubtful = None
        assert found == current


def run_all(writers, address):
    """Start all; returns the threads, which end when the server does."""
    threads = [threading.Thread(target=w.run, args=(address,)) for w in writers]
    for t in threads:
        t.start()
    return threads


def check_file(path, writers):
    """The whole file, as ZODB reads it: each transaction whole, each acknowledged one there."""
    from ZODB.FileStorage import FileStorage
    from interop_files import fstest
    assert fstest(path) == []
    acknowledged = {tid: w for w in writers for tid in w.acknowledged}
    seen = set()
    last = Z64
    fs = FileStorage(str(path), read_only=True)
    for t in fs.iterator():
        assert last < t.tid
        last = t.tid
        records = {u64(r.oid): r.data for r in t}
        parsed = [parse(data) for data in records.values()]
        assert len({(writer, number) for writer, number, _, _ in parsed}) == 1
        assert sorted(records) == parsed[0][2] == sorted(oid for *_, oid in parsed)
        w = acknowledged.get(t.tid)
        assert w is not None, 'a transaction that nobody has committed'
        assert records == w.data[w.acknowledged[t.tid]]
        seen.add(t.tid)
    fs.close()
    assert seen == set(acknowledged)
    assert last == max(acknowledged)


def make_writers(n, seed):
    return [Writer(i, random.Random(f'{seed} {i}')) for i in range(n)]
