"""Stock ZEO clients. Where a test says what ZEO does, it asks Python's server as well."""

import contextlib
import json
import logging
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest
import transaction
import ZEO
from BTrees.Length import Length
from persistent.mapping import PersistentMapping
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import (ConflictError, POSKeyError, ReadConflictError, ReadOnlyError,
                               StorageTransactionError)
from ZODB.tests.MinPO import MinPO
from ZODB.tests.StorageTestBase import zodb_pickle

from wire import MAX_TID, Z64, Closed, Wire, WireError, p64, u64, wait_until

WAIT_S = 30


def configuration(zeo='', storage='', kind='filestorage', more=''):
    path = '  path {dir}/Data.fs\n' if kind == 'filestorage' else ''
    return (f'<zeo>\n  address {{address}}\n  {zeo}\n</zeo>\n'
            f'<{kind} 1>\n{path}  {storage}\n</{kind}>\n{more}')


def begin(storage, stores=(), checks=(), **meta):
    t = TransactionMetaData(**meta)
    storage.tpc_begin(t)
    for oid, serial, data in stores:
        storage.store(oid, serial, data, '', t)
    for oid, serial in checks:
        storage.checkCurrentSerialInTransaction(oid, serial, t)
    return t


def commit(storage, stores=(), checks=(), **meta):
    t = begin(storage, stores, checks, **meta)
    try:
        storage.tpc_vote(t)
        return storage.tpc_finish(t)
    except BaseException:
        storage.tpc_abort(t)
        raise


def seen(storage, tid):
    """Wait until a client has been told of a transaction."""
    wait_until(f'{tid.hex()} is seen', lambda: storage.lastTransaction() >= tid)


# --- a database ---

@pytest.mark.parametrize('msgpack', ['false', 'true'])
@pytest.mark.parametrize('place', ['127.0.0.1', '::1', 'unix'])
def test_database(server, opened, tmp_path, msgpack, place):
    if place == 'unix':
        address = str(tmp_path / 'socket')
    else:
        with socket.socket(socket.AF_INET6 if ':' in place else socket.AF_INET) as s:
            s.bind((place, 0))
            address = (place, s.getsockname()[1])
    s = server(configuration(f'msgpack {msgpack}'), address)
    one = opened(ZEO.DB([address]))
    two = opened(ZEO.DB([address]))
    assert one.storage.protocol_version == (b'M5' if msgpack == 'true' else b'Z5')
    with one.transaction('a note \u20ac') as connection:
        root = connection.root()
        root['list'] = [1, 'two', b'three', None, 4.5, 2**70]
        root['mapping'] = PersistentMapping({'n\xe4me': PersistentMapping(x=1)})
        root['large'] = PersistentMapping(x='x' * 3_000_000)
    two.storage.ping()
    with two.transaction() as connection:
        root = connection.root()
        assert root['list'] == [1, 'two', b'three', None, 4.5, 2**70]
        assert root['mapping']['n\xe4me']['x'] == 1
        assert len(root['large']['x']) == 3_000_000
        root['mapping']['n\xe4me']['x'] = 2
    one.storage.ping()
    with one.transaction() as connection:
        assert connection.root()['mapping']['n\xe4me']['x'] == 2
    assert len(two.storage) >= 4
    assert one.storage.getSize() > 3_000_000
    assert s.process.poll() is None


COUNT = """
import sys, transaction, ZEO
from persistent.mapping import PersistentMapping
address, name, n = sys.argv[1:4]
if ':' in address:
    host, port = address.split(':')
    address = host, int(port)
db = ZEO.DB(address, wait_timeout=60)
for i in range(int(n)):
    for attempt in transaction.manager.attempts(1000):
        with attempt:
            connection = db.open()
            transaction.get().addAfterCommitHook(lambda ok, c=connection: None)
            root = connection.root()
            try:
                root['shared']['n'] += 1
                own = root['own'][name]
                own['n'] = i + 1
                own[i] = PersistentMapping(i=i)
                transaction.commit()
            except BaseException:
                transaction.abort()
                connection.close()
                raise
            connection.close()
db.close()
"""


@pytest.mark.parametrize('msgpack', ['false', 'true'])
def test_several_processes(server, opened, msgpack):
    """They commit to an object of each and to one of all, and read what the others wrote."""
    n, times = 4, 25
    s = server(configuration(f'msgpack {msgpack}'))
    db = opened(ZEO.DB(s.address))
    with db.transaction() as connection:
        root = connection.root()
        root['shared'] = PersistentMapping(n=0)
        root['own'] = PersistentMapping({str(i): PersistentMapping() for i in range(n)})
    processes = [subprocess.Popen([sys.executable, '-c', COUNT, '%s:%d' % s.address, str(i),
                                   str(times)], stderr=subprocess.PIPE, text=True)
                 for i in range(n)]
    try:
        for p in processes:
            assert (p.communicate(timeout=100)[1], p.returncode) == ('', 0)
    finally:
        for p in processes:
            if p.poll() is None:
                p.kill()
                p.wait()
    db.storage.ping()
    with db.transaction() as connection:
        root = connection.root()
        assert root['shared']['n'] == n * times
        for i in range(n):
            own = root['own'][str(i)]
            assert own['n'] == times and [own[k]['i'] for k in range(times)] == list(range(times))
    status = db.storage._call('server_status')
    assert status['commits'] >= n * times and status['conflicts'] > 0


