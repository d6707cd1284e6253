"""One data file, two programs: Python's FileStorage and zkrunzeo."""

import base64
import contextlib
import random
import shutil
import subprocess
import sys

import pytest
import zc.lockfile
import ZEO
import ZODB
from persistent.mapping import PersistentMapping
from persistent.TimeStamp import TimeStamp
from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.fsIndex import fsIndex
from ZODB.POSException import POSKeyError
from ZODB.serialize import referencesf
from ZODB.tests.MinPO import MinPO
from ZODB.tests.StorageTestBase import zodb_pickle

from interop_files import fsrefs, fstest
from wire import MAX_TID, Z64, Wire, p64, u64

module = sys.modules['ZODB.FileStorage.FileStorage']  # the package has a class of that name

FILE = ('<zeo>\n  address {address}\n  %s\n</zeo>\n'
        '<filestorage 1>\n  path {dir}/%s\n  %s\n</filestorage>\n')
FIRST_TID = u64(TimeStamp(2020, 1, 1).raw())
OIDS = [p64(n) for n in (0, 1, 2, 3, 4, 5, 6, 7, 300, 70000, 0x123456789abc)]


def serving(name='Data.fs', zeo='', storage=''):
    return FILE % (zeo, name, storage)


def pickled(n):
    return zodb_pickle(MinPO(n))


class Maker:
    """Writes transactions as Python does, with tids of our choice."""

    def __init__(self, path):
        self.fs = FileStorage(str(path))
        self.tids = []

    def commit(self, stores=(), undo=None, delete=None, user='', description='', **extension):
        t = TransactionMetaData(user, description, extension)
        tid = p64(FIRST_TID + (len(self.tids) << 32))
        self.fs.tpc_begin(t, tid)
        for oid, value in stores:
            try:
                old = self.fs.getTid(p64(oid))
            except POSKeyError:
                old = Z64
            self.fs.store(p64(oid), old, pickled(value), '', t)
        if undo is not None:
            self.fs.undo(base64.encodebytes(self.tids[undo]).rstrip(), t)
        if delete is not None:
            self.fs.deleteObject(p64(delete), self.fs.getTid(p64(delete)), t)
        self.fs.tpc_vote(t)
        self.fs.tpc_finish(t)
        self.tids.append(tid)


def fill(m):
    m.commit([(0, 'root')], description='initial database creation')
    m.commit([(n, n) for n in (1, 2, 3, 300)], user=' bob', description='two')
    m.commit([(1, 'a2')], user=' j\xfcrgen', description='d\xe9j\xe0 \u20ac',
             **{'n\xf6te': '\u20ac', 'x': [1]})
    m.commit([(1, 'a3'), (0x123456789abc, 'far'), (70000, 'off')])
    m.commit(description='empty')
    m.commit([(4, 'created, then undone')])
    m.commit(undo=5, description='undo creation')
    m.commit(undo=3, description='undo to a2, un-create the others')
    m.commit([(5, 'large' * 300000), (6, 'x' * 65536)])
    m.commit(undo=7, description='undo of undo')
    m.commit([(7, 'first'), (7, 'second')], description='d' * 65535)
    m.commit(delete=2)
    m.commit([(1, 'a4')])
    m.commit(undo=12)
    m.commit(undo=13, user='u' * 65535)


def make_plain(path):
    m = Maker(path)
    fill(m)
    return m.fs


def make_packed(path):
    """'p' transactions, and back-pointers over them."""
    m = Maker(path)
    fill(m)
    m.fs.pack(TimeStamp(m.tids[9]).timeTime() + 1, referencesf, gc=False)
    m.commit([(1, 'a5'), (3, 'b')])
    m.commit(undo=len(m.tids) - 1)
    return m.fs


def make_copied(path):
    """Restored from another file, record by record."""
    source = make_plain(path.with_name('Source.fs'))
    fs = FileStorage(str(path))
    fs.copyTransactionsFrom(source)
    source.close()
    return fs


MAKERS = {'plain': make_plain, 'packed': make_packed, 'copied': make_copied}


@pytest.fixture(scope='session', params=MAKERS)
def original(request, tmp_path_factory):
    """A data file of Python's with its index; not to be touched."""
    path = tmp_path_factory.mktemp(request.param) / 'Data.fs'
    MAKERS[request.param](path).close()
    return path


