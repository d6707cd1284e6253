"""Iteration, restore, record_iternext and deleteObject: copies in and out are equal."""

import os
import random
import shutil
import threading
import time

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError, ReadOnlyError

from interop_files import fstest
from test_datafs import FIRST_TID, MAKERS
from twins import (Delete, Restore, Store, Undo, commit, mapping, oids, outcome, same_files,
                   store)
from wire import (MAX_TID, Z64, Wire, WireError, is_sanitized, n_sockets, p64, resident_kib, u64,
                  wait_until)

CONFIGURATION = ('<zeo>\n  address {address}\n  %s\n</zeo>\n'
                 '<filestorage 1>\n  path {dir}/Data.fs\n  %s\n</filestorage>\n')
A, B, C, D = oids(4)


def serving(zeo='', storage=''):
    return CONFIGURATION % (zeo, storage)


def data(n):
    return mapping(n)


@pytest.fixture(scope='module', params=MAKERS)
def made(request, tmp_path_factory):
    """A data file of Python's, not to be touched."""
    path = tmp_path_factory.mktemp(request.param) / 'Data.fs'
    MAKERS[request.param](path).close()
    return path


@pytest.fixture
def beside(made, tmp_path, opened):
    """A copy of it at Data.fs, and another one open in Python."""
    shutil.copy(made, tmp_path / 'Data.fs')
    shutil.copy(made, tmp_path / 'Python.fs')
    return opened(FileStorage(str(tmp_path / 'Python.fs')))


def listed(iterator):
    """All that an iterator has to tell."""
    return [(t.tid, t.status, t.user, t.description, t.extension,
             [(r.oid, r.tid, r.data, r.data_txn) for r in t]) for t in iterator]


# --- iterator ---

def test_everything(server, beside, storage):
    """With all starts and stops, open, exact, between and beyond."""
    s = server(serving())
    a = storage(s)
    everything = listed(beside.iterator())
    assert listed(a.iterator()) == everything
    tids = [t[0] for t in everything]
    moments = [None] + [p64(u64(t) + d) for t in tids[::3] + tids[-1:] for d in (-1, 0, 1)]
    for start in moments + [p64(1), MAX_TID]:
        for stop in random.Random(1).sample(moments, 8) + [None, p64(1), MAX_TID]:
            expected = [t.tid for t in beside.iterator(start, stop)]
            assert [t.tid for t in a.iterator(start, stop)] == expected, (start, stop)


def test_everything_in_msgpack(server, beside, storage):
    s = server(serving('msgpack true'))
    a = storage(s)
    assert a.protocol_version == b'M5'

    def plain(x):
        if isinstance(x, (list, tuple)):
            return tuple(map(plain, x))
        return {k: plain(v) for k, v in x.items()} if isinstance(x, dict) else x

    assert plain(listed(a.iterator())) == plain(listed(beside.iterator()))


def test_empty(peer, storage):
    a = storage(peer(serving()))
    assert listed(a.iterator()) == []
    assert listed(a.iterator(p64(5), MAX_TID)) == []


def test_an_iterator_keeps_to_its_beginning(peer, storage):
    """What is committed after its start it does not show."""
    a = storage(peer(serving()))
    tids = [store(a, (A, data(n))) for n in range(3)]
    it, stopped = a.iterator(), a.iterator(None, MAX_TID)
    assert next(it).tid == tids[0]
    store(a, (A, data(3)))
    assert [t.tid for t in it] == tids[1:]
    assert [t.tid for t in stopped] == tids
    assert [t.tid for t in a.iterator(tids[2])] == [tids[2], a.lastTransaction()]


@pytest.fixture
def three(peer, wires):
    """A wire to a server with three transactions, and their tids."""
    s = peer(serving())
    w = wires(s)
    tids = [w.commit([(oid, Z64, data(n)) for oid in (A, B)[:n % 2 + 1]])
            for n, (A, B) in enumerate([oids(2, 10), oids(2, 20), oids(2, 30)])]
    return s, w, tids


def exhaust(w, method, iid):
    found = []
    while True:
        item = w.call(method, iid)
        if item is None:
            return found
        found.append(item)


def key_error(w, method, *args):
    with pytest.raises(WireError) as e:
        w.call(method, *args)
    assert e.value.name == 'builtins.KeyError'
    return tuple(e.value.data)