# --- errors ---

@pytest.mark.parametrize('msgpack', ['false', 'true'])
def test_conflict(peer, storage, msgpack):
    a = storage(peer(configuration(f'msgpack {msgpack}')))
    oid = a.new_oid()
    first = commit(a, [(oid, Z64, zodb_pickle(MinPO(1)))])
    second = commit(a, [(oid, first, zodb_pickle(MinPO(2)))])
    with pytest.raises(ConflictError) as e:
        commit(a, [(oid, first, zodb_pickle(MinPO(3)))])
    assert type(e.value) is ConflictError
    assert (e.value.oid, tuple(e.value.serials)) == (oid, (second, first))
    assert e.value.class_name == 'ZODB.tests.MinPO.MinPO'
    assert str(e.value) == (
        'database conflict error (oid 0x01, class ZODB.tests.MinPO.MinPO, serial this txn '
        f'started with {_stamp(first)}, serial currently committed {_stamp(second)})')
    # a creation of what is there
    with pytest.raises(ConflictError) as e:
        commit(a, [(oid, Z64, zodb_pickle(MinPO(3)))])
    assert tuple(e.value.serials) == (second, Z64)
    # the next transaction is not touched by it
    commit(a, [(oid, second, zodb_pickle(MinPO(4)))])


def _stamp(serial):
    from ZODB.POSException import readable_tid_repr
    return readable_tid_repr(serial)


def test_read_conflict(peer, storage):
    a = storage(peer(configuration()))
    checked, written = a.new_oid(), a.new_oid()
    first = commit(a, [(checked, Z64, zodb_pickle(MinPO(1)))])
    assert commit(a, [(written, Z64, zodb_pickle(MinPO(1)))], [(checked, first)])
    second = commit(a, [(checked, first, zodb_pickle(MinPO(2)))])
    with pytest.raises(ReadConflictError) as e:
        commit(a, [(a.new_oid(), Z64, zodb_pickle(MinPO(1)))], [(checked, first)])
    assert (e.value.oid, tuple(e.value.serials)) == (checked, (second, first))
    with pytest.raises(POSKeyError) as e:
        commit(a, [], [(p64(1 << 40), first)])
    assert e.value.args == (p64(1 << 40),)


def test_read_current_of_a_connection(server, opened):
    """The same through objects: readCurrent()."""
    s = server(configuration())
    db = opened(ZEO.DB(s.address))
    with db.transaction() as connection:
        connection.root()['a'] = PersistentMapping()
        connection.root()['b'] = PersistentMapping()
    tm = transaction.TransactionManager()
    connection = db.open(tm)
    root = connection.root()
    root['a']['x'] = len(root['b'])
    connection.readCurrent(root['b'])
    with db.transaction() as other:
        other.root()['b']['x'] = 1
    with pytest.raises(ReadConflictError):
        tm.commit()
    tm.abort()
    connection.close()


def test_no_such_object(peer, storage):
    """T19: None before the creation of an object, POSKeyError where there is none."""
    a = storage(peer(configuration()))
    oid = a.new_oid()
    missing = p64(1 << 50)
    first = commit(a, [(oid, Z64, zodb_pickle(MinPO(1)))])
    second = commit(a, [(oid, first, zodb_pickle(MinPO(2)))])
    assert a.loadBefore(oid, first) is None
    assert a.loadBefore(oid, Z64) is None
    assert a.loadBefore(oid, second)[1:] == (first, second)
    assert a.loadBefore(oid, p64(u64(second) + 1))[1:] == (second, None)
    for f in (lambda: a.loadBefore(missing, MAX_TID), lambda: a.load(missing),
              lambda: a.loadSerial(missing, first), lambda: a.getTid(missing),
              lambda: a.loadSerial(oid, p64(u64(first) + 1)),
              lambda: a.history(missing)):
        with pytest.raises(POSKeyError) as e:
            f()
        assert len(e.value.args[0]) == 8


