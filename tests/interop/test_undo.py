"""Undo, undoLog and undoInfo: what Python's server does, and the same file afterwards."""

import contextlib
import pathlib
import pickle
import random
import shutil
import sys
import time
import types

import pytest
import transaction
import ZEO
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree
from persistent.TimeStamp import TimeStamp
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ReadOnlyError, UndoError

from interop_files import fstest
from twins import (Check, Delete, Store, Twin, Undo, commit, mapping, oids, outcome, parse_file,
                   same_files, serial_of, store, undo_id)
from wire import MAX_TID, Z64, Wire, WireError, p64, u64

CONFIGURATION = ('<zeo>\n  address {address}\n  %s\n</zeo>\n'
                 '<filestorage 1>\n  path {dir}/Data.fs\n  %s\n</filestorage>\n')
STAND_INS = pathlib.Path(__file__).resolve().parent / 'stand_ins'
A, B, C, D = oids(4)


def serving(zeo='', storage=''):
    return CONFIGURATION % (zeo, storage)


@pytest.fixture
def peers_twin(peer, twin, tmp_path):
    """A twin of each kind of server. At the end the files are the same and sound."""
    s = peer(serving())
    t = twin(s)
    yield t
    t.client.close()
    assert s.stop() == 0
    t.fs.close()
    same_files(tmp_path / 'Data.fs', tmp_path / 'Python.fs')
    assert fstest(tmp_path / 'Data.fs') == []


def data(n):
    return mapping(n)


def a_moment():
    """A time between two transactions."""
    time.sleep(0.01)
    now = time.time()
    time.sleep(0.01)
    return now


# --- undo ---

def test_undo_a_change(peers_twin):
    t = peers_twin
    first = t.store((A, data(1)), (B, data(10)))
    second = t.store((A, data(2)))
    undone = t.undo(second)
    assert t.client.loadBefore(A, MAX_TID) == (data(1), undone, None)
    assert t.client.loadBefore(A, undone) == (data(2), second, undone)
    assert t.client.loadBefore(B, MAX_TID) == (data(10), first, None)
    assert t.client.loadSerial(A, undone) == data(1)
    # a change on top of it
    third = t.store((A, data(3)))
    assert t.client.loadBefore(A, third) == (data(1), undone, third)


def test_undo_of_undo(peers_twin):
    t = peers_twin
    t.store((A, data(1)))
    tid = t.store((A, data(2)))
    for n in 1, 2, 1, 2, 1:
        tid = t.undo(tid)
        assert t.client.load(A) == (data(n), tid)


def test_undo_a_creation(peers_twin):
    t = peers_twin
    created = t.store((A, data(1)), (B, data(2)))
    undone = t.undo(created)
    for oid in A, B:
        assert outcome(t.client.getTid, oid)[0] == 'POSKeyError'
        assert outcome(t.client.loadBefore, oid, MAX_TID)[0] == 'POSKeyError'
        assert t.client.loadBefore(oid, undone)[1:] == (created, undone)
    back = t.undo(undone)
    assert t.client.load(A) == (data(1), back)
    t.undo(back)
    # created anew, by its old serial
    t.commit(Store(A, undone, data(5)))
    t.commit(Store(A, Z64, data(5)))


def test_undo_several_in_one_transaction(peers_twin):
    t = peers_twin
    t.store((A, data(1)), (B, data(1)))
    tids = [t.store((A, data(n)), (B, data(n))) for n in (2, 3, 4)]
    tid = t.undo(*reversed(tids))
    assert t.client.load(A) == (data(1), tid)
    again = t.undo(tid)
    assert t.client.load(B) == (data(4), again)
    # those that do not touch each other, in any order
    one, two = t.store((A, data(7))), t.store((B, data(7)))
    assert isinstance(t.undo(one, two), bytes)
    assert isinstance(t.undo(tids[0], tids[2]), tuple)  # in the wrong order


def test_the_same_twice(peers_twin):
    t = peers_twin
    t.store((A, data(1)))
    tid = t.store((A, data(2)))
    t.undo(tid, tid)
    t.undo(tid)
    t.store((B, data(1)))
    t.undo(t.store((B, data(2))))