def test_ends_once(three):
    """T58: the end is told once, then the iterator is unknown."""
    s, w, tids = three
    iid = w.call('iterator_start', None, None)
    assert [t[0] for t in exhaust(w, 'iterator_next', iid)] == tids
    assert key_error(w, 'iterator_next', iid) == (iid,)
    assert key_error(w, 'iterator_record_start', iid, tids[-1]) == (iid,)
    assert key_error(w, 'iterator_next', 12345) == (12345,)
    assert key_error(w, 'iterator_record_next', -1) == (-1,)


def test_records_end_once(three):
    s, w, tids = three
    iid = w.call('iterator_start', tids[1], None)
    assert key_error(w, 'iterator_record_start', iid, tids[1]) == (iid,)  # nothing was shown yet
    assert w.call('iterator_next', iid)[0] == tids[1]
    for _ in range(2):
        rid = w.call('iterator_record_start', iid, tids[1])
        assert rid != iid
        records = exhaust(w, 'iterator_record_next', rid)
        assert [(r[0], r[1], r[3]) for r in records] == [
            (p64(20), tids[1], None), (p64(21), tids[1], None)]
        assert key_error(w, 'iterator_record_next', rid) == (rid,)
    with pytest.raises(WireError) as e:
        w.call('iterator_record_start', iid, tids[2])
    assert 'Out-of-order request for record iterator' in str(e.value.data)
    # a record iterator outlives the next step of its transactions'
    rid = w.call('iterator_record_start', iid, tids[1])
    assert w.call('iterator_next', iid)[0] == tids[2]
    assert len(exhaust(w, 'iterator_record_next', rid)) == 2


def test_garbage(three):
    s, w, tids = three
    kept, gone, again = (w.call('iterator_start', None, None) for _ in range(3))
    w.call('iterator_next', gone)
    record = w.call('iterator_record_start', gone, tids[0])
    w.call('iterator_gc', [gone, record, 4711])
    w.send_async(('iterator_gc', [again, gone]))
    for iid in gone, again:
        assert key_error(w, 'iterator_next', iid) == (iid,)
    key_error(w, 'iterator_record_next', record)
    assert len(exhaust(w, 'iterator_next', kept)) == 3


def test_iterators_are_a_connections_own(three, wires):
    s, w, tids = three
    iid = w.call('iterator_start', None, None)
    with wires(s) as other:
        key_error(other, 'iterator_next', iid)
        other.call('iterator_gc', [iid])
    assert len(exhaust(w, 'iterator_next', iid)) == 3


def test_read_only_clients_iterate(server, beside, storage):
    a = storage(server(serving('', 'read-only true')), read_only=True)
    assert listed(a.iterator()) == listed(beside.iterator())


@pytest.mark.parametrize('args', [
    ('a', None), (None, 5), (b'short', None), (None, b'x' * 9), (None,), (1, 2, 3)], ids=repr)
def test_wrong_arguments(server, wires, args):
    w = wires(server(serving()))
    last = w.commit([(A, Z64, data(1))])
    with pytest.raises(WireError):
        w.call('iterator_next', w.call('iterator_start', *args))
    assert w.call('lastTransaction') == last
    for method in 'iterator_next', 'iterator_record_next':
        with pytest.raises(WireError):
            w.call(method, 'x')
    with pytest.raises(WireError):
        w.call('iterator_gc', 5)
    assert w.call('lastTransaction') == last


def test_while_others_commit(server, wires):
    """T26: an iterator has every transaction that was acknowledged before it was started, and
    after these nothing is left out."""
    s = server(serving())
    acknowledged, stop, failed = [], threading.Event(), []

    def write(n):
        try:
            with Wire(s.address, 'ZM'[n % 2]) as w:
                serial = Z64
                while not stop.is_set():
                    serial = w.commit([(p64(n), serial, data('x' * random.randrange(3000)))])
                    acknowledged.append(serial)
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(1, 4)]
    for t in threads:
        t.start()
    seen = []
    with wires(s) as w:
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            before = list(acknowledged)
            start = max(before[-200:][:1], default=None)
            found = [t[0] for t in exhaust(w, 'iterator_next', w.call(
                'iterator_start', start, None))]
            assert {t for t in before if t >= (start or Z64)} <= set(found)
            seen.append((start, found))
    stop.set()
    for t in threads:
        t.join()
    assert failed == [] and len(seen) > 5 and len(acknowledged) > 50
    everything = sorted(acknowledged)
    for start, found in seen:
        first = everything.index(found[0]) if found else 0
        assert found == everything[first:first + len(found)]
        assert start is None or not found or found[0] == start