def test_transaction_errors(peer, wires):
    """Methods of a transaction that is not begun, or is another one (T12)."""
    s = peer(configuration())
    w = wires(s)

    def error(*call):
        with pytest.raises(WireError) as e:
            w.call(*call)
        return e.value.name, tuple(e.value.data)
    name = 'ZODB.POSException.StorageTransactionError'
    assert error('vote', 5) == (name, (None, 5))
    assert error('storea', p64(1), Z64, b'', 'x') == (name, (None, 'x'))
    assert error('checkCurrentSerialInTransaction', p64(1), Z64, 6) == (name, (None, 6))
    assert w.call('tpc_abort', 5) is None
    assert w.call('tpc_finish', 5) in (None, 0)
    w.call('tpc_begin', 1, 'u', 'd', {})
    assert w.call('tpc_begin', 1, 'u', 'd', {}) is None
    assert error('tpc_begin', 2, 'u', 'd', {}) == (
        name, ('Multiple simultaneous tpc_begin requests from one client.',))
    assert error('vote', 2) == (name, (1, 2))
    assert error('storea', p64(1), Z64, b'', 2) == (name, (1, 2))
    assert w.call('tpc_abort', 2) is None
    w.call('vote', 1)
    assert error('vote', 1) == (name, ('Already voting (locked)',))
    assert error('vote', 2) == (name, (1, 2))
    assert w.call('tpc_abort', 1) is None
    assert w.call('tpc_abort', 1) is None
    # a finish without a vote
    w.call('tpc_begin', 3, 'u', 'd', {})
    assert error('tpc_finish', 3) == ('builtins.AssertionError', ('finished called wo lock',))
    assert w.call('tpc_abort', 3) is None


def test_transaction_errors_of_a_stock_client(server, storage):
    a = storage(server(configuration()))
    t = begin(a)
    with pytest.raises(StorageTransactionError):
        a.store(p64(1), Z64, b'', '', TransactionMetaData())
    with pytest.raises(StorageTransactionError):
        a.tpc_begin(t)
    a.tpc_abort(t)


# --- read-only ---

READ_ONLY = [configuration('read-only true'), configuration(storage='read-only true')]


@pytest.fixture
def filled(server):
    """A configuration whose data file has an object; its tid."""
    s = server(configuration())
    with Wire(s.address) as w:
        tid = w.commit([(Z64, Z64, zodb_pickle(PersistentMapping()))])
    assert s.stop() == 0
    return tid


@pytest.mark.parametrize('text', READ_ONLY)
def test_read_only(filled, peer, storage, wires, text):
    s = peer(text)
    a = storage(s, read_only=True)
    assert a.isReadOnly()
    assert a.load(Z64)[1] == filled
    for f in a.new_oid, lambda: begin(a):
        with pytest.raises(ReadOnlyError):
            f()
    w = wires(s, register=False)
    with pytest.raises(WireError) as e:
        w.call('register', '1', False)
    assert e.value.name == 'ZODB.POSException.ReadOnlyError'
    assert w.call('register', '1', True) == filled  # the fallback of a client
    for call in (('tpc_begin', 1, '', '', {}), ('vote', 1), ('new_oids',), ('tpc_abort', 1),
                 ('storea', Z64, Z64, b'', 1), ('tpc_finish', 1)):
        with pytest.raises(WireError) as e:
            w.call(*call)
        assert e.value.name == 'ZODB.POSException.ReadOnlyError', call


def test_read_only_client_of_a_writable_server(server, storage, wires):
    """Who has registered read-only stays so; others write."""
    s = server(configuration())
    reader = wires(s, read_only=True)
    writer = wires(s)
    tid = writer.commit([(p64(1), Z64, b'x')])
    with pytest.raises(WireError) as e:
        reader.call('tpc_begin', 1, '', '', {})
    assert e.value.name == 'ZODB.POSException.ReadOnlyError'
    reader.call('ping')
    assert reader.invalidations() == [(tid, [p64(1)])]


def test_writable_client_of_a_read_only_server(filled, server):
    s = server(READ_ONLY[0])
    with pytest.raises(ClientDisconnected):
        ClientStorage(s.address, wait_timeout=1)


def test_read_only_fallback(filled, server, storage, tmp_path, free_address):
    """It takes the read-only server, and leaves it when a writable one comes."""
    import shutil
    shutil.copy(tmp_path / 'Data.fs', tmp_path / 'Copy.fs')
    s = server(READ_ONLY[0])
    a = storage([s.address, free_address], read_only_fallback=True)
    assert a.isReadOnly()
    with pytest.raises(ReadOnlyError):
        begin(a)
    server(configuration().replace('Data.fs', 'Copy.fs'), free_address)
    wait_until('it is writable', lambda: a.is_connected() and not a.isReadOnly())
    commit(a, [(Z64, filled, zodb_pickle(PersistentMapping(x=1)))])


def test_reader_beside_a_read_only_file(filled, server, tmp_path):
    """A read-only storage takes no lock and changes nothing."""
    before = {p.name: p.read_bytes() for p in tmp_path.glob('Data.fs*')}
    first = server(READ_ONLY[1])
    second = server(READ_ONLY[1])
    for s in first, second:
        with Wire(s.address, read_only=True) as w:
            assert w.tid == filled
        assert s.stop() == 0
    assert {p.name: p.read_bytes() for p in tmp_path.glob('Data.fs*')} == before