@pytest.fixture
def copy(original, tmp_path):
    """A copy of it, at Data.fs of the test's folder."""
    path = tmp_path / 'Data.fs'
    for suffix in '', '.index':
        shutil.copy(f'{original}{suffix}', f'{path}{suffix}')
    return path


@pytest.fixture
def python_copy(original, tmp_path):
    """Another copy, open in Python."""
    path = tmp_path / 'Python.fs'
    shutil.copy(original, path)
    fs = FileStorage(str(path))
    yield fs
    fs.close()


@contextlib.contextmanager
def client(s):
    storage = ClientStorage(s.address, wait_timeout=30)
    try:
        yield storage
    finally:
        storage.close()


def outcome(f, *args):
    try:
        return f(*args)
    except POSKeyError as e:
        return 'POSKeyError', e.args[0]


def moments(fs):
    tids = [t.tid for t in fs.iterator()]
    around = {p64(u64(t) + d) for t in tids for d in (-1, 0, 1)}
    return tids, sorted(around | {Z64, p64(1), MAX_TID})


def plain(value):
    """A history; a list and a tuple are the same to msgpack."""
    if isinstance(value, (list, tuple)):
        return tuple(plain(v) for v in value)
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def compare(fs, a):
    """Everything one can ask about every object, of Python's storage and of a client."""
    tids, times = moments(fs)
    assert a.lastTransaction() == fs.lastTransaction()
    for oid in OIDS:
        for tid in times:
            assert outcome(a.loadBefore, oid, tid) == outcome(fs.loadBefore, oid, tid), (oid, tid)
        for tid in tids:
            assert outcome(a.loadSerial, oid, tid) == outcome(fs.loadSerial, oid, tid), (oid, tid)
        assert outcome(a.getTid, oid) == outcome(fs.getTid, oid), oid
        assert outcome(a.load, oid) == outcome(fs.load, oid), oid
        for size in 1, 2, 1000:
            expected = plain(outcome(fs.history, oid, size))
            assert plain(outcome(a.history, oid, size)) == expected, oid
    assert (len(a), a.getSize()) == (len(fs), fs.getSize())


@pytest.mark.parametrize('msgpack', ['false', 'true'])
def test_record_by_record(server, copy, python_copy, msgpack):
    s = server(serving(zeo=f'msgpack {msgpack}'))
    with client(s) as a:
        compare(python_copy, a)


def test_without_its_index(server, copy, python_copy):
    """Back-pointers, un-creations and deletions are found by the scan, too."""
    (copy.parent / 'Data.fs.index').unlink()
    s = server(serving())
    with client(s) as a:
        compare(python_copy, a)


def transactions(path):
    fs = FileStorage(str(path), read_only=True)
    found = [(t.tid, t.status, t.user, t.description, t.extension,
              [(r.oid, r.tid, r.data, r.data_txn) for r in t]) for t in fs.iterator()]
    fs.close()
    return found


def test_written_on(server, copy):
    """zkrunzeo goes on where Python stopped, and Python where zkrunzeo stopped."""
    before = transactions(copy)
    s = server(serving())
    written = []
    with client(s) as a:
        for n, oid in enumerate(OIDS + [p64(1 << 20)]):
            try:
                serial = a.getTid(oid)
            except POSKeyError:
                if oid != p64(1 << 20):
                    continue  # un-created or deleted
                serial = Z64
            extension = {'n\xf6te': '\u20ac', 'n': n} if n % 2 else {}
            t = TransactionMetaData(f'us\xe9r {n}', f'd\xe9scription {n}', extension)
            a.tpc_begin(t)
            data = pickled('x' * (n * 50000))
            a.store(oid, serial, data, '', t)
            a.tpc_vote(t)
            tid = a.tpc_finish(t)
            written.append((tid, ' ', f'us\xe9r {n}'.encode(), f'd\xe9scription {n}'.encode(),
                            extension, [(oid, tid, data, None)]))
            assert tid > before[-1][0]
    assert s.stop() == 0
    assert transactions(copy) == before + written
    assert fstest(copy) == []
    assert fsrefs(copy) == ''
    # and Python goes on, with undo over what we have written
    fs = FileStorage(str(copy))
    assert fs.lastTransaction() == written[-1][0]
    t = TransactionMetaData()
    fs.tpc_begin(t)
    fs.undo(base64.encodebytes(written[1][0]).rstrip(), t)
    fs.tpc_vote(t)
    fs.tpc_finish(t)
    fs.pack(TimeStamp(written[0][0]).timeTime(), referencesf, gc=False)
    s = server(serving('Copy.fs'), start=False)
    fs.close()
    for suffix in '', '.index':
        shutil.copy(f'{copy}{suffix}', copy.parent / f'Copy.fs{suffix}')
    s.start()
    fs = FileStorage(str(copy))
    with client(s) as a:
        compare(fs, a)
    fs.close()