def test_undo_an_older_one(peers_twin):
    """It is possible where the data came back meanwhile, and an error where it did not."""
    t = peers_twin
    t.store((A, data(1)))
    second = t.store((A, data(2)))
    t.store((A, data(3)))
    failed = t.undo(second)
    assert failed[0] == 'MultipleUndoErrors' and 'later transaction' in failed[1]
    third = t.store((A, data(2)))
    undone = t.undo(second)
    assert t.client.load(A) == (data(1), undone)
    assert t.undo(third)[0] == 'MultipleUndoErrors'


def test_undo_a_creation_that_was_changed(peers_twin):
    t = peers_twin
    first = t.store((A, data(1)), (B, data(1)))
    t.store((A, data(2)))
    failed = t.undo(first)
    assert failed[0] == 'MultipleUndoErrors' and "Can't undo an add" in failed[1]
    assert A.hex().lstrip('0') in failed[1] and len(failed[1].splitlines()) == 1
    t.store((B, data(2)))
    failed = t.undo(first)
    assert len(failed[1].splitlines()) == 2
    assert t.client.load(A)[0] == t.client.load(B)[0] == data(2)
    # what failed is over: the connection goes on
    t.store((C, data(1)))


def test_second_chance(peers_twin):
    """Two records of one object in a transaction: what fails for one may work for the other."""
    t = peers_twin
    t.store((A, data(1)))
    serial = t.fs.getTid(A)
    twice = t.commit(Store(A, serial, data(2)), Store(A, serial, data(3)))
    t.undo(twice)
    t.undo(t.store((A, data(4))))
    t.undo(twice)


@pytest.mark.parametrize('order', ['undo first', 'store first'])
def test_undo_and_store_in_one_transaction(peers_twin, order):
    t = peers_twin
    t.store((A, data(1)), (B, data(1)))
    second = t.store((A, data(2)))
    ops = [Undo(second), Store(B, t.fs.getTid(B), data(3)), Store(C, Z64, data(1)),
           Check(D, Z64)]
    if order == 'store first':
        ops.reverse()
    t.commit(*ops)
    tid = t.commit(*[o for o in ops if not isinstance(o, Check)])
    assert [t.client.load(oid) for oid in (A, B, C)] == [
        (data(1), tid), (data(3), tid), (data(1), tid)]


@pytest.mark.parametrize('order', [1, -1])
def test_undo_and_store_of_one_object(peers_twin, order):
    t = peers_twin
    t.store((A, data(1)))
    second = t.store((A, data(2)))
    t.commit(*[Undo(second), Store(A, second, data(3))][::order])
    t.store((A, data(4)))


def test_undo_a_deletion(peers_twin):
    t = peers_twin
    t.store((A, data(1)), (B, data(1)))
    deleted = t.commit(Delete(A, t.fs.getTid(A)))
    assert outcome(t.client.load, A)[0] == 'POSKeyError'
    back = t.undo(deleted)
    assert t.client.load(A) == (data(1), back)


def test_empty_transaction(peers_twin):
    t = peers_twin
    t.store((A, data(1)))
    empty = t.commit()
    t.undo(empty)
    assert len(list(t.client.iterator())) == 3


def test_random_undos(peers_twin):
    """Any of the last transactions, one or more at a time, fails or works as in Python."""
    t = peers_twin
    seed = random.randrange(1 << 32)
    print('seed', seed)
    rng = random.Random(seed)
    tids = []
    outcomes = set()
    for n in range(150):
        kind = rng.random()
        if kind < 0.4 or len(tids) < 3:
            chosen = rng.sample([A, B, C, D], rng.randrange(1, 4))
            tids.append(t.store(*[(oid, data(rng.randrange(3))) for oid in chosen]))
            continue
        picked = rng.sample(tids[-6:], rng.choice((1, 1, 1, 2, 3)))
        if rng.random() < 0.6:
            picked.sort(reverse=True)
        result = t.undo(*picked)
        outcomes.add(type(result))
        if isinstance(result, bytes):
            tids.append(result)
    assert outcomes == {bytes, tuple}


