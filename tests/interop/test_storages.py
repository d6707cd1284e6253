"""Storages around and beside each other: what a stock client sees of them, and Python's server
shows alike."""

import contextlib
import io
import shutil
import time
import zlib

import pytest
import transaction
import ZODB
import ZODB.blob
import ZODB.POSException
from BTrees.IIBTree import IISet
from BTrees.Length import Length
from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError
from zodbpickle.pickle import Pickler, Unpickler

from twins import record, strong
from wire import MAX_TID, WireError, Z64, p64, wait_until

ZEO_SECTION = '<zeo>\n  address {address}\n</zeo>\n'
READ_ONLY_SECTION = '<zeo>\n  address {address}\n  read-only true\n</zeo>\n'


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A server that is killed leaves the temporary blobs of a DemoStorage behind."""
    folder = tmp_path / 'tmp'
    folder.mkdir()
    monkeypatch.setenv('TMPDIR', str(folder))
    return folder


def file_section(name, more=''):
    return f'<filestorage {name}>\n  path {{dir}}/{name}.fs\n  {more}\n</filestorage>\n'


def commit(storage, stores=(), checks=()):
    t = TransactionMetaData('user', 'description')
    storage.tpc_begin(t)
    try:
        for oid, serial, data in stores:
            storage.store(p64(oid), serial, data, '', t)
        for oid, serial in checks:
            storage.checkCurrentSerialInTransaction(p64(oid), serial, t)
        storage.tpc_vote(t)
        return storage.tpc_finish(t)
    except BaseException:
        storage.tpc_abort(t)
        raise


def make_file(path, n=3):
    """A file with object 0 in n revisions, 1 and 2 in the first transaction."""
    fs = FileStorage(str(path))
    tids = [commit(fs, [(0, Z64, record({'r': 0, 'next': strong(p64(1))})),
                        (1, Z64, record({'one': strong(p64(2))})), (2, Z64, record({'two': 2}))])]
    for i in range(1, n):
        tids.append(commit(fs, [(0, tids[-1], record({'r': i, 'next': strong(p64(1))}))]))
    fs.close()
    return tids


# --- what clients are told ---

KINDS = {
    'mapping': '<mappingstorage 1/>\n',
    'named mapping': '<mappingstorage 1>\n  name memory\n</mappingstorage>\n',
    'file': file_section('1'),
    'demo': '<demostorage 1/>\n',
    'named demo': "<demostorage 1>\n  name it's\n</demostorage>\n",
    'demo on a file': f"<demostorage 1>\n{file_section('base')}</demostorage>\n",
    'demo with changes': (f"<demostorage 1>\n{file_section('changes')}"
                          "<mappingstorage>\n  name it's\n</mappingstorage>\n</demostorage>\n"),
    'demo in memory': ('<demostorage 1>\n<mappingstorage/>\n<mappingstorage changes>\n'
                       '  name it\'s "it"\n</mappingstorage>\n</demostorage>\n'),
    'demo on a demo': ('<demostorage 1>\n<demostorage x/>\n'
                       f"<demostorage changes>\n{file_section('changes')}</demostorage>\n"
                       '</demostorage>\n'),
}


def info_of(server, wires):
    return wires(server).call('get_info')


@pytest.mark.parametrize('kind', KINDS)
def test_info(server, python_server, wires, kind, tmp_path):
    """T57"""
    ours = info_of(server(ZEO_SECTION + KINDS[kind]), wires)
    for path in tmp_path.glob('*.fs*'):
        if path.is_file():
            path.unlink()
    theirs = info_of(python_server(ZEO_SECTION + KINDS[kind]), wires)
    assert ours == theirs


@pytest.mark.parametrize('kind', ['zlibstorage', 'serverzlibstorage'])
def test_zlib_info(server, wires, kind):
    """As zc.zlibstorage around a FileStorage."""
    info = info_of(server(f'%import zc.zlibstorage\n{ZEO_SECTION}<{kind} 1>\n'
                          f"{file_section('data')}</{kind}>\n"), wires)
    assert [name for _, name in info['interfaces']] == [
        'IStorageRestoreable', 'IStorageIteration', 'IStorageUndoable',
        'IStorageCurrentRecordIteration', 'IExternalGC', 'IStorage', 'IStorageWrapper',
        'Interface']
    assert info['supports_record_iternext']
    assert info['supportsUndo']
    assert info['name'].endswith('/data.fs')


# --- DemoStorage ---

class Names:
    """Tids of commits by their order: two servers give different ones."""

    def __init__(self, known):
        self.names = {tid: f'base {i}' for i, tid in enumerate(known)}

    def add(self, tid):
        self.names[tid] = f'change {len(self.names)}'
        return tid

    def __call__(self, value):
        if isinstance(value, (list, tuple)):
            return [self(v) for v in value]
        if isinstance(value, dict):
            return {k: self(v) for k, v in value.items()
                    if k not in ('time', 'serial', 'extension')}  # a MappingStorage's own
        return self.names.get(value, value) if isinstance(value, bytes) else value


def outcome(f, *args):
    try:
        return f(*args)
    except (POSKeyError, ConflictError) as e:
        return type(e).__name__


def loads(storage, names, tids):
    """Every object as of every moment."""
    found = {}
    for oid in range(5):
        for tid in [*tids, MAX_TID]:
            found[oid, names(tid)] = names(outcome(storage.loadBefore, p64(oid), tid))
            found[oid, names(tid), 'serial'] = outcome(storage.loadSerial, p64(oid), tid)
        found[oid, 'history'] = names(outcome(storage.history, p64(oid), 10))
        found[oid, 'short history'] = names(outcome(storage.history, p64(oid), 2))
        found[oid, 'tid'] = names(outcome(storage.getTid, p64(oid)))
    return found


DEMOS = {
    'in memory': lambda base: f'<demostorage 1>\n{base}</demostorage>\n',
    'mapping': lambda base: f'<demostorage 1>\n{base}<mappingstorage changes/>\n</demostorage>\n',
    'file': lambda base: (f"<demostorage 1>\n{base}<filestorage changes>\n"
                          '  path {dir}/changes.fs\n</filestorage>\n</demostorage>\n'),
    'demo': lambda base: (f'<demostorage 1>\n{base}<demostorage changes/>\n</demostorage>\n'),
}


def drive(storage, tids):
    """A story of changes on a base; what was seen on the way."""
    names = Names(tids)
    seen = [loads(storage, names, tids), names(storage.lastTransaction())]

    def did(tid):
        seen.append(names(tid))
        return tid

    def change(stores, checks=()):
        try:
            tid = names.add(commit(storage, stores, checks))
        except (ConflictError, POSKeyError) as e:
            seen.append((type(e).__name__, names(getattr(e, 'serials', None))))
            return None
        seen.append(names(tid))
        tids.append(tid)
        return tid

    tids = list(tids)
    change([(1, tids[0], record({'one': 1}))], [(2, tids[0])])
    change([(1, tids[0], record({'one': 'too old'}))])
    change([(0, tids[0], record({'r': 'too old'}))])
    change([(0, tids[2], record({'r': 3}))], [(1, tids[3])])
    change([(3, Z64, record({'new': 3}))], [(2, tids[0])])
    change([(3, Z64, record({'new': 'again'}))])
    change([(4, Z64, record({'new': 4}))], [(0, tids[2])])
    change([(4, Z64, record({'new': 4}))], [(9, tids[2])])
    change([(3, tids[5], record({'new': 4}))], [(0, tids[4])])
    change([])
    seen.append(loads(storage, names, tids))
    seen.append(names(storage.lastTransaction()))
    seen.append((len(storage), storage.getSize()))
    return seen


@pytest.mark.parametrize('kind', DEMOS)
def test_demo(server, python_server, storage, tmp_path, kind):
    """Loads on both sides of the seam, serials of both, histories: as Python's."""
    tids = make_file(tmp_path / 'base.fs')
    configuration = ZEO_SECTION + DEMOS[kind](file_section('base', 'read-only true'))
    theirs = drive(storage(python_server(configuration)), tids)
    for path in tmp_path.glob('changes.fs*'):
        path.unlink()
    ours = drive(storage(server(configuration)), tids)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert a == b