# --- several storages ---

def test_several_storages(peer, storage, tmp_path):
    """T9: each has its own transactions, objects, locks and invalidations."""
    s = peer('<zeo>\n  address {address}\n</zeo>\n'
             '<filestorage one>\n  path {dir}/1.fs\n</filestorage>\n'
             '<filestorage two>\n  path {dir}/2.fs\n</filestorage>\n'
             '<mappingstorage three>\n  name A Name\n</mappingstorage>\n')
    names = ('one', 'two', 'three')
    wires = [Wire(s.address, storage=n) for n in names]
    readers = [Wire(s.address, storage=n) for n in names]
    assert [w.call('get_info')['name'] for w in wires] == [
        str(tmp_path / '1.fs'), str(tmp_path / '2.fs'), 'A Name']
    for n, w in enumerate(wires):
        w.begin(1, [(p64(1), Z64, b'of %d' % n)])
        w.call('vote', 1)  # all at once
    tids = [w.call('tpc_finish', 1) for w in wires]
    for n, (w, r) in enumerate(zip(wires, readers)):
        r.call('ping')
        assert r.invalidations() == [(tids[n], [p64(1)])]
        assert r.call('loadBefore', p64(1), MAX_TID) == (b'of %d' % n, tids[n], None)
        assert r.call('lastTransaction') == tids[n]
        w.call('ping')
        assert w.invalidations() == []
        for x in w, r:
            x.close()
    a = storage(s, storage='two')
    assert a.load(p64(1)) == (b'of 1', tids[1])


# --- metadata ---

def test_history(peer, storage):
    a = storage(peer(configuration()))
    oid = a.new_oid()
    extension = {'n\xf6te': '\u20ac', 'number': 2**40, 'list': [1, (2, 3)], 'bytes': b'\xff\x00',
                 'none': None}
    first = commit(a, [(oid, Z64, b'first')], user='j\xfcrgen', description='d\xe9j\xe0 vu \u20ac',
                   extension=extension)
    second = commit(a, [(oid, first, b'second one')], user=b'\xff raw bytes',
                    description=b'x' * 60000)
    newest, oldest = a.history(oid, size=5)
    assert {k: newest[k] for k in ('tid', 'size', 'user_name')} == {
        'tid': second, 'size': len(b'second one'), 'user_name': b'\xff raw bytes'}
    assert newest['description'] == b'x' * 60000
    assert oldest['tid'] == first
    assert oldest['user_name'].decode() == 'j\xfcrgen'
    assert oldest['description'].decode() == 'd\xe9j\xe0 vu \u20ac'
    assert abs(oldest['time'] - time.time()) < 60
    assert {k: oldest[k] for k in extension} == extension
    assert sorted(oldest) == sorted(
        [*extension, 'time', 'user_name', 'description', 'tid', 'size'])
    assert [h['tid'] for h in a.history(oid)] == [second]


@pytest.mark.parametrize('what', ['user', 'description'])
def test_metadata_that_is_too_long(peer, wires, what):
    """T59: an error at vote; the connection and the storage go on."""
    s = peer(configuration())
    w = wires(s)
    w.begin(1, [(p64(1), Z64, b'x')], **{what: 'u' * 70000})
    with pytest.raises(WireError) as e:
        w.call('vote', 1)
    assert e.value.name == 'ZODB.FileStorage.FileStorage.FileStorageError'
    assert e.value.data[0].startswith({'user': 'user name'}.get(what, what) + ' too long')
    tid = w.commit([(p64(1), Z64, b'x')], id=2, **{what: 'u' * 65535})
    item, = w.call('history', p64(1), 1)
    assert item['tid'] == tid
    assert len(item['user_name' if what == 'user' else what]) == 65535


def test_empty_transaction(peer, storage, wires):
    """T15: it is written, and moves the last tid."""
    s = peer(configuration())
    a = storage(s)
    first = commit(a, [(a.new_oid(), Z64, b'x')])
    empty = commit(a, description='empty')
    assert empty > first
    assert a.lastTransaction() == empty
    assert wires(s).tid == empty


# --- status ---