def test_returns_the_oids(peer, storage):
    """The answer to the vote, and the invalidations, name what was undone."""
    s = peer(serving())
    a, b = storage(s), Wire(s.address)
    store(a, (A, data(1)), (B, data(1)))
    tid = store(a, (A, data(2)), (B, data(2)))
    t = TransactionMetaData()
    a.tpc_begin(t)
    a.undo(undo_id(tid), t)
    assert sorted(a.tpc_vote(t)) == [A, B]
    undone = a.tpc_finish(t)
    told = []
    while (undone, [A, B]) not in told:  # Python's server may answer a ping before
        b.call('ping')
        told += [(t, sorted(o)) for t, o in b.invalidations()]
    assert told[-1] == (undone, [A, B])
    b.close()
    assert a.load(A) == (data(1), undone)  # nothing stale in the cache


@pytest.mark.parametrize('what', ['nothing', 'tid', 'oid', 'base64', 'other'])
def test_invalid_ids(peer, wires, what):
    s = peer(serving())
    with wires(s) as w:
        tid = w.commit([(A, Z64, data(1))])
        id = {'nothing': b'', 'tid': tid, 'oid': undo_id(p64(u64(tid) + 1)),
              'base64': b'!!!!', 'other': undo_id(b'short')}[what]
        w.send_async(('tpc_begin', 1, '', '', {}), ('undoa', id, 1))
        with pytest.raises(WireError) as e:
            w.call('vote', 1)
        if what == 'oid':
            assert e.value.name == 'ZODB.POSException.UndoError'
            assert e.value.data['_reason'] == 'Invalid transaction id'
        w.call('tpc_abort', 1)
        # the connection and the storage go on
        assert w.call('getTid', A) == tid
        w.commit([(B, Z64, data(1))])


def test_undo_needs_a_transaction(peer, wires):
    s = peer(serving())
    with wires(s) as w:
        tid = w.commit([(A, Z64, data(1))])
        with pytest.raises(WireError) as e:
            w.call('undoa', undo_id(tid), 77)
        assert e.value.name == 'ZODB.POSException.StorageTransactionError'


def test_read_only(server, python_server, storage, tmp_path):
    """No undo in a read-only storage, but its undoLog."""
    s = server(serving())
    a = storage(s)
    tid = store(a, (A, data(1)))
    a.close()
    assert s.stop() == 0
    expected = None
    for make in python_server, server:
        r = make(serving('', 'read-only true'))
        b = storage(r, read_only=True)
        with pytest.raises(ReadOnlyError):
            commit(b, [Undo(tid)])
        log = b.undoLog()
        assert [e['id'] for e in log] == [undo_id(tid)]
        assert expected in (None, log)
        expected = log
        b.close()
        assert r.stop() == 0


def test_after_pack(peers_twin):
    """Nothing that was packed can be undone; what came later can."""
    t = peers_twin
    t.store((Z64, mapping(0, A)))
    gone = t.store((A, data(0)))
    old = t.store((A, data(1)))
    packed = a_moment()
    new = t.store((A, data(2)))
    newer = t.store((A, data(3)))
    t.pack(packed)
    for tid in gone, old:
        assert t.undo(tid)[0] == 'UndoError'
    assert [e['id'] for e in t.client.undoLog()] == [undo_id(newer), undo_id(new)]
    undone = t.undo(newer)
    assert t.client.load(A) == (data(2), undone)
    undone = t.undo(new)
    assert t.client.load(A) == (data(1), undone)
    t.undo(newer)


def test_deep_back_pointers(peers_twin):
    """A chain of undos is followed to its data, however long."""
    t = peers_twin
    t.store((A, data(1)))
    tid = t.store((A, data(2)))
    for _ in range(300):
        tid = t.undo(tid)
    assert t.client.load(A) == (data(2), tid)
    packed = a_moment()
    t.undo(tid)
    t.pack(packed)
    assert t.client.load(A)[0] == data(1)


# --- conflicts that resolve ---

def test_undo_resolves(peer, tmp_path):
    """BTrees' own classes: the undo of one change keeps those that came after it."""
    s = peer(serving())
    with contextlib.closing(ZEO.DB(s.address, wait_timeout=30)) as db:
        _undo_trees(db)
    assert s.stop() == 0
    assert fstest(tmp_path / 'Data.fs') == []


def _change(db, note, change):
    with db.transaction(note) as c:
        change(c.root())