def test_demo_resolves_conflicts(peer, storage, opened, tmp_path):
    """With a state that only the base has."""
    db = ZODB.DB(str(tmp_path / 'base.fs'))
    with db.transaction() as connection:
        connection.root.n = Length(10)
    db.close()
    s = peer(ZEO_SECTION + DEMOS['in memory'](file_section('base')))
    one = opened(ZODB.DB(storage(s)))
    two = opened(ZODB.DB(storage(s)))
    tm = transaction.TransactionManager(explicit=True)
    tm.begin()
    late = two.open(tm)
    late.root.n.change(5)
    with one.transaction() as connection:
        connection.root.n.change(1)
    tm.commit()
    late.close()
    with two.transaction() as connection:
        assert connection.root.n() == 16


def test_demo_with_changes_in_a_file(server, storage, tmp_path):
    """They are there after a restart; the base has not changed."""
    tids = make_file(tmp_path / 'base.fs')
    before = (tmp_path / 'base.fs').read_bytes()
    s = server(ZEO_SECTION + DEMOS['file'](file_section('base', 'read-only true')))
    client = storage(s)
    last = commit(client, [(0, tids[-1], record({'r': 'changed'}))])
    assert last > tids[-1]
    assert s.stop() == 0
    s.start()
    client = storage(s)
    assert client.lastTransaction() == last
    assert client.loadBefore(p64(0), MAX_TID) == (record({'r': 'changed'}), last, None)
    assert client.loadBefore(p64(0), last)[1:] == (tids[-1], last)
    assert s.stop() == 0
    assert (tmp_path / 'base.fs').read_bytes() == before
    with contextlib.closing(FileStorage(str(tmp_path / 'changes.fs'), read_only=True)) as fs:
        assert [t.tid for t in fs.iterator()] == [last]