def test_server_status(peer, wires):
    """T60"""
    s = peer(configuration('transaction-timeout 100'))
    a, b, c = wires(s), wires(s), wires(s, encoding='M')
    tid = a.commit([(p64(1), Z64, b'x'), (p64(2), Z64, b'x')])
    b.begin(1, [(p64(1), tid, b'y')])
    b.call('loadBefore', p64(1), MAX_TID)
    status = a.call('server_status')
    assert abs(time.mktime(time.strptime(status.pop('start'))) - time.time()) < 60
    assert status == {
        'connections': 3, 'loads': 1, 'stores': 3, 'commits': 1, 'aborts': 0, 'active_txns': 1,
        'lock_time': None, 'conflicts': 0, 'conflicts_resolved': 0, 'waiting': 0,
        'timeout-thread-is-alive': True, 'last-transaction': tid.hex()}
    b.call('vote', 1)
    c.begin(1, [(p64(1), Z64, b'y')])
    waiting = c.send('vote', 1)
    # its connection may be on another loop: until it waits
    status = wait_until('it waits', lambda: [
        st for st in [a.call('server_status')] if st['waiting']])[0]
    assert status['waiting'] == 1 and status['active_txns'] == 2
    assert abs(status['lock_time'] - time.time()) < 60
    assert c.call('server_status')['waiting'] == 1
    b.call('tpc_abort', 1)
    with pytest.raises(WireError):
        c.reply(waiting)
    status = a.call('server_status')
    assert (status['aborts'], status['conflicts'], status['waiting'], status['lock_time']) == (
        1, 1, 0, None)
    assert status['active_txns'] == 0
    with Wire(s.address, handshake=False) as w:
        w.send_raw(struct.pack('>I', 4) + b'ruok')
        ruok = json.loads(w.read_frame())['1']
    assert ruok.pop('start')
    status.pop('start')
    assert ruok == status


def test_status_without_a_timeout(peer, wires):
    assert wires(peer(configuration())).call('server_status')['timeout-thread-is-alive'] == 'stub'


def test_client_label(server, storage, wires):
    s = server(configuration())
    a = storage(s, client_label='the-label')
    a.ping()
    a.close()
    wait_until('its label in the log',
               lambda: [x for x in s.text().splitlines() if 'the-label ' in x and 'disconn' in x])
    w = wires(s)
    w.call('set_client_label', 'line\nbreak \x1b[31m' + 'x' * 1000)
    w.close()
    wait_until('the other label', lambda: 'line' in s.text())
    assert 'line\nbreak' not in s.text() and '\x1b' not in s.text()


def test_quota(peer, storage, wires):
    s = peer(configuration(storage='quota 10KB'))
    w = wires(s)
    tid = w.commit([(p64(1), Z64, b'x' * 5000)])
    # the quota is exceeded when a record starts behind it
    w.begin('large', [(p64(2), Z64, b'x' * 6000), (p64(3), Z64, b'x')])
    with pytest.raises(WireError) as e:
        w.call('vote', 'large')
    assert e.value.name == 'ZODB.FileStorage.FileStorage.FileStorageQuotaError'
    w.call('tpc_abort', 'large')
    assert w.commit([(p64(2), Z64, b'x' * 500)]) > tid  # what fits is taken
    assert w.call('get_info')['size'] < 10 << 10


def test_info(peer, storage, wires):
    """T57: interfaces in order; sizes move with each commit, the committer is told."""
    s = peer(configuration())
    w = wires(s)
    info = w.call('get_info')
    assert info.pop('name').endswith('/Data.fs')
    interfaces = [tuple(i) for i in info.pop('interfaces')]
    for key in 'supportsUndo', 'supports_record_iternext':
        del info[key]  # see test_interfaces_are_those_of_python
    assert info == {'length': 0, 'size': 4}
    assert ('ZODB.interfaces', 'IStorage') in interfaces
    assert interfaces[-1] == ('zope.interface', 'Interface')
    a = storage(s)
    commit(a, [(p64(i), Z64, b'x') for i in range(1, 4)])
    after = w.call('get_info')
    assert after['length'] == 3 == len(a)
    assert after['size'] == a.getSize() > 4


def test_interfaces_are_those_of_python(server, python_server, wires, tmp_path):
    for text in configuration(), configuration(kind='mappingstorage'):
        python = python_server(text)
        expected = wires(python).call('get_info')
        python.kill()
        expected['interfaces'] = tuple(tuple(i) for i in expected['interfaces'])
        assert wires(server(text)).call('get_info') == expected


# --- locks ---

def test_everybody_on_one_object(server, wires):
    """T50: each vote waits for those in front; the locks pass on however the holder ends."""
    s = server(configuration())
    oid = p64(1)
    tid = wires(s).commit([(oid, Z64, b'0')])
    a, b, b2, c, d, e = (wires(s) for _ in range(6))
    a.begin(1, [(oid, tid, b'a')])
    b.begin(1, [(p64(2), Z64, b'b')], [(oid, tid)])
    b2.begin(1, [(p64(3), Z64, b'b')], [(oid, tid)])
    c.begin(1, [(oid, tid, b'c')])
    d.begin(1, [(p64(4), Z64, b'd')])
    e.begin(1, [(oid, tid, b'e')])
    a.call('vote', 1)

    def queue(w, n):
        """Its vote waits, as the n-th."""
        id = w.send('vote', 1)
        wait_until('it waits', lambda: a.call('server_status')['waiting'] == n)
        return id
    vb, vb2, vc, ve = queue(b, 1), queue(b2, 2), queue(c, 3), queue(e, 4)
    assert d.call('vote', 1) in ((), [])  # it shares no object with the others
    a.call('tpc_abort', 1)
    assert b.reply(vb) in ((), []) and b2.reply(vb2) in ((), [])  # both only check it
    assert a.call('server_status')['waiting'] == 2
    b.close()
    assert a.call('server_status')['waiting'] == 2  # the other one still checks it
    b2.call('tpc_finish', 1)
    assert c.reply(vc) in ((), [])
    new = c.call('tpc_finish', 1)
    with pytest.raises(WireError) as x:
        e.reply(ve)
    assert x.value.name == 'ZODB.POSException.ConflictError'
    assert tuple(x.value.data['serials']) == (new, tid)
    assert d.call('tpc_finish', 1) > new
    status = a.call('server_status')
    assert (status['waiting'], status['active_txns'], status['lock_time']) == (0, 0, None)


