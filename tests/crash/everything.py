"""Clients that commit, undo and store blobs, and know what must be there after a kill."""

import hashlib
import threading
import time

from wire import MAX_TID, Z64, Closed, Wire, WireError, p64

OBJECTS = 5  # of one client, and one blob
CHUNK = 59000
BLOB = b'\x80\x03cZODB.blob\nBlob\n.\x80\x03C '  # its record, with a state of 32 bytes
POS_KEY_ERROR = 'ZODB.POSException.POSKeyError'
UNDO_ERROR = 'ZODB.POSException.UndoError'


class Client:
    """Has objects of its own. What it was told, and what it tried, outlives the server."""

    def __init__(self, number, rng):
        self.rng = rng
        self.oids = [p64(100 * (number + 1) + i) for i in range(OBJECTS)]
        self.blob_oid = p64(100 * (number + 1) + OBJECTS)
        self.count = 0
        self.state = {}       # oid -> (data, tid)
        self.content = None   # of the blob
        self.doubtful = None  # ({oid: data}, blob) of what was sent and not answered
        self.undoable = None  # (tid, {oid: data} before it)
        self.failures = []
        self.done = dict.fromkeys(('commit', 'undo', 'blob'), 0)

    def run(self, address):
        """Until the connection breaks."""
        try:
            with Wire(address, self.rng.choice('ZM')) as w:
                while True:
                    kind = self.rng.choice(('commit', 'commit', 'undo', 'blob'))
                    if getattr(self, kind)(w):
                        self.done[kind] += 1
        except (OSError, Closed):
            pass
        except (WireError, AssertionError) as e:
            self.failures.append(e)

    def finish(self, w, id, changes, blob=None):
        self.doubtful = changes, blob
        tid = w.call('tpc_finish', id)
        self.settle(changes, blob, tid)
        return True

    def settle(self, changes, blob, tid):
        before = {oid: self.state[oid][0] for oid in changes if oid in self.state}
        self.undoable = (tid, before) if blob is None and len(before) == len(changes) else None
        self.state.update({oid: (data, tid) for oid, data in changes.items()})
        self.content = blob or self.content
        self.doubtful = None

    def data(self):
        self.count += 1
        return b'%d ' % self.count + self.rng.randbytes(self.rng.choice((10, 500, 20000)))

    def serial(self, oid):
        return self.state.get(oid, (None, Z64))[1]

    def commit(self, w):
        changes = {oid: self.data()
                   for oid in self.rng.sample(self.oids, self.rng.randrange(1, OBJECTS))}
        self.count += 1
        w.begin(self.count, [(oid, self.serial(oid), d) for oid, d in changes.items()])
        w.call('vote', self.count)
        return self.finish(w, self.count, changes)

    def undo(self, w):
        """The last transaction, unless a pack has been there before."""
        if self.undoable is None:
            return False
        tid, before = self.undoable
        self.undoable = None
        self.count += 1
        w.begin(self.count)
        w.send_async(('undoa', tid_id(tid), self.count))
        try:
            w.call('vote', self.count)
        except WireError as e:
            assert e.name == UNDO_ERROR, e
            w.call('tpc_abort', self.count)
            return False
        return self.finish(w, self.count, before)

    def blob_content(self):
        return self.rng.randbytes(self.rng.choice((100, CHUNK, 5 * CHUNK + 1)))

    def store_blob(self, w, id, content):
        w.begin(id)
        w.send_async(('storeBlobStart',), *(
            ('storeBlobChunk', content[i:i + CHUNK]) for i in range(0, len(content), CHUNK)))
        record = BLOB + hashlib.sha256(content).digest() + b'.'
        w.send_async(('storeBlobEnd', self.blob_oid, self.serial(self.blob_oid), record, id))
        return record

    def blob_is_there(self, w, content, serial):
        w.events = []
        w.call('sendBlob', self.blob_oid, serial)
        got = b''.join(args[2] for _, _, name, args in w.events if name == 'receiveBlobChunk')
        w.events = []
        return got == content

    def blob(self, w):
        self.count += 1
        content = self.blob_content()
        record = self.store_blob(w, self.count, content)
        w.call('vote', self.count)
        return self.finish(w, self.count, {self.blob_oid: record}, content)

    def found(self, w):
        found = {}
        for oid in [*self.oids, self.blob_oid]:
            try:
                data, tid, end = w.call('loadBefore', oid, MAX_TID)
            except WireError as e:
                assert e.name == POS_KEY_ERROR, e
            else:
                assert end is None
                found[oid] = data, tid
        return found

    def verify(self, w):
        """What was acknowledged is there; what is in doubt is there or not, as a whole."""
        found = self.found(w)
        if self.doubtful:
            changes, blob = self.doubtful
            last = max((tid for _, tid in self.state.values()), default=Z64)
            new = {oid for oid in changes if found.get(oid, (None, Z64))[1] > last}
            assert new in (set(), set(changes)), 'a part of a transaction'
            self.doubtful = None
            if new:
                tids = {found[oid][1] for oid in new}
                assert len(tids) == 1
                self.settle(changes, blob, tids.pop())
        assert found == self.state
        if self.content is not None:
            assert self.blob_is_there(w, self.content, self.serial(self.blob_oid))


def tid_id(tid):
    from base64 import encodebytes
    return encodebytes(tid).rstrip()


class Packer:
    """Packs again and again."""

    def __init__(self):
        self.packs = 0
        self.failures = []

    def run(self, address):
        try:
            with Wire(address) as w:
                while True:
                    w.call('pack', time.time(), True)
                    self.packs += 1
        except (OSError, Closed):
            pass
        except WireError as e:
            self.failures.append(e)


def run_all(clients, address):
    """Start all; returns the threads, which end when the server does."""
    threads = [threading.Thread(target=c.run, args=(address,)) for c in clients]
    for t in threads:
        t.start()
    return threads