def test_demo_oids(server, storage, tmp_path):
    """From a random place on, and never one that exists."""
    make_file(tmp_path / 'base.fs')
    starts = set()
    for _ in range(2):
        s = server(ZEO_SECTION + DEMOS['in memory'](file_section('base', 'read-only true')))
        a, b = storage(s), storage(s)
        oids = [x.new_oid() for _ in range(150) for x in (a, b)]
        assert len(set(oids)) == 300
        assert min(oids) > p64(2)
        starts.add(min(oids))
        s.stop()
    assert len(starts) == 2


def test_demo_undo(peer, storage, tmp_path):
    """Of the changes, where they know undo."""
    tids = make_file(tmp_path / 'base.fs')
    client = storage(peer(ZEO_SECTION + DEMOS['file'](file_section('base', 'read-only true'))))
    t1 = commit(client, [(1, tids[0], record({'one': 1}))])
    t2 = commit(client, [(1, t1, record({'one': 2}))])
    log = client.undoLog(0, 20)
    assert [d['description'] for d in log] == [b'description'] * 2
    t = TransactionMetaData()
    client.tpc_begin(t)
    client.undo(log[0]['id'], t)
    client.tpc_vote(t)
    t3 = client.tpc_finish(t)
    assert client.loadBefore(p64(1), MAX_TID) == (record({'one': 1}), t3, None)
    assert client.loadBefore(p64(1), t3)[1:] == (t2, t3)