def test_a_pack_in_the_middle(peer, storage):
    """R8: what is under way ends on the file it began with."""
    a = storage(peer(serving('', 'pack-gc false')))
    tids = [store(a, (A, data(n)), (B, data(n))) for n in range(50)]
    it = a.iterator()
    found = listed(next(it) for _ in range(3))
    t = next(it)
    records = iter(t)
    first = next(records)
    time.sleep(0.01)
    a.pack(time.time())
    store(a, (C, data(1)))
    assert (first.oid, next(records).oid) == (A, B)
    with pytest.raises(StopIteration):
        next(records)
    found += [(t.tid,)] + listed(it)
    assert [f[0] for f in found] == tids
    assert found[10][5] == [(A, tids[10], data(10), None), (B, tids[10], data(10), None)]
    assert [t.tid for t in a.iterator()] == [tids[-1], a.lastTransaction()]


def test_ten_thousand_iterators(programs, server, wires):
    """T44: they hurt nobody else, and go with their connection."""
    s = server(serving())
    with wires(s) as other:
        last = other.commit([(A, Z64, data(1))])
        before = resident_kib(s.pid)
        w = Wire(s.address)
        refused = 0
        for n in range(0, 10000, 500):
            ids = [w.send('iterator_start', None, None) for _ in range(500)]
            for id in ids:
                try:
                    iid = w.reply(id)
                except WireError:
                    refused += 1
        assert other.call('getTid', A) == last
        iid = other.call('iterator_start', None, None)
        assert len(exhaust(other, 'iterator_next', iid)) == 1
        if not is_sanitized(programs / 'zkrunzeo'):
            assert resident_kib(s.pid) - before < 16 << 10
        with open(f'/proc/{s.pid}/limits') as f:
            assert f.read()
        w.close()
        with wires(s) as again:
            assert len(exhaust(again, 'iterator_next', again.call(
                'iterator_start', None, None))) == 1
        assert n_sockets(s.pid) < 20
        assert refused < 10000


def test_zombies_are_closed(server, wires, tmp_path):
    """A file that was replaced is let go of when its last iterator is."""
    s = server(serving('', 'pack-gc false'))

    def deleted():
        links = []
        for fd in os.listdir(f'/proc/{s.pid}/fd'):
            try:
                links.append(os.readlink(f'/proc/{s.pid}/fd/{fd}'))
            except FileNotFoundError:
                pass
        return [x for x in links if 'Data.fs' in x and '(deleted)' in x]

    w = wires(s)
    serial = Z64
    for n in range(10):
        serial = w.commit([(A, serial, data(n))])
    holder = Wire(s.address)
    iid = holder.call('iterator_start', None, None)
    assert holder.call('iterator_next', iid) is not None
    time.sleep(0.01)
    w.call('pack', time.time(), True)
    assert len(exhaust(holder, 'iterator_next', iid)) == 9
    iid = holder.call('iterator_start', None, None)
    time.sleep(0.01)
    holder.close()
    wait_until('the old file is closed', lambda: not deleted())


# --- copies ---

def test_copy_out(server, beside, storage, opened, tmp_path):
    a = storage(server(serving()))
    ours, theirs = (tmp_path / name for name in ('Ours.fs', 'Theirs.fs'))
    for path, source in (ours, a), (theirs, beside):
        fs = FileStorage(str(path))
        fs.copyTransactionsFrom(source)
        fs.close()
    assert ours.read_bytes() == theirs.read_bytes()


