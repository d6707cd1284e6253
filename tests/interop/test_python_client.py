"""zc.zkzeo.ClientStorage against both servers."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest
import transaction
import ZODB
from ZODB.Connection import TransactionMetaData
from ZODB.interfaces import IMultiCommitStorage, IStorage
from ZODB.POSException import (
    ConflictError, POSKeyError, ReadOnlyError, StorageTransactionError)
from ZODB.tests.MinPO import MinPO
from ZODB.tests.StorageTestBase import zodb_pickle
from ZODB.utils import maxtid, p64, z64
from ZEO.Exceptions import ClientDisconnected

import zc.zkzeo
from freezing import freeze, states

MAPPING = '<zeo>\naddress {address}\n</zeo>\n<mappingstorage>\n</mappingstorage>\n'
FILE = '<zeo>\naddress {address}\n</zeo>\n<filestorage>\npath {dir}/Data.fs\n</filestorage>\n'
BLOBS = FILE.replace('Data.fs\n', 'Data.fs\nblob-dir {dir}/blobs\n')
WAIT_S = 30
NO_FORK = pytest.mark.skipif('libtsan' in os.environ.get('LD_PRELOAD', ''),
                              reason='the thread sanitizer knows no threads after a fork')


@pytest.fixture
def client(opened):
    """client(server, ...): a ClientStorage of ours."""
    def make(server, **kw):
        kw.setdefault('wait_timeout', WAIT_S)
        return opened(zc.zkzeo.ClientStorage(getattr(server, 'address', server), **kw))
    return make


def wait_for(condition, seconds=WAIT_S):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'it did not come'
        time.sleep(0.01)  # another process tells nobody


def commit(storage, *stores):
    """Store (oid, serial, data) in one transaction; returns its tid."""
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    try:
        for oid, serial, data in stores:
            storage.store(oid, serial, data, '', txn)
        storage.tpc_vote(txn)
        return storage.tpc_finish(txn)
    except BaseException:
        storage.tpc_abort(txn)
        raise


def test_what_it_is(client, peer):
    storage = client(peer(MAPPING))
    assert isinstance(storage, ZODB.ConflictResolution.ConflictResolvingStorage)
    assert IMultiCommitStorage.providedBy(storage)
    assert IStorage.providedBy(storage)
    assert ZODB.interfaces.IStorageIteration.providedBy(storage)
    assert storage.getName() == f'{storage.__name__} (connected)'
    assert storage.is_connected(test=True)
    assert storage.sortKey().startswith('1:')
    assert storage.protocol_version in (b'Z5', b'M5')
    assert storage._connection_generation == 1
    assert storage.lastTransaction() == z64
    assert not storage.isReadOnly()
    storage.close()
    assert storage.getName().endswith('(disconnected)')
    with pytest.raises(ClientDisconnected):
        storage.load(z64)


def test_it_can_be_exchanged_for_the_stock_client(client, storage, peer):
    server = peer(FILE)
    db = ZODB.DB(client(server))
    with db.transaction() as connection:
        connection.root()['x'] = {'y': [1, 2.5, 'three', b'4', None]}
    stock = ZODB.DB(storage(server))
    with stock.transaction() as connection:
        assert connection.root()['x'] == {'y': [1, 2.5, 'three', b'4', None]}
        connection.root()['z'] = 1
    wait_for(lambda: db.lastTransaction() == stock.lastTransaction())
    with db.transaction() as connection:
        assert connection.root()['z'] == 1
    stock.close()
    db.close()


def test_exceptions(client, peer):
    storage = client(peer(MAPPING))
    with pytest.raises(POSKeyError) as e:
        storage.load(p64(7))
    assert e.value.args == (p64(7),)
    tid = commit(storage, (p64(1), z64, b'one'))
    assert storage.load(p64(1)) == (b'one', tid)
    assert storage.loadBefore(p64(1), tid) is None
    assert storage.loadBefore(p64(1), maxtid) == (b'one', tid, None)
    with pytest.raises(ConflictError) as e:
        commit(storage, (p64(1), z64, b'two'))
    assert e.value.oid == p64(1) and e.value.serials == (tid, z64)
    with pytest.raises(KeyError):
        storage._call('iterator_next', 12345)
    with pytest.raises(StorageTransactionError) as e:
        storage.store(p64(1), tid, b'x', '', TransactionMetaData())
    assert e.value.args[:2] == ('Transaction not committing', 'store')


@pytest.mark.parametrize('oid, error', [
    (b'short', ValueError), (b'longer than it', ValueError), (7, TypeError), (None, TypeError),
])
def test_bad_ids(client, server, oid, error):
    storage = client(server(MAPPING))
    with pytest.raises(error, match='oid'):
        storage.load(oid)
    with pytest.raises(error, match='oid'):
        storage.prefetch([z64, oid], maxtid)


def test_bad_arguments(client, server):
    storage = client(server(MAPPING))
    for call, text in (
            (lambda: storage.load(), "load.. misses the argument 'oid'"),
            (lambda: storage.load(z64, '', 1), 'at most 2 arguments'),
            (lambda: storage.load(oid=z64, x=1), "unexpected keyword argument 'x'"),
            (lambda: storage.load(z64, oid=z64), "multiple values for argument 'oid'")):
        with pytest.raises(TypeError, match=text):
            call()
    with pytest.raises(TypeError, match='a path or None'):
        client(('127.0.0.1', 1), cache=object())
    with pytest.raises(TypeError, match='an address is'):
        client([('127.0.0.1', 'x')])


def test_keywords(client, server):
    storage = client(server(MAPPING))
    txn = TransactionMetaData()
    storage.tpc_begin(txn, status=' ', tid=None)
    storage.store(txn=txn, oid=z64, serial=z64, data=b'x', version='')
    storage.tpc_vote(txn=txn)
    tids = []
    tid = storage.tpc_finish(txn, f=tids.append)
    assert tids == [tid]
    assert storage.loadBefore(tid=maxtid, oid=z64) == (b'x', tid, None)


def test_read_only(client, server):
    storage = client(server(MAPPING), read_only=True)
    assert storage.isReadOnly()
    for call in (lambda: storage.new_oid(), lambda: storage.tpc_begin(TransactionMetaData())):
        with pytest.raises(ReadOnlyError):
            call()


def test_the_finish_tells_before_others_see_it(client, server):
    storage = client(server(MAPPING))
    txn = TransactionMetaData()
    before = storage.lastTransaction()
    storage.tpc_begin(txn)
    storage.store(z64, z64, b'x', '', txn)
    storage.tpc_vote(txn)
    seen = {}
    waiting = threading.Event()

    def look():
        waiting.set()
        seen['other'] = storage.lastTransaction()

    other = threading.Thread(target=look)

    def told(tid):
        seen['told'] = tid
        seen['own'] = storage.lastTransaction()
        other.start()
        assert waiting.wait(WAIT_S)
        assert 'other' not in seen or seen['other'] == before

    tid = storage.tpc_finish(txn, told)
    other.join()
    assert seen == {'told': tid, 'own': tid, 'other': tid}


def test_an_exception_of_the_finish_is_the_callers(client, server):
    storage = client(server(MAPPING))
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(z64, z64, b'x', '', txn)
    storage.tpc_vote(txn)
    with pytest.raises(ZeroDivisionError):
        storage.tpc_finish(txn, lambda tid: 1 / 0)
    # what was committed is committed, and the next one begins
    assert storage.load(z64)[0] == b'x'
    commit(storage, (z64, storage.load(z64)[1], b'y'))


def test_a_transaction_that_is_dropped_holds_up_nobody(client, server):
    storage = client(server(MAPPING))
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(z64, z64, b'x', '', txn)
    del txn
    gc.collect()
    commit(storage, (z64, z64, b'y'))
    assert storage.load(z64)[0] == b'y'


def test_a_lost_connection_poisons_the_transaction(client, server):
    process = server(FILE)
    storage = client(process)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(z64, z64, b'x', '', txn)
    process.kill()
    wait_for(lambda: not storage.is_connected())
    process.start()
    wait_for(storage.is_connected)
    with pytest.raises(ClientDisconnected) as e:
        storage.tpc_vote(txn)
    assert e.value.args == ('tpc_vote', 'on a disconnected transaction')
    storage.tpc_abort(txn)
    commit(storage, (z64, z64, b'y'))
    assert storage._connection_generation == 3


class Counting(zc.zkzeo.ClientStorage):
    """A subclass with a state of its own."""

    def __init__(self, *args, **kw):
        self.seen = []
        super().__init__(*args, **kw)

    def invalidateTransaction(self, tid, oids):
        self.seen.append((tid, oids))
        super().invalidateTransaction(tid, oids)

    def notify_connected(self, conn, info):
        self.seen.append(info['name'])
        super().notify_connected(conn, info)


def test_subclass(opened, client, server):
    process = server(MAPPING)
    storage = opened(Counting(process.address, wait_timeout=WAIT_S))
    assert storage.seen == ['Mapping Storage']
    tid = commit(client(process), (p64(5), z64, b'x'), (p64(6), z64, b'x'))
    wait_for(lambda: len(storage.seen) == 2)
    assert storage.seen[1][0] == tid
    assert sorted(storage.seen[1][1]) == [p64(5), p64(6)]


def test_arguments_of_all_kinds(client, server):
    """What the server gets is what was given: it comes back with an undo log's extension."""
    storage = client(server(FILE))
    extension = {'i': 1, 'f': 2.5, 's': 'x\u20ac', 'b': b'\0\xff', 'n': None, 't': (1, (2, 3)),
                 'l': [1, [2, {}]], 'd': {'k': {'k': True}}, 'big': 1 << 70, 'neg': -(1 << 70)}
    txn = TransactionMetaData('user', 'd\xe9scription', extension)
    storage.tpc_begin(txn)
    storage.store(z64, z64, b'x', '', txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    [record] = storage.iterator()
    assert record.extension == extension
    assert (record.user, record.description) == (b'user', 'd\xe9scription'.encode())
    with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
        storage._call('history', lambda: 1)
    deep = None
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueError, match='deep'):
        storage._call('history', deep)