def test_demo_iteration(peer, storage, tmp_path):
    """The base's transactions, then those of the changes."""
    tids = make_file(tmp_path / 'base.fs')
    client = storage(peer(ZEO_SECTION + DEMOS['file'](file_section('base', 'read-only true'))))
    tids.append(commit(client, [(1, tids[0], record({'one': 1}))]))
    tids.append(commit(client, [(0, tids[2], record({'r': 9})), (7, Z64, record({}))]))

    def of(*args):
        return [(t.tid, [(r.oid, r.tid, r.data) for r in t]) for t in client.iterator(*args)]

    found = of()
    assert [tid for tid, _ in found] == tids
    assert [oid for oid, _, _ in found[0][1]] == [p64(0), p64(1), p64(2)]
    assert found[-1][1] == [(p64(0), tids[-1], record({'r': 9})), (p64(7), tids[-1], record({}))]
    assert [tid for tid, _ in of(tids[1], tids[3])] == tids[1:4]
    assert [tid for tid, _ in of(tids[4])] == tids[4:]
    assert of(None, Z64) == []


def blob(connection, name):
    with connection.root()[name].open() as f:
        return f.read()


def test_demo_blobs(peer, storage, opened, tmp_path, temporary):
    """The base's are read, the changes' lie in a temporary folder."""
    fs = FileStorage(str(tmp_path / 'base.fs'), blob_dir=str(tmp_path / 'base.blobs'))
    db = ZODB.DB(fs)
    with db.transaction() as connection:
        for name in ('kept', 'changed'):
            connection.root()[name] = ZODB.blob.Blob(f'{name} in the base'.encode())
    db.close()
    files = sorted(p.read_bytes() for p in (tmp_path / 'base.blobs').rglob('*.blob'))
    s = peer(ZEO_SECTION + DEMOS['in memory'](
        file_section('base', 'read-only true\n  blob-dir {dir}/base.blobs')))
    one = opened(ZODB.DB(storage(s, blob_dir=str(tmp_path / 'one'))))
    with one.transaction() as connection:
        assert blob(connection, 'kept') == b'kept in the base'
        with connection.root()['changed'].open('w') as f:
            f.write(b'changed')
        connection.root()['new'] = ZODB.blob.Blob(b'new' * 100000)
    two = opened(ZODB.DB(storage(s, blob_dir=str(tmp_path / 'two'))))
    with two.transaction() as connection:
        assert blob(connection, 'kept') == b'kept in the base'
        assert blob(connection, 'changed') == b'changed'
        assert blob(connection, 'new') == b'new' * 100000
    assert sorted(p.read_bytes() for p in (tmp_path / 'base.blobs').rglob('*.blob')) == files
    s.stop()
    if 'zkrunzeo' in s.command[0]:
        assert list(temporary.iterdir()) == [], 'the temporary blobs are left over'


# --- compressed records ---

LONG = {'text': 'abc' * 1000}


def compressed(data):
    return b'.z' + zlib.compress(data)


def kept(data, compress):
    """How a record lies in the file."""
    return min(compressed(data), data, key=len) if compress == 'true' else data


def stored(path):
    """The current records of a file, as they lie there."""
    with contextlib.closing(FileStorage(str(path), read_only=True)) as fs:
        return {oid: fs.load(oid)[0] for oid in fs._index}


@pytest.mark.parametrize('compress', ['true', 'false'])
def test_zlib(server, storage, tmp_path, compress):
    s = server(f'%import zc.zlibstorage\n{ZEO_SECTION}<zlibstorage 1>\n  compress {compress}\n'
               f"{file_section('data')}</zlibstorage>\n")
    client = storage(s)
    first = commit(client, [(0, Z64, record(LONG)), (1, Z64, record({'a': 1}))])
    second = commit(client, [(0, first, compressed(record(LONG)))])
    # None but that a client has cached what it stored itself.
    client = storage(s)
    for tid, serial in ((second, first), (MAX_TID, second)):
        assert client.loadBefore(p64(0), tid)[:2] == (record(LONG), serial)
    assert client.loadSerial(p64(0), first) == record(LONG)
    assert client.loadBefore(p64(1), MAX_TID)[0] == record({'a': 1})
    if compress == 'true':
        assert client.history(p64(0), 9)[0]['size'] == len(compressed(record(LONG)))
    data = [[r.data for r in t] for t in client.iterator()]
    assert data == [[record(LONG), record({'a': 1})], [record(LONG)]]
    assert client.record_iternext()[2] == record(LONG)
    s.stop()
    found = stored(tmp_path / 'data.fs')
    assert found[p64(0)] == compressed(record(LONG))
    assert found[p64(1)] == kept(record({'a': 1}), compress)
    with contextlib.closing(FileStorage(str(tmp_path / 'data.fs'), read_only=True)) as fs:
        old = fs.loadSerial(p64(0), first)
    assert old == kept(record(LONG), compress)