@pytest.mark.parametrize('how', ['abort', 'finish', 'close', 'reset', 'error',
                                 'aborted while waiting', 'closed while waiting'])
def test_locks_pass_on(server, wires, how):
    s = server(configuration())
    oid = p64(1)
    tid = wires(s).commit([(oid, Z64, b'0')])
    holder, middle, last = wires(s), wires(s), wires(s)
    serial = Z64 if how == 'error' else tid
    holder.begin(1, [(oid, tid, b'a')])
    middle.begin(1, [(oid, serial, b'b')])
    last.begin(1, [], [(oid, tid)])
    holder.call('vote', 1)
    votes = []
    for n, w in enumerate((middle, last)):
        votes.append(w.send('vote', 1))
        wait_until('it waits', lambda: holder.call('server_status')['waiting'] == n + 1)
    if how == 'aborted while waiting':
        middle.call('tpc_abort', 1)
    elif how == 'closed while waiting':
        middle.close()
    wait_until('it has gone', lambda: 'waiting' not in how
               or holder.call('server_status')['waiting'] == 1)
    if how == 'finish':
        new = holder.call('tpc_finish', 1)
        for w, v in zip((middle, last), votes):
            with pytest.raises(WireError) as e:
                w.reply(v)
            assert tuple(e.value.data['serials']) == (new, tid)
        return
    {'close': holder.close, 'reset': holder.abort_hard}.get(
        how, lambda: holder.call('tpc_abort', 1))()
    if how == 'error':
        with pytest.raises(WireError):
            middle.reply(votes[0])
    elif 'waiting' not in how:
        assert middle.reply(votes[0]) in ((), [])
        middle.call('tpc_abort', 1)
    assert last.reply(votes[1]) in ((), [])
    assert last.call('tpc_finish', 1) > tid