def test_copy_in(peer, made, storage, opened, tmp_path):
    shutil.copy(made, tmp_path / 'Source.fs')
    source = opened(FileStorage(str(tmp_path / 'Source.fs'), read_only=True))
    fs = FileStorage(str(tmp_path / 'Python.fs'))
    fs.copyTransactionsFrom(source)
    s = peer(serving())
    a = storage(s)
    a.copyTransactionsFrom(source)
    assert a.lastTransaction() == fs.lastTransaction()
    assert listed(a.iterator()) == listed(fs.iterator())
    for oid in a.new_oid(), fs.new_oid():
        assert oid > max(r.oid for t in fs.iterator() for r in t)
    a.close()
    assert s.stop() == 0
    fs.close()
    same_files(tmp_path / 'Data.fs', tmp_path / 'Python.fs')
    assert fstest(tmp_path / 'Data.fs') == []


# --- restore ---

@pytest.fixture
def peers_twin(peer, twin, tmp_path):
    """At the end the files are the same and sound."""
    s = peer(serving())
    t = twin(s)
    yield t
    t.client.close()
    assert s.stop() == 0
    t.fs.close()
    same_files(tmp_path / 'Data.fs', tmp_path / 'Python.fs')
    assert fstest(tmp_path / 'Data.fs') == []


def restore(t, n, *records, status=' ', **kw):
    """Commit a transaction of the year 2020 with restored records (oid, data, prev_txn)."""
    tid = year(n)
    return t.commit(*[Restore(oid, tid, d, prev) for oid, d, prev in records],
                    tid=tid, status=status, **kw)


def year(n):
    return p64(FIRST_TID + (n << 32))


def test_restore_with_hints(peers_twin):
    """T20: a hint makes a back-pointer where the data is the same, and data otherwise."""
    t = peers_twin
    first = restore(t, 1, (A, data(1), None), (B, data(1), None))
    assert first == year(1)
    second = restore(t, 2, (A, data(2), None))
    # as an undo was: back to the first
    assert restore(t, 3, (A, data(1), first)) == year(3)
    # and its undo
    restore(t, 4, (A, data(2), second))
    # through back-pointers
    restore(t, 5, (A, data(1), year(3)), user='u', description='d')
    # a hint that is wrong: other data of the same length, of another length, no such record
    restore(t, 6, (A, data(3), first))
    restore(t, 7, (A, data('longer'), first))
    restore(t, 8, (B, data(9), second))
    # un-creation
    restore(t, 9, (B, None, None))
    restore(t, 10, (B, data(1), first), (C, data(1), None), status='p')
    for oid in A, B, C:
        assert outcome(t.client.load, oid) == outcome(t.fs.load, oid)
    assert t.client.history(A, 20) == t.fs.history(A, 20)


def test_restore_of_a_hint_to_no_transaction(peers_twin):
    t = peers_twin
    restore(t, 1, (A, data(1), None))
    assert restore(t, 2, (A, data(1), year(0))) == (
        'UndoError', 'Undo error None: Invalid transaction id')
    assert restore(t, 3, (A, data(2), None)) == year(3)


def test_restore_makes_oids_known(peers_twin):
    t = peers_twin
    restore(t, 1, (p64(1000), data(1), None))
    assert t.client.new_oid() == t.fs.new_oid() == p64(1001)


def test_restore_and_undo(peers_twin):
    """What was restored can be undone, and a restored back-pointer is one."""
    t = peers_twin
    restore(t, 1, (A, data(1), None))
    restore(t, 2, (A, data(2), None))
    restore(t, 3, (A, data(1), year(1)))
    undone = t.commit(Undo(year(3)))
    assert t.client.load(A) == (data(2), undone)
    undone = t.commit(Undo(undone))
    assert t.client.load(A) == (data(1), undone)


def test_restored_transactions_invalidate(server, wires):
    """Other clients are told what Python's server does not tell them: what has changed."""
    s = server(serving())
    with wires(s) as w, wires(s) as other:
        tid = year(1)
        w.call('tpc_begin', 1, '', '', {}, tid, ' ')
        w.send_async(('restorea', A, tid, data(1), None, 1))
        w.call('vote', 1)
        assert w.call('tpc_finish', 1) == tid
        assert other.call('ping') is None
        assert other.call('lastTransaction') == tid
        assert [(t, o) for t, o in other.invalidations()] == [(tid, [A])]
        assert other.call('loadBefore', A, MAX_TID)[:2] == (data(1), tid)