def test_server_zlib(server, storage, tmp_path):
    """Records come and go as they are."""
    s = server(f'%import zc.zlibstorage\n{ZEO_SECTION}<serverzlibstorage 1>\n'
               f"{file_section('data')}</serverzlibstorage>\n")
    z = compressed(record(LONG))
    tid = commit(storage(s), [(0, Z64, z), (1, Z64, record(LONG))])
    client = storage(s)
    assert client.loadBefore(p64(0), MAX_TID) == (z, tid, None)
    assert client.loadBefore(p64(1), MAX_TID) == (record(LONG), tid, None)
    s.stop()
    assert stored(tmp_path / 'data.fs') == {p64(0): z, p64(1): record(LONG)}


@pytest.mark.parametrize('kind', ['zlibstorage', 'serverzlibstorage', 'none'])
def test_pack_sees_through(server, storage, tmp_path, kind):
    """Also where no section says that records are compressed."""
    section = file_section('data' if kind != 'none' else '1')
    if kind != 'none':
        section = f'<{kind} 1>\n{section}</{kind}>\n'
    s = server(f'%import zc.zlibstorage\n{ZEO_SECTION}{section}')
    client = storage(s)
    refers = compressed(record({'x' * 100: strong(p64(1))}))
    tid = commit(client, [(0, Z64, refers), (1, Z64, record({'kept': 1})),
                          (2, Z64, record({'garbage': 1}))])
    client.pack(time.time() + 1, wait=True)
    client = storage(s)
    assert client.loadBefore(p64(1), MAX_TID) == (record({'kept': 1}), tid, None)
    with pytest.raises(POSKeyError):
        client.loadBefore(p64(2), MAX_TID)


def numbers(*values):
    """The record of a set, large enough to be compressed."""
    f = io.BytesIO()
    p = Pickler(f, 3)
    p.dump(IISet)
    p.dump(IISet(values).__getstate__())
    return f.getvalue()


@pytest.mark.parametrize('inner', ['file', 'demo'])
@pytest.mark.parametrize('kind', ['zlibstorage', 'serverzlibstorage'])
def test_zlib_resolves_conflicts(server, storage, kind, inner):
    """The result is compressed as the change was."""
    section = file_section('data') if inner == 'file' else '<demostorage/>\n'
    s = server(f'%import zc.zlibstorage\n{ZEO_SECTION}<{kind} 1>\n{section}</{kind}>\n')
    client = storage(s)

    def data(*more):
        plain = numbers(*range(100), *more)
        return compressed(plain) if kind == 'serverzlibstorage' else plain

    t1 = commit(client, [(5, Z64, data())])
    t2 = commit(client, [(5, t1, data(200))])
    t3 = commit(client, [(5, t1, data(150))])
    found, serial, end = storage(s).loadBefore(p64(5), MAX_TID)
    assert (serial, end) == (t3, None)
    assert t2 < t3
    if kind == 'serverzlibstorage':
        assert found[:2] == b'.z'
        found = zlib.decompress(found[2:])
    unpickler = Unpickler(io.BytesIO(found))
    assert unpickler.load() is IISet
    assert unpickler.load() == IISet([*range(100), 150, 200]).__getstate__()
    s.stop()
    if inner == 'file':
        assert stored(s.output.parent / 'data.fs')[p64(5)][:2] == b'.z'