def _undo_trees(db):
    def more(root):
        root['tree'].update({5: 555, 200: 200})

    def numbers(root):
        root['tree'][100] = 100
        del root['tree'][3]

    _change(db, 'create', lambda root: root.update(
        tree=OOBTree({n: n for n in range(10)}), length=Length(5)))
    _change(db, 'count', lambda root: root['length'].change(7))
    _change(db, 'again', lambda root: root['length'].change(100))
    _change(db, 'numbers', numbers)
    _change(db, 'more', more)
    log = {e['description']: e['id'] for e in db.undoLog(0, 20)}
    db.undoMultiple([log['numbers'], log['count']])
    transaction.commit()
    with db.transaction() as c:
        expected = {n: n for n in range(10)} | {5: 555, 200: 200}
        assert dict(c.root()['tree']) == expected
        assert c.root()['length']() == 105
    # now it cannot be: the same key was changed after it
    _change(db, 'mine', lambda root: root['tree'].update({5: 1}))
    _change(db, 'yours', lambda root: root['tree'].update({5: 2}))
    db.undo(db.undoLog(0, 2)[1]['id'])
    with pytest.raises(UndoError):
        transaction.commit()
    transaction.abort()


# --- undoLog and undoInfo ---

def _history_of_a_site(t):
    """Transactions of all kinds."""
    t.store((Z64, mapping(0, A, B)), user='', description='initial database creation')
    t.store((A, data(1)), user='/site admin', description='/site/page/edit\n\nmore')
    t.store((A, data(2)), (B, data(1)), user='/site/sub j\xfcrgen',
            description='d\xe9j\xe0 \u20ac')
    t.commit(description='empty')
    t.store((B, data(2)), user='x', extension={'path': '/site/page', 'n': 1})
    t.store((B, data(3)), user='x', extension={'path': '/other', 'n': [1, 2], 'k\xe9y': 'v\xe4l'})
    t.store((B, data(4)), user='x', extension={'path': '/site', 'nothing': None})
    # an extension replaces what the log says itself
    t.store((A, data(5)), user='y', extension={'description': 'mine', 'id': b'id', 'size': 0})
    t.undo(t.store((A, data(6)), user='z'))


RANGES = [(0, -20), (0, 20), (0, 1), (1, 3), (3, 4), (0, -1), (2, -3), (5, 5), (5, 2), (0, 0),
          (100, 200), (0, 1 << 40), (7, -100), (-3, 2), (-2, -2), (0, -1 << 40)]


def test_undo_log(peers_twin):
    t = peers_twin
    assert t.client.undoLog() == list(t.fs.undoLog())
    _history_of_a_site(t)
    expected = t.fs.undoLog(0, 100)
    assert t.client.undoLog(0, 100) == expected and len(expected) == 10
    assert t.client.undoLog() == t.fs.undoLog()
    for first, last in RANGES:
        expected = t.fs.undoLog(first, last)
        assert t.client.undoLog(first, last) == expected, (first, last)
        assert t.client.undoInfo(first, last) == expected, (first, last)
    assert t.client.undoInfo() == t.fs.undoInfo()
    e = t.client.undoLog(0, 1)[0]
    assert sorted(e) == ['description', 'id', 'size', 'time', 'user_name']
    assert type(e['id']) is bytes and type(e['time']) is float and type(e['user_name']) is bytes


def test_undo_log_msgpack(server, twin, tmp_path):
    t = twin(server(serving('msgpack true')))
    assert t.client.protocol_version == b'M5'
    _history_of_a_site(t)

    def plain(log):
        # a list arrives as a tuple, which is pickled to another size
        return [{k: tuple(v) if isinstance(v, list) else v for k, v in e.items() if k != 'size'}
                for e in log]

    assert plain(t.client.undoLog(0, 100)) == plain(t.fs.undoLog(0, 100))
    assert plain(t.client.undoInfo(1, -3, {'user_name': b'x'})) == plain(
        t.fs.undoInfo(1, -3, {'user_name': b'x'}))


SPECIFICATIONS = [
    {}, None, {'user_name': b'x'}, {'user_name': 'x'}, {'user_name': b'x', 'n': 1},
    {'description': b'empty'}, {'description': 'mine'}, {'n': [1, 2]}, {'n': (1, 2)},
    {'n': 1.0}, {'n': True}, {'k\xe9y': 'v\xe4l'}, {'nothing': None}, {'no such key': None},
    {'no such key': 1}, {'size': 0}, {'id': b'id'}, {b'user_name': b'x'},
    {'user_name': '/site/sub j\xfcrgen'.encode()}, {1: 2},
]