def test_restore_backwards_is_refused(server, wires):
    """R4: a given tid is newer than the last."""
    s = server(serving())
    with wires(s) as w:
        last = w.commit([(A, Z64, data(1))])
        for tid in p64(u64(last) - 1), last:
            w.call('tpc_begin', 5, '', '', {}, tid, ' ')
            w.send_async(('restorea', A, tid, data(2), None, 5))
            with pytest.raises(WireError):
                w.call('vote', 5)
            w.call('tpc_abort', 5)
        assert w.call('lastTransaction') == last


# --- record_iternext ---

def walk(record_iternext):
    found, next = [], None
    while True:
        r = outcome(record_iternext, next)
        found.append(r)
        if isinstance(r[0], str) or r[3] is None:
            return found
        next = r[3]


def test_record_iternext(server, beside, storage):
    a = storage(server(serving()))
    assert walk(a.record_iternext) == walk(beside.record_iternext)
    for oid in [p64(n) for n in (0, 1, 2, 3, 4, 5, 8, 300, 301, 70000, 1 << 40)] + [b'\xff' * 8]:
        assert outcome(a.record_iternext, oid) == outcome(beside.record_iternext, oid), oid


def test_record_iternext_of_nothing(peer, storage):
    a = storage(peer(serving()))
    assert outcome(a.record_iternext, None)[0] == 'ValueError'
    store(a, (B, data(1)))
    assert a.record_iternext() == (B, a.lastTransaction(), data(1), None)
    assert a.record_iternext(A) == a.record_iternext(B) == a.record_iternext()
    assert outcome(a.record_iternext, C)[0] == 'ValueError'


def test_record_iternext_of_many(server, storage):
    """All oids, in order, near and far, also of pages, hash and boundaries."""
    rng = random.Random(4)
    some = {rng.randrange(1 << rng.choice((8, 12, 20, 40, 63))) for _ in range(400)}
    some |= set(range(1000, 1400)) | {127, 128, (1 << 63) - 1, 1 << 63}
    a = storage(server(serving()))
    store(a, *[(p64(n), data(n % 256)) for n in rng.sample(sorted(some), len(some))])
    found = walk(a.record_iternext)
    assert [r[0] for r in found] == [p64(n) for n in sorted(some)]
    assert all(r[2] == data(u64(r[0]) % 256) for r in found)


# --- deleteObject ---

def test_delete(peers_twin):
    t = peers_twin
    first = t.store((A, data(1)), (B, data(1)), (C, data(1)))
    assert t.commit(Delete(D, Z64))[0] == 'POSKeyError'
    assert t.commit(Delete(A, Z64))[0] == 'ConflictError'
    deleted = t.commit(Delete(A, first), Delete(B, first), Store(C, first, data(2)))
    for oid in A, B:
        assert outcome(t.client.load, oid)[0] == 'POSKeyError'
        assert outcome(t.client.getTid, oid)[0] == 'POSKeyError'
        assert t.client.loadBefore(oid, deleted) == (data(1), first, deleted)
        assert outcome(t.client.loadSerial, oid, deleted) == outcome(t.fs.loadSerial, oid, deleted)
        assert outcome(t.client.history, oid, 5) == outcome(t.fs.history, oid, 5)
    t.commit(Delete(A, first))
    t.commit(Delete(A, deleted))
    assert walk(t.client.record_iternext) == walk(t.fs.record_iternext)
    t.commit(Store(B, deleted, data(3)))


def test_delete_and_store_in_one_transaction(peers_twin):
    t = peers_twin
    first = t.store((A, data(1)), (B, data(1)))
    t.commit(Delete(A, first), Store(A, first, data(2)))
    t.commit(Store(B, first, data(2)), Delete(B, first))


def test_deleted_objects_in_a_clients_cache(peer, storage):
    """The client that deleted does not go on to show it."""
    a = storage(peer(serving()))
    tid = store(a, (A, data(1)))
    assert a.load(A) == (data(1), tid)
    commit(a, [Delete(A, tid)])
    with pytest.raises(POSKeyError):
        a.load(A)


def test_delete_read_only(server, storage, wires):
    s = server(serving())
    a = storage(s)
    tid = store(a, (A, data(1)))
    b = storage(s, read_only=True)
    with pytest.raises(ReadOnlyError):
        commit(b, [Delete(A, tid)])
    assert a.load(A) == (data(1), tid)