# --- packing ---

def test_mapping_pack(peer, storage):
    s = peer(ZEO_SECTION + '<mappingstorage 1/>\n')
    client = storage(s)
    t1 = commit(client, [(0, Z64, record({'a': strong(p64(1))})), (1, Z64, record({'b': 1})),
                         (2, Z64, record({'garbage': 1}))])
    t2 = commit(client, [(1, t1, record({'b': 2}))])
    size = client.getSize()
    client.pack(time.time() + 1, wait=True)
    wait_until('the new size is told', lambda: client.getSize() < size)
    assert len(client) == 2
    client = storage(s)
    assert client.loadBefore(p64(1), MAX_TID) == (record({'b': 2}), t2, None)
    assert client.loadBefore(p64(0), MAX_TID)[1:] == (t1, None)
    assert client.loadBefore(p64(1), t2) is None
    with pytest.raises(POSKeyError):
        client.loadBefore(p64(2), MAX_TID)


@pytest.mark.parametrize('kind', ['file', 'mapping', 'in memory'])
def test_demo_pack(server, storage, tmp_path, kind):
    """Of the changes; what only the base refers to stays. (ZODB's DemoStorage cannot pack changes
    it was given: its pack() reads an attribute that it has only without them.)"""
    tids = make_file(tmp_path / 'base.fs')
    s = server(ZEO_SECTION + DEMOS[kind](file_section('base', 'read-only true')))
    client = storage(s)
    client.pack(time.time() - 1, wait=True)  # nothing has changed yet
    t1 = commit(client, [(2, tids[0], record({'two': 1}))])
    t2 = commit(client, [(2, t1, record({'two': 2}))])
    client.pack(time.time() + 1, wait=True)
    client = storage(s)
    assert client.loadBefore(p64(2), MAX_TID) == (record({'two': 2}), t2, None)
    assert client.loadBefore(p64(1), MAX_TID)[1:] == (tids[0], None)
    with pytest.raises(POSKeyError):
        client.loadSerial(p64(2), t1)


# --- several storages ---

def test_storages_beside_each_other(server, opened, tmp_path):
    """T9: what one commits is not told to the clients of the others."""
    tids = make_file(tmp_path / 'base.fs')
    s = server(f'%import zc.zlibstorage\n{ZEO_SECTION}<mappingstorage memory/>\n'
               + file_section('file')
               + f"<demostorage demo>\n{file_section('base', 'read-only true')}</demostorage>\n"
               + f"<zlibstorage z>\n{file_section('z')}</zlibstorage>\n")
    told = {}
    clients = {}

    class Database:
        def __init__(self, name):
            self.name = name

        def invalidate(self, tid, oids, version=''):
            told.setdefault(self.name, []).append((tid, sorted(oids)))

        def invalidateCache(self):
            raise AssertionError('the cache was dropped')

        def transform_record_data(self, data):
            return data

        untransform_record_data = transform_record_data

    for name in ('memory', 'file', 'demo', 'z'):
        clients[name] = [
            opened(ClientStorage(s.address, storage=name, wait_timeout=30)) for _ in range(2)]
        clients[name][1].registerDB(Database(name))
    serials = {name: Z64 for name in clients}
    serials['demo'] = tids[-1]
    expected = {name: [] for name in clients}
    for i in range(10):
        for name, (writer, _) in clients.items():
            data = record({name: i})
            serials[name] = commit(writer, [(0, serials[name], data)])
            expected[name].append((serials[name], [p64(0)]))
    for name, (_, reader) in clients.items():
        wait_until(f'{name} is told', lambda: reader.lastTransaction() == serials[name])
        assert told[name] == expected[name]
        assert reader.loadBefore(p64(0), MAX_TID) == (record({name: 9}), serials[name], None)


# --- read-only ---