def test_others_run_while_one_waits(client, server):
    """The GIL is free while a vote waits for a lock of another transaction."""
    process = server(FILE)
    first, second = client(process), client(process)
    tid = commit(first, (z64, z64, b'x'))
    holder = TransactionMetaData()
    first.tpc_begin(holder)
    first.store(z64, tid, b'y', '', holder)
    first.tpc_vote(holder)
    result = []

    def vote():
        txn = TransactionMetaData()
        second.tpc_begin(txn)
        second.store(z64, tid, b'z', '', txn)
        try:
            second.tpc_vote(txn)
        except ConflictError as e:
            result.append(e)
        second.tpc_abort(txn)

    thread = threading.Thread(target=vote)
    thread.start()
    while first.server_status()['waiting'] != 1:
        assert thread.is_alive()
    first.tpc_finish(holder)
    thread.join(WAIT_S)
    assert [type(e) for e in result] == [ConflictError]


WAITING = """
import sys, threading, time
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64
import zc.zkzeo

kind, port = sys.argv[1], int(sys.argv[2])
storage = zc.zkzeo.ClientStorage(('127.0.0.1', port), wait_timeout=60)
txn = TransactionMetaData()
if kind == 'vote':
    storage.tpc_begin(txn)
    storage.store(p64(1), z64, b'x', '', txn)
elif kind == 'begin':
    storage.tpc_begin(txn)
storage.ping()
wait = {
    'load': lambda: storage.loadBefore(p64(7), p64(2 ** 60)),
    'behind another': lambda: storage.loadBefore(p64(7), p64(2 ** 60)),
    'call': storage.ping,
    'vote': lambda: storage.tpc_vote(txn),
    'begin': lambda: storage.tpc_begin(TransactionMetaData()),
    'connection': lambda: storage.loadBefore(p64(7), p64(2 ** 60)),
}[kind]
print('ready', flush=True)
sys.stdin.readline()
others = []
if kind == 'behind another':
    others = [threading.Thread(target=storage.history, args=(p64(0),)) for _ in range(2)]
    for t in others:
        t.start()
while kind == 'connection' and storage.is_connected():
    time.sleep(0.01)
try:
    print('waits', flush=True)
    wait()
except KeyboardInterrupt:
    print('interrupted', flush=True)
sys.stdin.readline()
for t in others:
    t.join()
if kind in ('vote', 'begin'):
    storage.tpc_abort(txn)
for _ in range(3):
    assert storage.history(p64(0)), 'the same connection'
storage.close()
print('goes on', flush=True)
"""