@pytest.mark.parametrize('spec', SPECIFICATIONS, ids=repr)
def test_specifications(specification_twin, spec):
    t = specification_twin
    for first, last in (0, 100), (0, -20), (1, 2), (1, -2), (2, 3):
        assert t.client.undoInfo(first, last, spec) == t.fs.undoInfo(first, last, spec)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A file with transactions of all kinds."""
    folder = tmp_path_factory.mktemp('site')
    one, two = (FileStorage(str(folder / name)) for name in ('Data.fs', 'Python.fs'))
    _history_of_a_site(Twin(one, two))
    one.close()
    two.close()
    return folder


@pytest.fixture
def specification_twin(server, twin, site, tmp_path):
    for name in 'Data.fs', 'Python.fs':
        shutil.copy(site / name, tmp_path / name)
    return twin(server(serving()))


def test_time_and_size_in_a_specification(specification_twin):
    t = specification_twin
    for e in t.fs.undoLog(0, 100):
        for key in 'time', 'size', 'id', 'user_name', 'description':
            spec = {key: e[key]}
            assert t.client.undoInfo(0, 100, spec) == t.fs.undoInfo(0, 100, spec), spec


@pytest.fixture
def prefix(monkeypatch):
    monkeypatch.syspath_prepend(str(STAND_INS))
    from ZopeUndo.Prefix import Prefix
    yield Prefix
    for name in 'ZopeUndo.Prefix', 'ZopeUndo':
        sys.modules.pop(name, None)


@pytest.mark.parametrize('path', ['', '/', '/site', '/site/page', '/sit', 'site', '/other', '/x/y'])
def test_prefix(peer, twin, tmp_path, prefix, path):
    """Zope's way to ask for the transactions of a folder."""
    t = twin(peer(serving(), env={'PYTHONPATH': str(STAND_INS)}))
    for p in '/site', '/site/page', '/site/page/a user', '/other', '', '/', 'relative', '/site who':
        t.store((A, data(p)), extension={'path': p})
    spec = {'path': prefix(path)}
    expected = t.fs.undoInfo(0, 100, spec)
    assert t.client.undoInfo(0, 100, spec) == expected
    assert t.client.undoInfo(1, -2, spec) == t.fs.undoInfo(1, -2, spec)
    assert len(expected) < 9


def test_wrong_arguments(peer, wires):
    """An error, or an empty answer; and the connection goes on."""
    s = peer(serving())
    with wires(s) as w:
        w.commit([(A, Z64, data(1))])
        for args in (('a', 'b'), (None, None), (0, 10, 5), (0, 10, 'spec')):
            method = 'undoInfo' if len(args) == 3 else 'undoLog'
            with pytest.raises(WireError):
                w.call(method, *args)
        assert len(w.call('undoLog', 0, -20)) == 1


def test_extensions_byte_for_byte(server, storage, tmp_path):
    """Whatever pickle is there stays as it is, through a pack, too, and is shown."""
    extensions = [pickle.dumps({'n': n, 'l': [n], 'u': '\xe9'}, n) for n in range(4)]
    extensions += [b'}.', b'(dp1\nS\'a\'\nI1\ns.', b'not a pickle']
    path = tmp_path / 'Data.fs'
    fs = FileStorage(str(path))
    meta = types.SimpleNamespace(user=b'u', description=b'd')
    for n, meta.extension_bytes in enumerate(extensions):
        for value in n, n + 1:
            fs.tpc_begin(meta)
            fs.store(p64(n), serial_of(fs, p64(n)), data(value), '', meta)
            fs.tpc_vote(meta)
            fs.tpc_finish(meta)
    log = fs.undoLog(0, 100)
    fs.close()
    s = server(serving('', 'pack-gc false'))
    a = storage(s)
    assert a.undoLog(0, 100) == log
    store(a, (p64(1), data(100)), extension={'a': 1})
    a.pack(TimeStamp(a.lastTransaction()).timeTime() - 0.001)
    a.close()
    assert s.stop() == 0
    packed = parse_file(path)
    assert [t.extension for t in packed[:-1]] == extensions
    assert {t.status for t in packed[:-1]} == {'p'}
    assert pickle.loads(packed[-1].extension) == {'a': 1}