@pytest.mark.parametrize('how', ['server', 'storage'])
def test_read_only(peer, storage, tmp_path, how):
    tids = make_file(tmp_path / 'file.fs')
    zeo = READ_ONLY_SECTION if how == 'server' else ZEO_SECTION
    section = file_section('file', 'read-only true' if how == 'storage' else '').replace(
        '<filestorage file>', '<filestorage 1>')
    s = peer(zeo + section)
    client = storage(s, read_only=True)
    assert client.isReadOnly()
    assert client.loadBefore(p64(0), MAX_TID)[1:] == (tids[-1], None)
    with pytest.raises(ReadOnlyError):
        commit(client, [(0, tids[-1], record({}))])
    with pytest.raises(ReadOnlyError):
        client.new_oid()
    fallback = storage(s, read_only_fallback=True)
    assert fallback.is_read_only()
    with pytest.raises(ReadOnlyError):
        commit(fallback, [(0, tids[-1], record({}))])


def test_read_only_file_is_not_locked(server, storage, tmp_path):
    """A FileStorage that is only read takes no lock: another process may have it."""
    tids = make_file(tmp_path / '1.fs')
    s = server(ZEO_SECTION + file_section('1', 'read-only true'))
    with contextlib.closing(FileStorage(str(tmp_path / '1.fs'))) as fs:
        assert fs.lastTransaction() == tids[-1]
        assert storage(s, read_only=True).lastTransaction() == tids[-1]


def test_read_only_fallback(server, opened, tmp_path):
    """A read-only server is taken while there is no other."""
    tids = make_file(tmp_path / 'one.fs')
    shutil.copy(tmp_path / 'one.fs', tmp_path / 'two.fs')
    section = file_section('one').replace('<filestorage one>', '<filestorage 1>')
    reading = server(READ_ONLY_SECTION + section)
    writing = server(ZEO_SECTION + section.replace('one.fs', 'two.fs'), start=False)
    client = opened(ClientStorage([reading.address, writing.address], wait_timeout=30,
                                  read_only_fallback=True))
    assert client.is_read_only()
    assert client.loadBefore(p64(0), MAX_TID)[1] == tids[-1]
    writing.start()
    reading.stop()
    wait_until('the writable server is found', lambda: client.is_connected() and
               not client.is_read_only(), 60)
    assert commit(client, [(0, tids[-1], record({}))]) > tids[-1]


def test_quota(peer, storage):
    client = storage(peer(ZEO_SECTION + file_section('1', 'quota 10KB')))
    tid = commit(client, [(0, Z64, b'x' * 5000)])
    with pytest.raises(Exception) as e:
        for _ in range(3):
            tid = commit(client, [(0, tid, b'x' * 5000)])
    # A client that cannot build the exception shows how it came.
    assert e.value.args[0] == 'ZODB.FileStorage.FileStorage.FileStorageQuotaError'
    assert e.value.args[1] == ('The storage quota has been exceeded.',)
    assert client.loadBefore(p64(0), MAX_TID)[1] == tid


@pytest.mark.parametrize('kind', ['filestorage', 'mappingstorage'])
def test_history_of_nothing_and_odd_packs(peer, wires, kind):
    """No items, when none are asked for; errors as Python's."""
    path = '\n  path {dir}/Data.fs' if kind == 'filestorage' else ''
    s = peer('<zeo>\n  address {address}\n</zeo>\n<%s 1>%s\n</%s>\n' % (kind, path, kind))
    w = wires(s)
    root = b'cpersistent.mapping\nPersistentMapping\n.}.'
    w.commit([(bytes(8), bytes(8), root)])
    if kind == 'filestorage':
        assert list(w.call('history', bytes(8), 0)) == []
        assert list(w.call('history', bytes(8), -1)) == []
    assert len(w.call('history', bytes(8), 1)) == 1
    now = time.time()
    assert w.call('pack', now, True) is None
    if kind == 'mappingstorage':
        with pytest.raises(WireError) as e:
            w.call('pack', now - 1000, True)
        assert (e.value.name, *e.value.data) == (
            'builtins.ValueError', 'Already packed to a later time')