def test_stock_clients_wait_for_each_other(server, storage):
    """Threads of stock clients on one object: one vote after the other, each with its turn."""
    s = server(configuration())
    clients = [storage(s) for _ in range(4)]
    oid = clients[0].new_oid()
    commit(clients[0], [(oid, Z64, zodb_pickle(MinPO(0)))])
    failures, done = [], []

    def work(a):
        try:
            n = 0
            while n < 10:
                with contextlib.suppress(ConflictError):
                    a.ping()
                    commit(a, [(oid, a.load(oid)[1], zodb_pickle(MinPO(n)))])
                    n += 1
            done.append(n)
        except BaseException as e:
            failures.append(e)
    threads = [threading.Thread(target=work, args=(a,)) for a in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join(100)
    assert (failures, done) == ([], [10] * 4)
    assert len(clients[0].history(oid, 100)) == 41


@pytest.mark.parametrize('stores', [[], [(p64(1), Z64, b'x')]])
@pytest.mark.parametrize('busy', [False, True])
def test_transaction_timeout(server, wires, stores, busy):
    """R5: from the granted vote on, also for an empty transaction, whatever else is said."""
    s = server(configuration('transaction-timeout 1'))
    holder, waiting = wires(s), wires(s)
    waiting.begin(1, [(p64(1), Z64, b'y')])
    holder.begin(1, stores)
    holder.call('vote', 1)
    begun = time.monotonic()
    vote = waiting.send('vote', 1) if stores else None
    if busy:
        with pytest.raises((Closed, OSError)):
            while time.monotonic() < begun + 20:
                holder.call('ping')
                time.sleep(0.05)  # a client that keeps talking
    assert holder.closed()
    assert 0.8 < time.monotonic() - begun < 15
    waiting.reply(vote) if stores else waiting.call('vote', 1)
    waiting.call('tpc_finish', 1)
    assert 'Transaction timeout after 1 seconds' in s.text()
    assert s.text().count('Transaction timeout') == 1


def test_no_timeout_before_the_vote_is_granted(server, wires):
    """R5: who waits for another one is not to blame."""
    s = server(configuration('transaction-timeout 1'))
    holder, waiting = wires(s), wires(s)
    waiting.begin(1, [(p64(1), Z64, b'y')])  # begun long ago
    for n in range(2):
        holder.begin(n, [(p64(1), Z64, b'x')])
        holder.call('vote', n)
        if n == 0:
            vote = waiting.send('vote', 1)
            wait_until('it waits', lambda: holder.call('server_status')['waiting'])
        time.sleep(0.7)  # below the timeout
        holder.call('tpc_abort', n)
        if n == 0:
            assert waiting.reply(vote) in ((), [])
            waiting.call('tpc_abort', 1)
            waiting.begin(1, [(p64(1), Z64, b'y')])
    waiting.call('vote', 1)
    assert waiting.call('tpc_finish', 1) > Z64
    assert 'Transaction timeout' not in s.text()


@pytest.mark.parametrize('msgpack', ['false', 'true'])
def test_client_conflict_resolution(peer, opened, msgpack):
    """The client resolves, stores again and votes again."""
    s = peer(configuration(f'client-conflict-resolution true\n  msgpack {msgpack}'))
    db = opened(ZEO.DB(s.address))
    with db.transaction() as connection:
        connection.root()['n'] = Length(0)
        connection.root()['m'] = PersistentMapping()
    managers = [transaction.TransactionManager() for _ in range(3)]
    connections = [db.open(tm) for tm in managers]
    for n, c in enumerate(connections):
        c.root()['n'].change(10 ** n)
    for tm in managers:
        tm.commit()
    # what cannot be resolved is a conflict there
    for n, c in enumerate(connections):
        c.root()['m']['x'] = n
        c.root()['n'].change(1)
    managers[0].commit()
    with pytest.raises(ConflictError):
        managers[1].commit()
    managers[1].abort()
    managers[2].abort()
    for c in connections:
        c.close()
    db.storage.ping()
    with db.transaction() as connection:
        assert connection.root()['n']() == 112
        assert connection.root()['m']['x'] == 0


# --- lost connections ---

def test_lost_reply(server, wires):
    """T16: the client is gone before the reply to its tpc_finish; the commit stays."""
    s = server(configuration())
    other = wires(s)
    tid = other.commit([(p64(1), Z64, b'0')])
    for n in range(20):
        w = wires(s)
        w.begin(1, [(p64(1), tid, b'%d' % n)])
        w.call('vote', 1)
        w.send('tpc_finish', 1)
        w.close()  # nothing unread: the server gets the request, then the end

        def finished():
            now = other.call('getTid', p64(1))
            return now if now > tid else None
        tid = wait_until('it is finished', finished)
        assert other.call('loadBefore', p64(1), MAX_TID) == (b'%d' % n, tid, None)
    assert s.kill() != 0
    s.start()
    assert wires(s).call('getTid', p64(1)) == tid


def test_lost_before_finish(server, wires):
    """R5: without a tpc_finish nothing is committed."""
    s = server(configuration())
    for n in range(10):
        w = wires(s)
        w.begin(1, [(p64(1), Z64, b'x')])
        w.call('vote', 1)
        w.abort_hard() if n % 2 else w.close()
    w = wires(s)
    assert w.commit([(p64(1), Z64, b'y')]) > Z64
    assert len(w.call('history', p64(1), 100)) == 1


def reconnected(a):
    return wait_until('it is connected again', a.is_connected)


@pytest.mark.parametrize('size,quick', [(100, True), (4, True), (3, False)])
def test_restart_and_cache_verification(server, storage, wires, size, quick):
    """A client that was away for three transactions. Its cache stays when the queue reaches
    back to the last one that it knows, as with Python's server."""
    s = server(configuration(f'invalidation-queue-size {size}'))
    a = storage(s)
    oids = [a.new_oid() for _ in range(5)]
    tid = commit(a, [(oid, Z64, b'old') for oid in oids])
    for oid in oids:
        a.load(oid)
    assert len(a._cache) == 5
    assert s.stop() == 0
    wait_until('it is lost', lambda: not a.is_connected())
    # meanwhile another one commits, at another address
    other = server(configuration())
    with Wire(other.address) as w:
        for oid in oids[:2]:
            last = w.commit([(oid, tid, b'new')])
        last = w.commit([(p64(999), Z64, b'new')])
    assert other.stop() == 0
    s.start()
    reconnected(a)
    assert a.lastTransaction() == last
    assert a._server.client.verify_result == (
        'quick verification' if quick else 'cache too old, clearing')
    before = a._call('server_status')['loads']
    for oid in oids[:2]:
        assert a.load(oid)[0] == b'new'
    for oid in oids[2:]:
        assert a.load(oid) == (b'old', tid)
    assert a._call('server_status')['loads'] - before == (2 if quick else 5)


def test_restart_without_a_commit(server, opened):
    """T8, T56: nothing was committed meanwhile; the client goes on, and is not in the past."""
    s = server(configuration())
    db = opened(ZEO.DB(s.address))
    other = opened(ZEO.DB(s.address))
    with db.transaction() as connection:
        connection.root()['x'] = 1
    for n in range(2):
        s.kill() if n else s.stop()
        wait_until('both are lost', lambda: not (db.storage.is_connected()
                                                 or other.storage.is_connected()))
        s.start()
        reconnected(db.storage)
        reconnected(other.storage)
        assert other.storage._server.client.verify_result == 'Cache up to date'
        with other.transaction() as connection:
            connection.root()['x'] += 1
        db.storage.ping()
        with db.transaction() as connection:
            assert connection.root()['x'] == n + 2


def test_restart_in_the_middle_of_a_transaction(server, storage):
    """The transaction is lost, and the client says so; the next one works."""
    s = server(configuration())
    a = storage(s)
    oid = a.new_oid()
    t = begin(a, [(oid, Z64, b'x')])
    a.tpc_vote(t)
    s.kill()
    wait_until('it is lost', lambda: not a.is_connected())
    s.start()
    reconnected(a)
    with pytest.raises(ClientDisconnected):
        a.tpc_finish(t)
    a.tpc_abort(t)
    commit(a, [(oid, Z64, b'y')])
    assert a.load(oid)[0] == b'y'


def test_persistent_cache(server, storage, tmp_path):
    """A client's cache file outlives client and server."""
    s = server(configuration())
    a = storage(s, cache=str(tmp_path / 'a.zec'))
    oid = a.new_oid()
    tid = commit(a, [(oid, Z64, b'x')])
    a.load(oid)
    a.close()
    assert s.stop() == 0
    s.start()
    a = storage(s, cache=str(tmp_path / 'a.zec'))
    before = a._call('server_status')['loads']
    assert a.load(oid) == (b'x', tid)
    assert a._call('server_status')['loads'] == before


def test_server_behind_its_client(server, storage, tmp_path, caplog):
    """T30: the client refuses a server that was restored from an older state."""
    s = server(configuration())
    a = storage(s, cache=str(tmp_path / 'a.zec'))
    commit(a, [(a.new_oid(), Z64, b'x')])
    a.load(p64(1))
    a.close()
    assert s.stop() == 0
    for path in tmp_path.glob('Data.fs*'):
        path.unlink()
    s.start()
    with caplog.at_level(logging.CRITICAL), pytest.raises(ClientDisconnected):
        ClientStorage(s.address, cache=str(tmp_path / 'a.zec'), wait_timeout=1)
    assert 'Client cache is out of sync with the server' in caplog.text


@pytest.mark.parametrize('size', [1, 3, 100])
def test_invalidation_queue(server, python_server, wires, tmp_path, size):
    """T55: what is remembered of the time before the start, to the exact transaction."""
    first = server(configuration())
    w = wires(first)
    tids = [w.commit([(p64(10 + n), Z64, b'x')]) for n in range(7)]
    assert first.stop() == 0

    def answers(s):
        w = wires(s)
        found = {}
        for step in range(3):
            for tid in tids:
                for d in (-1, 0, 1):
                    t = p64(u64(tid) + d)
                    got = w.call('getInvalidations', t)
                    found[step, t] = got and (got[0], sorted(got[1]))
            found[step, 'new'] = w.call('getInvalidations', MAX_TID)[1]
            # and of what comes after it: a tid is given, so that both servers have the same
            new = p64(u64(tids[-1]) + ((step + 1) << 20))
            w.call('tpc_begin', 1, '', '', {}, new, ' ')
            w.call('storea', p64(100 + step), Z64, b'x', 1)
            w.call('vote', 1)
            assert w.call('tpc_finish', 1) == new
        w.close()
        return found
    data = (tmp_path / 'Data.fs').read_bytes()
    ours = server(configuration(f'invalidation-queue-size {size}'))
    got = answers(ours)
    assert ours.stop() == 0
    (tmp_path / 'Data.fs').write_bytes(data)
    (tmp_path / 'Data.fs.index').unlink()
    python = python_server(configuration(f'invalidation-queue-size {size}'))
    expected = answers(python)
    changed = [(tid, p64(10 + n)) for n, tid in enumerate(tids)]
    for (step, key), value in expected.items():
        if value is None and step > 0 and got[step, key]:
            # it may remember more than it must: then rightly
            new = [(p64(u64(tids[-1]) + ((i + 1) << 20)), p64(100 + i)) for i in range(step)]
            value = (new[-1][0], sorted(oid for tid, oid in changed + new if tid > key))
        assert got[step, key] == value, (step, key)
    if size < 7:
        assert got[0, p64(u64(tids[-size]))] is not None
        assert got[0, p64(u64(tids[-size]) - 1)] is None


def test_reset_is_called_by_its_name(server, wires):
    s = server(configuration())
    wires(s).abort_hard()
    wait_until('it is in the log', lambda: 'disconnected: Connection reset by peer' in s.text())