def test_a_database(server, tmp_path):
    """Objects with references, made through zkrunzeo: Python's tools find nothing wrong."""
    s = server(serving())
    db = ZEO.DB(s.address)
    for n in range(30):
        with db.transaction(f'step {n}') as connection:
            root = connection.root()
            root[n] = PersistentMapping(before=root.get(n - 1), all=[root.get(i) for i in range(n)])
            if n > 10:
                del root[n - 10]
    db.close()
    assert s.stop() == 0
    path = tmp_path / 'Data.fs'
    assert fstest(path) == []
    assert fsrefs(path) == ''
    db = ZODB.DB(str(path))
    with db.transaction() as connection:
        root = connection.root()
        assert sorted(root) == [0] + list(range(20, 30))
        assert root[29]['before'] is root[28] and root[29]['all'][25]['before'] is root[24]
    db.pack()
    db.close()
    s.start()
    db = ZEO.DB(s.address)
    with db.transaction() as connection:
        assert sorted(connection.root()) == [0] + list(range(20, 30))
        assert connection.root()[29]['before'] is connection.root()[28]
    db.close()


def test_given_tids(server, tmp_path):
    """A tpc_begin with tid and status, as copies use it; not back in time (R4)."""
    from wire import WireError
    s = server(serving())
    tid = p64(FIRST_TID)
    with Wire(s.address) as w:
        for n, status in enumerate(' p'):
            w.call('tpc_begin', n, 'u', 'd', {}, p64(FIRST_TID + n), status)
            w.call('storea', p64(n + 1), Z64, pickled(n), n)
            w.call('vote', n)
            assert w.call('tpc_finish', n) == p64(FIRST_TID + n)
        last = p64(FIRST_TID + 1)
        assert w.call('lastTransaction') == last
        for given in tid, last:
            w.call('tpc_begin', 9, 'u', 'd', {}, given, ' ')
            with pytest.raises(WireError):
                w.call('vote', 9)
            w.call('tpc_abort', 9)
        # what says of itself that it was undone would not be found after a restart
        w.call('tpc_begin', 9, 'u', 'd', {}, p64(FIRST_TID + 9), 'u')
        with pytest.raises(WireError):
            w.call('vote', 9)
        assert w.commit([(p64(9), Z64, pickled(9))]) > last
    assert s.stop() == 0
    fs = FileStorage(str(tmp_path / 'Data.fs'))
    assert [t.status for t in fs.iterator()][:2] == [' ', 'p']
    assert fs.lastTransaction() > last
    fs.close()


def test_tids_grow_over_a_file_of_the_future(server, tmp_path):
    """R4: the clock is behind the file."""
    future = p64(u64(TimeStamp(2199, 1, 1).raw()))
    fs = FileStorage(str(tmp_path / 'Data.fs'))
    t = TransactionMetaData()
    fs.tpc_begin(t, future)
    fs.store(p64(1), Z64, b'x', '', t)
    fs.tpc_vote(t)
    fs.tpc_finish(t)
    fs.close()
    s = server(serving())
    assert 'seconds in the future' in s.text()
    with Wire(s.address) as w:
        one = w.commit([(p64(2), Z64, b'x')])
        two = w.commit([(p64(2), one, b'x')])
    assert future < one < two
    assert s.stop() == 0
    assert fstest(tmp_path / 'Data.fs') == []


# --- index files ---

def scanned_from(path, monkeypatch):
    """Where Python begins to read a file: the position its index has."""
    starts = []
    real = module.read_index

    def read_index(*args, **kw):
        starts.append(kw.get('start', args[4] if len(args) > 4 else 4))
        return real(*args, **kw)
    monkeypatch.setattr(module, 'read_index', read_index)
    FileStorage(str(path)).close()
    return starts