@pytest.mark.parametrize('kind', ['load', 'behind another', 'call', 'vote', 'begin', 'connection'])
def test_an_interrupt_ends_a_wait(client, server, kind):
    """Of a server that hangs, or is gone; what it answers later disturbs nobody."""
    s = server(FILE)
    commit(client(s), (p64(0), z64, b'root'))
    process = subprocess.Popen(
        [sys.executable, '-c', WAITING, kind, str(s.address[1])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == 'ready\n'
        if kind == 'connection':
            s.kill()
        else:
            freeze(s.process)
        process.stdin.write('\n')
        process.stdin.flush()
        assert process.stdout.readline() == 'waits\n'
        wait_for(lambda: states(process.pid)[0] == 'S')
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == 'interrupted\n'
        if kind == 'connection':
            s.start()
        else:
            s.process.send_signal(signal.SIGCONT)
        assert process.communicate('\n', timeout=WAIT_S)[0] == 'goes on\n'
    finally:
        process.kill()
        process.wait()


def test_an_interrupt_in_a_callback(client, server):
    """Who calls hears of it, and not only sys.unraisablehook."""
    process = server(FILE)
    storage, writer = client(process), client(process)
    commit(writer, (p64(0), z64, b'root'))
    interrupted, forgotten = threading.Event(), []

    class Database:
        transform_record_data = untransform_record_data = staticmethod(lambda data: data)

        def invalidate(self, tid, oids, version=''):
            if threading.current_thread() is threading.main_thread() and not interrupted.is_set():
                interrupted.set()
                signal.raise_signal(signal.SIGINT)

        def invalidateCache(self):
            forgotten.append(True)

    def write():
        while not interrupted.is_set() and not stop.is_set():
            commit(writer, (p64(0), writer.load(p64(0))[1], b'root'))

    stop = threading.Event()
    storage.registerDB(Database())
    before = len(forgotten)
    thread = threading.Thread(target=write)
    thread.start()
    deadline = time.monotonic() + WAIT_S
    try:
        with pytest.raises(KeyboardInterrupt):
            while time.monotonic() < deadline:
                storage.ping()
    finally:
        stop.set()
        thread.join()
    assert len(forgotten) > before, 'what was not taken in is not shown'
    storage.ping()


def test_many_threads(client, server):
    process = server(FILE)
    storage, writer = client(process, cache_size=1 << 20), client(process)
    count = 200
    commit(writer, *[(p64(i), z64, b'%d' % i * 50) for i in range(count)])
    wrong = []
    go = threading.Event()

    def read(seed):
        go.wait()
        for n in range(400):
            i = (n * 7 + seed) % count
            data, serial, end = storage.loadBefore(p64(i), maxtid)
            if not data.startswith(b'%d' % i):
                wrong.append((i, data[:20]))

    def write():
        go.wait()
        for i in range(30):
            serial = writer.load(p64(i))[1]
            commit(writer, (p64(i), serial, b'%d' % i * 60))

    threads = [threading.Thread(target=read, args=(s,)) for s in range(8)]
    threads.append(threading.Thread(target=write))
    for t in threads:
        t.start()
    go.set()
    for t in threads:
        t.join(WAIT_S)
    assert not wrong and not any(t.is_alive() for t in threads)


def test_close_while_others_call(server):
    """Whoever is inside hears that it is closed; nobody waits for ever."""
    process = server(FILE)
    for _ in range(20):
        storage = zc.zkzeo.ClientStorage(process.address, wait_timeout=WAIT_S)
        results = []
        started = threading.Barrier(5)

        def call(method):
            started.wait()
            try:
                while True:
                    method(storage)
            except ClientDisconnected:
                results.append('disconnected')
            except POSKeyError as e:
                results.append(e)

        def begin(storage):
            txn = TransactionMetaData()
            storage.tpc_begin(txn)
            storage.tpc_abort(txn)

        threads = [threading.Thread(target=call, args=(m,)) for m in (
            lambda s: s.loadBefore(z64, maxtid), lambda s: s.ping(),
            lambda s: s.new_oid(), begin)]
        for t in threads:
            t.start()
        started.wait()
        storage.close()
        for t in threads:
            t.join(WAIT_S)
            assert not t.is_alive()
        assert all(r == 'disconnected' or isinstance(r, POSKeyError) for r in results)


def test_close_in_a_callback(client, server):
    process = server(MAPPING)
    storage = client(process)
    closed = threading.Event()

    class Database:
        transform_record_data = untransform_record_data = staticmethod(lambda data: data)

        def invalidate(self, tid, oids):
            storage.close()
            closed.set()

        def invalidateCache(self):
            pass

    storage.registerDB(Database())
    commit(client(process), (z64, z64, b'x'))
    assert closed.wait(WAIT_S)
    wait_for(lambda: not storage.is_connected())


def test_an_unclosed_storage_is_collected(server):
    process = server(MAPPING)
    storage = zc.zkzeo.ClientStorage(process.address, wait_timeout=WAIT_S)
    storage.itself = storage
    import weakref
    ref = weakref.ref(storage)
    del storage
    gc.collect()
    assert ref() is None


FORK = '''
import os, sys
import zc.zkzeo
from ZODB.utils import maxtid, z64
from ZEO.Exceptions import ClientDisconnected
storage = zc.zkzeo.ClientStorage(('127.0.0.1', int(sys.argv[1])), wait_timeout=30)
pid = os.fork()
if pid == 0:
    try:
        storage.loadBefore(z64, maxtid)
    except ClientDisconnected as e:
        assert 'fork' in str(e), e
    else:
        sys.exit('the child used the connection of its parent')
    storage.close()
    other = zc.zkzeo.ClientStorage(('127.0.0.1', int(sys.argv[1])), wait_timeout=30)
    other.ping()
    other.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
storage.ping()
storage.close()
print('good')
'''


@NO_FORK
def test_fork(server):
    """T31"""
    process = server(MAPPING)
    run = subprocess.run([sys.executable, '-c', FORK, str(process.address[1])],
                         capture_output=True, text=True, timeout=60)
    assert run.stdout == 'good\n', run.stderr


CHILDREN = '''
import os, pathlib, signal, sys, threading
import zc.zkzeo
from ZEO.Exceptions import ClientDisconnected
from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64
port, pid = map(int, sys.argv[1:])
storage = zc.zkzeo.ClientStorage(
    ('127.0.0.1', port), blob_dir='cache', blob_cache_size=100000, wait_timeout=30)

def child(work):
    """A child that ends as programs do: what is open is closed, libraries have their say."""
    it = os.fork()
    if not it:
        signal.alarm(20)
        work()
        sys.exit(0)
    assert os.waitpid(it, 0)[1] == 0

def refused():
    oid = b'-------1'
    for call in (storage.ping, storage.new_oid, lambda: storage.tpc_begin(TransactionMetaData()),
                 lambda: storage.store(oid, z64, b'x', '', txn), lambda: storage.tpc_vote(txn),
                 lambda: storage.loadBlob(oid, oid), lambda: storage.getTid(oid),
                 lambda: storage.load(oid)):
        try:
            call()
        except ClientDisconnected as e:
            assert 'fork' in str(e), e
        else:
            raise AssertionError(call)
    storage.lastTransaction()
    assert not storage.is_connected()
    assert not storage.isReadOnly()
    storage.tpc_abort(txn)

def another():
    other = zc.zkzeo.ClientStorage(('127.0.0.1', port), wait_timeout=30)
    other.ping()

pathlib.Path('new').write_bytes(b'x')
txn = TransactionMetaData()
storage.tpc_begin(txn)
storage.storeBlob(storage.new_oid(), z64, b'cd\\n.', 'new', '', txn)
child(lambda: None)
child(refused)
child(another)
files = lambda pattern: len(list(pathlib.Path('cache').rglob(pattern)))
assert files('*.tmp-') == 1, 'the blob of a transaction that is under way'
os.kill(pid, signal.SIGSTOP)
begins = threading.Event()
waits = threading.Thread(target=lambda: (begins.set(), storage.ping()))
waits.start()
begins.wait()
child(lambda: None)
child(storage.close)
os.kill(pid, signal.SIGCONT)
waits.join()
storage.tpc_vote(txn)
storage.tpc_finish(txn)
assert (files('*.tmp-'), files('*.blob')) == (0, 1)
storage.close()
print('good')
'''


@NO_FORK
def test_children_that_exit(server, tmp_path):
    """T31: while there is a transaction, a thread that cleans, and one that waits for the server."""
    process = server(BLOBS)
    run = subprocess.run(
        [sys.executable, '-c', CHILDREN, str(process.address[1]), str(process.pid)],
        capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert run.stdout == 'good\n', run.stderr


def test_exit_without_close(server):
    """A process that ends with open storages ends."""
    process = server(MAPPING)
    code = ('import sys, zc.zkzeo\n'
            's = zc.zkzeo.ClientStorage(("127.0.0.1", int(sys.argv[1])))\n'
            's.ping()\nprint("good")\n')
    run = subprocess.run([sys.executable, '-c', code, str(process.address[1])],
                         capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, 'good\n', '')


def test_exit_where_one_cannot_be_closed(server):
    """The others are closed all the same, and it says why."""
    process = server(MAPPING)
    code = ('import logging, sys, zc.zkzeo\n'
            'logging.basicConfig()\n'
            'class Broken(zc.zkzeo.ClientStorage):\n'
            '    def close(self):\n'
            '        raise ValueError("no")\n'
            'class Good(zc.zkzeo.ClientStorage):\n'
            '    def close(self):\n'
            '        super().close()\n'
            '        print("closed")\n'
            'all = [kind(("127.0.0.1", int(sys.argv[1]))) for kind in (Broken, Good) * 5]\n')
    run = subprocess.run([sys.executable, '-c', code, str(process.address[1])],
                         capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, 'closed\n' * 5), run.stderr
    assert run.stderr.count('ValueError: no') == 5


def _references(storage, tid):
    """Everything that makes objects in C, errors included."""
    txn = TransactionMetaData('u', 'd', {'a': [1, b'x']})
    storage.tpc_begin(txn)
    serial = storage.load(z64)[1]
    storage.store(z64, serial, b'x' * 100, '', txn)
    storage.checkCurrentSerialInTransaction(z64, serial, txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn, lambda tid: None)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(z64, tid, b'y', '', txn)
    with pytest.raises(ConflictError):
        storage.tpc_vote(txn)
    storage.tpc_abort(txn)
    storage.loadBefore(z64, tid)
    storage.history(z64, 3)
    for call in (lambda: storage.load(p64(99)), lambda: storage.load(b'x'),
                 lambda: storage.getTid(p64(99)), lambda: storage.load(),
                 lambda: storage.store(z64, z64, None, '', txn)):
        with pytest.raises(Exception):
            call()
    storage.prefetch([z64, p64(1)], maxtid)
    storage.new_oid()
    storage.sortKey()
    storage.ping()
    list(storage.iterator(storage.lastTransaction()))


def test_no_reference_leaks(client, server):
    storage = client(server(FILE))
    tid = commit(storage, (z64, z64, b'x'))
    for _ in range(5):
        _references(storage, tid)

    def growth():
        gc.collect()
        objects, blocks = len(gc.get_objects()), sys.getallocatedblocks()
        for _ in range(50):
            _references(storage, tid)
        gc.collect()
        return len(gc.get_objects()) - objects, sys.getallocatedblocks() - blocks

    # what leaks, leaks in every round
    rounds = [growth() for _ in range(3)]
    assert min(objects for objects, _ in rounds) < 40, rounds
    assert min(blocks for _, blocks in rounds) < 100, rounds
    # the classes of exceptions are shared
    assert sys.getrefcount(ClientDisconnected) < 10000


def test_conflicts_are_resolved_here(client, server):
    """tryToResolveConflict() is the class' own."""
    from BTrees.Length import Length
    process = server('<zeo>\naddress {address}\nclient-conflict-resolution true\n</zeo>\n'
                     '<filestorage>\npath {dir}/Data.fs\n</filestorage>\n')
    first, second = ZODB.DB(client(process)), ZODB.DB(client(process))
    with first.transaction() as connection:
        connection.root()['n'] = Length(5)
    second.storage.ping()
    managers = [transaction.TransactionManager() for _ in range(2)]
    roots = [db.open(m).root() for db, m in zip((first, second), managers)]
    for root, n in zip(roots, (10, 100)):
        root['n'].change(n)
    for manager in managers:
        manager.commit()
    for manager in managers:
        manager.abort()
    first.storage.ping()
    with first.transaction() as connection:
        assert connection.root()['n']() == 115
    first.close()
    second.close()


def test_log(client, server, caplog):
    caplog.set_level('INFO')
    process = server(MAPPING)
    storage = client(process, name='demo')
    pid = os.getpid()
    assert f'demo ClientStorage (pid={pid}) created RW/normal for storage: \'1\'' in caplog.text
    assert f'demo Connected to storage: {storage._server_addr}' in caplog.text
    process.kill()
    wait_for(lambda: 'demo Disconnected from storage' in caplog.text)
    process.start()
    wait_for(lambda: 'demo Reconnected to storage' in caplog.text)
    assert {r.name for r in caplog.records if 'demo ' in r.getMessage()} == {'ZEO.ClientStorage'}


@pytest.mark.parametrize('shared', [False, True])
def test_blobs(client, storage, server, tmp_path, shared):
    """Ours and the stock client read each other's, through one folder."""
    import ZODB.blob
    process = server('<zeo>\naddress {address}\n</zeo>\n<filestorage>\npath {dir}/Data.fs\n'
                     'blob-dir {dir}/blobs\n</filestorage>\n')
    folder = str(tmp_path / ('blobs' if shared else 'cache'))
    db = ZODB.DB(client(process, blob_dir=folder, shared_blob_dir=shared))
    assert ZODB.interfaces.IBlobStorage.providedBy(db.storage)
    with db.transaction() as connection:
        blob = connection.root()['blob'] = ZODB.blob.Blob(b'x' * 200000)
    stock = ZODB.DB(storage(process, blob_dir=folder, shared_blob_dir=shared))
    with stock.transaction() as connection:
        with connection.root()['blob'].open() as f:
            assert f.read() == b'x' * 200000
        with connection.root()['blob'].open('w') as f:
            f.write(b'other')
    db.storage.ping()
    with db.transaction() as connection:
        blob = connection.root()['blob']
        with blob.open() as f:
            assert f.read() == b'other'
        oid, serial = blob._p_oid, blob._p_serial
    path = db.storage.loadBlob(oid, serial)
    assert path == db.storage.fshelper.getBlobFilename(oid, serial)
    with db.storage.openCommittedBlobFile(oid, serial) as f:
        assert f.read() == b'other' and f.name == path
    with pytest.raises(POSKeyError):
        db.storage.loadBlob(p64(99), serial)
    stock.close()
    db.close()


def test_an_aborted_blob_leaves_nothing(client, server, tmp_path):
    """T13"""
    process = server('<zeo>\naddress {address}\n</zeo>\n<filestorage>\npath {dir}/Data.fs\n'
                     'blob-dir {dir}/blobs\n</filestorage>\n')
    folder = tmp_path / 'cache'
    storage = client(process, blob_dir=str(folder))
    (tmp_path / 'new').write_bytes(b'blob')
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.storeBlob(p64(1), z64, b'record', str(tmp_path / 'new'), '', txn)
    storage.tpc_vote(txn)
    storage.tpc_abort(txn)
    assert not (tmp_path / 'new').exists()
    left = [p for p in folder.rglob('*') if p.is_file() and not p.name.startswith('.')]
    assert not left
    with pytest.raises(ZODB.POSException.Unsupported):
        client(process).loadBlob(p64(1), z64)


def test_delete_object(client, server):
    storage = client(server(FILE))
    tid = commit(storage, (p64(1), z64, b'x'))
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.deleteObject(p64(1), tid, txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    with pytest.raises(POSKeyError):
        storage.load(p64(1))
    assert storage.loadBefore(p64(1), storage.lastTransaction())[0] == b'x'


def test_undo_and_pack(client, peer):
    one, two = zodb_pickle(MinPO(1)), zodb_pickle(MinPO(2))
    storage = client(peer(FILE))
    first = commit(storage, (z64, z64, one))
    commit(storage, (z64, first, two))
    assert storage.supportsUndo()
    undone = storage.undoLog(0, -1)[0]['id']
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.undo(undone, txn)
    assert storage.tpc_vote(txn) == [z64]
    storage.tpc_finish(txn)
    assert storage.load(z64)[0] == one
    assert len(storage.history(z64, 9)) == 3
    storage.pack(time.time() + 1)
    assert len(storage.history(z64, 9)) == 1
    with pytest.raises(ValueError, match='undo log'):
        storage.tpc_begin(txn := TransactionMetaData())
        storage.undo(b'AAA=', txn)
    storage.tpc_abort(txn)


def test_copy(client, server, opened, tmp_path):
    """copyTransactionsFrom() keeps tids, and a copy of a copy is the same."""
    from ZODB.FileStorage import FileStorage
    source = opened(FileStorage(str(tmp_path / 'Source.fs')))
    db = ZODB.DB(source)
    for n in range(3):
        with db.transaction(note=f'{n}') as connection:
            connection.root()['n'] = n
    storage = client(server(FILE))
    storage.copyTransactionsFrom(source)
    copied = [(t.tid, t.user, t.description, [(r.oid, r.tid, r.data) for r in t])
              for t in storage.iterator()]
    assert copied == [(t.tid, t.user, t.description, [(r.oid, r.tid, r.data) for r in t])
                      for t in source.iterator()]


def test_loads_are_counted_once(client, server):
    s = server(MAPPING)
    writer, reader = client(s), client(s)
    oid = writer.new_oid()
    tid = commit(writer, (oid, z64, b'data'))
    reader.ping()
    for hits in range(3):
        before = reader._cache_stats()
        assert reader.loadBefore(oid, maxtid) == (b'data', tid, None)
        after = reader._cache_stats()
        assert after['hits'] - before['hits'] == (hits > 0)
        assert after['misses'] - before['misses'] == (hits == 0)


class FailingDatabase:
    """invalidate() raises; what lastTransaction() was then, and when all was invalidated."""
    transform_record_data = untransform_record_data = None

    def __init__(self, storage):
        self.storage = storage
        self.failed, self.cleared = [], []

    def invalidate(self, tid, oids):
        self.failed.append(self.storage.lastTransaction())
        raise RuntimeError('not taken in')

    def invalidateCache(self):
        self.cleared.append(self.storage.lastTransaction())


def test_a_database_that_fails_to_invalidate_is_told_to_forget_all(client, server, monkeypatch):
    s = server(MAPPING)
    writer, reader = client(s), client(s)
    oid = writer.new_oid()
    first = commit(writer, (oid, z64, b'1'))
    reader.ping()
    database, unraisable = FailingDatabase(reader), []
    reader.registerDB(database)
    monkeypatch.setattr(sys, 'unraisablehook', lambda u: unraisable.append(str(u.exc_value)))
    second = commit(writer, (oid, first, b'2'))
    reader.ping()
    assert database.failed == database.cleared == [first]  # before the new tid is seen
    assert unraisable == ['not taken in']
    assert reader.lastTransaction() == second
    assert reader.loadBefore(oid, maxtid) == (b'2', second, None)


def test_the_cache_is_cleared(client, server):
    """What was cached has to be asked for again; nothing else changes."""
    s = server(MAPPING)
    kept, cleared = client(s), client(s, wait_timeout=0.1)
    oid = kept.new_oid()
    tid = commit(kept, (oid, z64, b'x'))
    cleared.ping()
    for storage in kept, cleared:
        assert storage.loadBefore(oid, maxtid) == (b'x', tid, None)
    cleared._cache.clear()
    assert cleared.lastTransaction() == tid
    assert cleared.loadBefore(oid, maxtid) == (b'x', tid, None)
    cleared._cache.clear()
    s.kill()
    wait_for(lambda: not cleared.is_connected())
    assert kept.loadBefore(oid, maxtid) == (b'x', tid, None)
    with pytest.raises(ClientDisconnected):
        cleared.loadBefore(oid, maxtid)
    with pytest.raises(ClientDisconnected):
        cleared._cache.clear()