def test_python_reads_our_index(server, copy, monkeypatch):
    s = server(serving())
    with client(s) as a:
        t = TransactionMetaData()
        a.tpc_begin(t)
        for n in range(500):
            a.store(p64((1 << 30) + 7 * n), Z64, pickled(n), '', t)
        a.tpc_vote(t)
        a.tpc_finish(t)
    assert s.stop() == 0
    size = copy.stat().st_size
    info = fsIndex.load(str(copy) + '.index')
    assert info['pos'] == size
    # every entry is what a scan finds
    found = dict(info['index'].items())
    (copy.parent / 'Data.fs.index').rename(copy.parent / 'kept')
    fs = FileStorage(str(copy))
    assert found == dict(fs._index.items())
    fs.close()
    (copy.parent / 'kept').rename(copy.parent / 'Data.fs.index')
    assert scanned_from(copy, monkeypatch) == [size]


def test_we_read_the_index_of_python(server, copy):
    """It is not written anew at start, which it would be after a scan of the whole file."""
    index = copy.parent / 'Data.fs.index'
    before = index.read_bytes(), index.stat().st_ino
    s = server(serving())
    with Wire(s.address):
        assert (index.read_bytes(), index.stat().st_ino) == before
    assert 'Ignoring index' not in s.text()
    s.kill()
    index.unlink()
    s.start()
    assert index.exists()


def test_stale_index(server, copy, python_copy, monkeypatch):
    """T62: of an earlier state of the same file. The rest is read from the file."""
    fs = FileStorage(str(copy))
    index = (copy.parent / 'Data.fs.index').read_bytes()
    for storage in fs, python_copy:
        for n in range(3):
            t = TransactionMetaData()
            storage.tpc_begin(t, p64(FIRST_TID + ((100 + n) << 32)))
            storage.store(OIDS[0], storage.getTid(OIDS[0]), pickled(n), '', t)
            storage.tpc_vote(t)
            storage.tpc_finish(t)
    fs.close()
    (copy.parent / 'Data.fs.index').write_bytes(index)
    s = server(serving())
    assert 'Ignoring index' not in s.text()
    with client(s) as a:
        compare(python_copy, a)
    assert s.stop() == 0
    assert scanned_from(copy, monkeypatch) == [copy.stat().st_size]


def foreign_index(path):
    """Of another file, with the same objects elsewhere."""
    other = path.with_name('Foreign.fs')
    m = Maker(other)
    m.commit([(n, 'elsewhere' * n) for n in range(50)])
    m.commit([(n, 'and again') for n in range(50)])
    m.fs.close()
    return other.with_name('Foreign.fs.index').read_bytes()


def damaged_indexes(index, path):
    yield 'empty', b''
    yield 'garbage', random.Random(1).randbytes(1000)
    yield 'text', b'hello\n'
    yield 'a pickle that executes', b'cos\nsystem\n(S"touch /nowhere/x"\ntR.'
    yield 'foreign', foreign_index(path)
    for cut in range(1, len(index), max(1, len(index) // 12)):
        yield f'cut at {cut}', index[:cut]
    for at in range(20):  # before the first entry: entries have no checksum, in both programs
        yield f'changed at {at}', index[:at] + bytes([index[at] ^ 0x55]) + index[at + 1:]


def test_damaged_index(server, copy, python_copy):
    """T62: it is ignored, and the file read instead."""
    path = copy.parent / 'Data.fs.index'
    index = path.read_bytes()
    s = server(serving(), start=False)
    oids = [oid for oid in OIDS]
    expected = [outcome(python_copy.load, oid) for oid in oids]
    for what, damaged in damaged_indexes(index, copy):
        path.write_bytes(damaged)
        s.start()
        with Wire(s.address) as w:
            assert w.tid == python_copy.lastTransaction(), what
            got = [outcome(load, w, oid) for oid in oids]
        assert got == expected, what
        assert s.stop() == 0, what
        assert fsIndex.load(str(path))['pos'] == copy.stat().st_size, what
    assert 'Ignoring index' in s.text()


def load(w, oid):
    from wire import WireError
    try:
        return tuple(w.call('loadBefore', oid, MAX_TID)[:2])
    except WireError as e:
        assert e.name == 'ZODB.POSException.POSKeyError'
        raise POSKeyError(oid) from None


# --- tails ---

@pytest.fixture
def short(tmp_path):
    """A small file; its bytes and the positions where its transactions start."""
    path = tmp_path / 'Short.fs'
    m = Maker(path)
    starts = []
    for n in range(4):
        starts.append(m.fs.getSize())
        m.commit([(n, n), (9, n)], user='user', description='text', n=n)
    m.fs.close()
    data = path.read_bytes()
    for p in tmp_path.glob('Short.fs*'):
        p.unlink()
    return data, starts


def left(folder, name):
    """What a program has left of a file: its bytes, and those it saved."""
    return {p.name[len(name):]: p.read_bytes() for p in folder.glob(f'{name}*')
            if p.name[len(name):] not in ('.index', '.lock', '.tmp', '.zksession')}


@pytest.fixture
def recover(programs, tmp_path):
    """recover(data): open the same bytes with both; what each leaves, and our output."""
    def f(data):
        for p in [*tmp_path.glob('ours.fs*'), *tmp_path.glob('python.fs*')]:
            p.unlink()
        (tmp_path / 'ours.fs').write_bytes(data)
        (tmp_path / 'python.fs').write_bytes(data)
        try:
            FileStorage(str(tmp_path / 'python.fs')).close()
            python = left(tmp_path, 'python.fs')
        except Exception as e:
            python = type(e)
        run = subprocess.run(
            [programs / 'zkrunzeo', '-a', '127.0.0.1:0', '-f', tmp_path / 'ours.fs', '--test'],
            capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
        return left(tmp_path, 'ours.fs'), python, run.stderr
    return f


def test_cut_at_every_byte_of_the_last_transaction(recover, short):
    """R7, T62: both programs leave the same file, and save the same bytes as .tr0."""
    data, starts = short
    for size in range(starts[-1] + 1, len(data)):
        ours, python, text = recover(data[:size])
        expected = {'': data[:starts[-1]]}
        expected['.tr0'] = data[starts[-1]:size]
        assert str(starts[-1]) in text and f'{size - starts[-1]} bytes' in text
        assert ours == expected, size
        if size < starts[-1] + 23:
            python['.tr0'] = expected['.tr0']  # Python saves no part of a header
        assert ours == python, size
    ours, python, text = recover(data)
    assert ours == python == {'': data}


@pytest.mark.parametrize('which', [-1, -2, -3])
def test_unfinished_status(recover, short, which):
    """Status c: a batch that was never completed."""
    data, starts = short
    data = bytearray(data)
    assert data[starts[which] + 16:starts[which] + 17] == b' '
    data[starts[which] + 16:starts[which] + 17] = b'c'
    ours, python, text = recover(bytes(data))
    assert ours == {'': data[:starts[which]], '.tr0': data[starts[which]:]}
    assert ours == python


@pytest.mark.parametrize('n', [1, 7, 8, 22, 23, 24, 100, 4096, 100000])
def test_zeros_at_the_end(recover, short, n):
    """They go, and Python sees the right last transaction again."""
    data, starts = short
    ours, python, text = recover(data + bytes(n))
    assert ours == {'': data, '.tr0': bytes(n)}


@pytest.mark.parametrize('n', [5, 23, 24, 200])
def test_garbage_at_the_end(recover, short, n):
    data, starts = short
    garbage = random.Random(n).randbytes(n)
    ours, python, text = recover(data + garbage)
    assert ours == {'': data, '.tr0': garbage}


def test_saved_tails_are_numbered(server, short, tmp_path):
    """An earlier .trN is never overwritten."""
    data, starts = short
    path = tmp_path / 'Data.fs'
    s = server(serving(), start=False)
    for n in range(3):
        path.write_bytes(data[:len(data) - 1 - n])
        s.start()
        assert s.stop() == 0
        assert path.read_bytes() == data[:starts[-1]]
        for k in range(n + 1):
            saved = tmp_path / f'Data.fs.tr{k}'
            assert saved.read_bytes() == data[starts[-1]:len(data) - 1 - k]


def test_read_only_cuts_nothing(server, short, tmp_path):
    data, starts = short
    path = tmp_path / 'Data.fs'
    path.write_bytes(data[:-1])
    s = server(serving(storage='read-only true'))
    with Wire(s.address, read_only=True) as w:
        assert w.tid == p64(FIRST_TID + (2 << 32))
    assert s.stop() == 0
    assert sorted(p.name for p in tmp_path.glob('Data.fs*')) == ['Data.fs']
    assert path.read_bytes() == data[:-1]


def test_committed_after_a_cut(server, short, tmp_path):
    data, starts = short
    path = tmp_path / 'Data.fs'
    path.write_bytes(data[:-5])
    s = server(serving())
    with Wire(s.address) as w:
        tid = w.commit([(p64(9), w.call('getTid', p64(9)), pickled('after'))])
    assert s.stop() == 0
    assert fstest(path) == []
    fs = FileStorage(str(path))
    assert [t.tid for t in fs.iterator()] == [p64(FIRST_TID + (n << 32)) for n in range(3)] + [tid]
    fs.close()


# --- magic, lock ---

def test_magic(server, copy):
    """A new file begins as Python's do; both kinds of old ones stay what they are."""
    assert copy.read_bytes()[:4] == module.packed_version == b'FS30'
    expected = copy.read_bytes()[4:]
    copy.write_bytes(b'FS21' + expected)
    s = server(serving())
    with Wire(s.address) as w:
        w.commit([(p64(5000), Z64, b'x')])
    assert s.stop() == 0
    data = copy.read_bytes()
    assert data[:4] == b'FS21' and data[4:].startswith(expected)


def test_lock_of_python_is_respected(server, tmp_path):
    """T22"""
    fs = FileStorage(str(tmp_path / 'Data.fs'))
    s = server(serving(), start=False).start(wait=False)
    assert s.process.wait(20) == 1
    assert 'Data.fs.lock' in s.text()
    fs.close()
    s.start()
    with Wire(s.address) as w:
        w.commit([(p64(1), Z64, b'x')])


def test_python_respects_our_lock(server, tmp_path):
    s = server(serving())
    with pytest.raises(zc.lockfile.LockError):
        FileStorage(str(tmp_path / 'Data.fs'))
    # its pid is in the file, as with Python
    assert (tmp_path / 'Data.fs.lock').read_text().strip() == str(s.pid)
    with Wire(s.address) as w:
        w.commit([(p64(1), Z64, b'x')])
    fs = FileStorage(str(tmp_path / 'Data.fs'), read_only=True)
    assert fs.load(p64(1))[0] == b'x'
    fs.close()
    assert s.stop() == 0
    fs = FileStorage(str(tmp_path / 'Data.fs'))
    fs.close()


def test_lock_after_a_kill(server, tmp_path):
    s = server(serving())
    s.kill()
    assert (tmp_path / 'Data.fs.lock').exists()
    FileStorage(str(tmp_path / 'Data.fs')).close()
    s.start()


def test_python_reads_while_we_write(server, tmp_path):
    """The file is whole at each moment, but for what is being appended (repozo relies on it)."""
    s = server(serving())
    with Wire(s.address) as w:
        tids = []
        for n in range(50):
            tids.append(w.commit([(p64(n), Z64, pickled('x' * 1000))]))
            fs = FileStorage(str(tmp_path / 'Data.fs'), read_only=True)
            assert fs.lastTransaction() == tids[-1]
            assert len(fs) == n + 1
            fs.close()
    assert fstest(tmp_path / 'Data.fs') == []


def test_tids_that_went_back(server, tmp_path):
    """ZODB warns of them and goes on; the invalidation queue then reaches no further back."""
    path = tmp_path / 'Data.fs'
    fs = FileStorage(str(path))
    tids = [p64(FIRST_TID + n) for n in (16, 5, 32)]
    for n, tid in enumerate(tids):
        t = TransactionMetaData()
        fs.tpc_begin(t, tid)
        fs.store(p64(n), Z64, pickled(n), '', t)
        fs.tpc_vote(t)
        fs.tpc_finish(t)
    fs.close()  # with an index: the file is not scanned
    s = server(serving())
    with Wire(s.address) as w:
        assert w.tid == tids[2]
        assert w.call('getInvalidations', tids[1]) == (tids[2], [p64(2)])
        assert w.call('loadBefore', p64(0), MAX_TID) == (pickled(0), tids[0], None)


def test_an_oid_too_large_to_be_followed(server, tmp_path):
    """R10: new oids go on after the largest one that leaves room for them."""
    fs = FileStorage(str(tmp_path / 'Data.fs'))
    t = TransactionMetaData()
    fs.tpc_begin(t)
    for oid in (p64(7), b'\xff\xff' + p64(5)[2:]):
        fs.store(oid, Z64, pickled(1), '', t)
    fs.tpc_vote(t)
    fs.tpc_finish(t)
    fs.close()
    s = server(serving())
    with Wire(s.address) as w:
        oids = w.call('new_oids')
        assert oids[0] == p64(8) and len(set(oids)) == 100
        w.commit([(oids[0], Z64, pickled(2))])
