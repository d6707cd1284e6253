"""A server whose storage is another server's: zkrunzeo on zkrunzeo and on Python's, and Python's on zkrunzeo."""

import random
import shutil
import signal
import socket
import threading
import time

import pytest
import transaction
import ZEO
import ZODB.blob
import ZODB.POSException
from persistent.mapping import PersistentMapping

from freezing import freeze
from ports import free_port
from test_tls import Pki
from wire import MAX_TID, Z64, Closed, Wire, WireError, p64, wait_until

BASE = '<zeo>\n  address {address}\n  %s\n</zeo>\n<filestorage 1>\n  path {dir}/%s\n</filestorage>\n'
FANOUT = ('<zeo>\n  address {address}\n  %s\n</zeo>\n%%import ZEO\n<clientstorage 1>\n'
          '  server %s\n  wait-timeout %d\n</clientstorage>\n')
PYTHON_FANOUT = '<zeo>\n  address {address}\n</zeo>\n<zeoclient 1>\n  server %s\n</zeoclient>\n'


def text(address):
    return '%s:%d' % address


def base_configuration(msgpack=False, file='Data.fs'):
    return BASE % ('msgpack %s' % str(msgpack).lower(), file)


def fanout_configuration(address, msgpack=False, wait_timeout=20, zeo=''):
    return FANOUT % ('msgpack %s\n  %s' % (str(msgpack).lower(), zeo), text(address), wait_timeout)


class Cable:
    """What a server is reached through: it can be cut, and nobody knows until it is mended."""

    def __init__(self, target):
        self.target = target
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.address = self.listener.getsockname()
        self.lock = threading.Lock()
        self.pairs = []
        self.is_cut = False
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                if self.is_cut:
                    near.close()
                    continue
                try:
                    far = socket.create_connection(self.target)
                except OSError:
                    near.close()
                    continue
                self.pairs.append((near, far))
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    @staticmethod
    def copy(a, b):
        try:
            while data := a.recv(1 << 16):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            Cable.end(s)

    @staticmethod
    def end(s):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was quicker

    def cut(self):
        with self.lock:
            self.is_cut = True
            for pair in self.pairs:
                for s in pair:
                    self.end(s)
            self.pairs = []

    def mend(self):
        with self.lock:
            self.is_cut = False

    def close(self):
        self.listener.close()
        self.cut()


@pytest.fixture(params=['zkrunzeo', 'python'])
def upstream(request, server, python_server):
    """upstream(...): the server that has the data."""
    return server if request.param == 'zkrunzeo' else python_server


@pytest.fixture(params=['Z', 'M'])
def encoding(request):
    return request.param


@pytest.fixture
def chain(server, upstream, encoding):
    """(server with the data, zkrunzeo that is its client)"""
    base = upstream(base_configuration(encoding == 'M'))
    return base, server(fanout_configuration(base.address, encoding == 'M'))


def error_of(f, *args):
    try:
        return f(*args)
    except WireError as e:
        return e.name, e.data


def failing(w, stores=(), checks=(), **more):
    """The answer to the vote of a transaction."""
    id = next(w.ids)
    w.begin(id, stores, checks)
    if 'undo' in more:
        w.send_async(('undoa', more['undo'], id))
    if 'delete' in more:
        w.send_async(('deleteObject', *more['delete'], id))
    answer = error_of(w.call, 'vote', id)
    w.call('tpc_abort', id)
    return answer


# --- what is asked and answered ---

def test_answers_are_the_servers(chain, encoding):
    """What the server raises comes as it came; what it knows, too."""
    base, fanout = chain
    with Wire(base.address, encoding) as direct, Wire(fanout.address, encoding) as through:
        t1 = through.commit([(p64(1), Z64, b'one'), (p64(2), Z64, b'two')],
                            user='me', description='first', extension={'a': 1})
        t2 = direct.commit([(p64(1), t1, b'uno')], description='second')
        t3 = through.commit([(p64(3), Z64, b'three')])
        through.call('ping')
        direct.call('ping')
        undo_id = direct.call('undoLog', 0, 10)[0]['id']
        for ask in (
                lambda w: w.call('loadBefore', p64(1), MAX_TID),
                lambda w: w.call('loadBefore', p64(1), t2),
                lambda w: w.call('loadBefore', p64(1), t1),
                lambda w: error_of(w.call, 'loadBefore', p64(99), MAX_TID),
                lambda w: w.call('loadSerial', p64(1), t1),
                lambda w: error_of(w.call, 'loadSerial', p64(1), t3),
                lambda w: w.call('getTid', p64(1)),
                lambda w: error_of(w.call, 'getTid', p64(99)),
                lambda w: w.call('history', p64(1), 5),
                lambda w: w.call('history', p64(1), 1),
                lambda w: error_of(w.call, 'history', p64(99), 1),
                lambda w: w.call('lastTransaction'),
                lambda w: w.call('undoLog', 0, 10),
                lambda w: w.call('undoLog', 1, -1),
                lambda w: w.call('undoInfo', 0, 10, {'a': 1}),
                lambda w: w.call('record_iternext', None),
                lambda w: w.call('record_iternext', p64(3)),
                lambda w: error_of(w.call, 'record_iternext', p64(4)),
                lambda w: list(sorted(w.call('getInvalidations', t1)[1])),
                lambda w: failing(w, [(p64(1), t1, b'x')]),
                lambda w: failing(w, [(p64(4), Z64, b'x')], [(p64(1), t1)]),
                lambda w: failing(w, [(p64(4), Z64, b'x')], [(p64(98), t1)]),
                lambda w: failing(w, undo=b'AAAAAAAAAAA='),
                lambda w: failing(w, undo=undo_id),
                lambda w: failing(w, delete=(p64(1), t1)),
                lambda w: failing(w, delete=(p64(97), t1)),
        ):
            right = ask(direct)
            assert ask(through) == right
        info = through.call('get_info')
        known = direct.call('get_info')
        for key in ('length', 'size', 'supportsUndo', 'supports_record_iternext'):
            assert info[key] == known[key], key


def test_interfaces_are_those_of_python(server, python_server):
    base = python_server(base_configuration())
    theirs = python_server(PYTHON_FANOUT % text(base.address))
    ours = server(fanout_configuration(base.address))
    with Wire(ours.address) as w, Wire(theirs.address) as right:
        expected = right.call('get_info')['interfaces']
        assert [i for i in w.call('get_info')['interfaces']] == [
            i for i in expected if i[1] != 'IBlobStorage']


def iterate(w, start, stop):
    """Everything an iterator gives."""
    found = []
    it = w.call('iterator_start', start, stop)
    while (txn := w.call('iterator_next', it)) is not None:
        records = []
        rit = w.call('iterator_record_start', it, txn[0])
        while (record := w.call('iterator_record_next', rit)) is not None:
            records.append(record)
        found.append((txn, records))
    return found


def test_iteration(chain, encoding):
    base, fanout = chain
    with Wire(base.address, encoding) as direct, Wire(fanout.address, encoding) as through:
        tids = [through.commit([(p64(i), Z64, b'%d' % i), (p64(100 + i), Z64, b'x')],
                               description=f'number {i}', extension={'n': i})
                for i in range(1, 6)]
        direct.call('ping')
        assert len(iterate(through, None, None)) >= 5
        assert iterate(through, None, None) == iterate(direct, None, None)
        assert iterate(through, tids[1], tids[2]) == iterate(direct, tids[1], tids[2])


def test_iterators_outlive_a_connection(server, upstream, opened):
    base = upstream(base_configuration())
    cable = opened(Cable(base.address))
    fanout = server(fanout_configuration(cable.address))
    with Wire(fanout.address) as w:
        tids = [w.commit([(p64(i), Z64, b'%d' % i), (p64(100 + i), Z64, b'x')])
                for i in range(1, 5)]
        it = w.call('iterator_start', tids[0], None)
        assert w.call('iterator_next', it)[0] == tids[0]
        assert w.call('iterator_next', it)[0] == tids[1]
        records = w.call('iterator_record_start', it, tids[1])
        assert w.call('iterator_record_next', records)[0] == p64(2)
        cable.cut()
        cable.mend()
        assert w.call('iterator_record_next', records) == (p64(102), tids[1], b'x', None)
        assert w.call('iterator_record_next', records) is None
        assert w.call('iterator_next', it)[0] == tids[2]
        assert w.call('iterator_next', it)[0] == tids[3]
        assert w.call('iterator_next', it) is None


def test_undo_restore_delete_oids(chain, encoding):
    base, fanout = chain
    with Wire(base.address, encoding) as direct, Wire(fanout.address, encoding) as through:
        oids = through.call('new_oids', 5)
        assert len(set(oids) | set(direct.call('new_oids', 5))) == 10
        t1 = through.commit([(oids[0], Z64, b'a'), (oids[1], Z64, b'b')])
        t2 = through.commit([(oids[0], t1, b'aa')])
        undo_id = through.call('undoLog', 0, 1)[0]['id']
        id = next(through.ids)
        through.begin(id)
        through.send_async(('undoa', undo_id, id))
        assert list(through.call('vote', id)) == [oids[0]]
        t3 = through.call('tpc_finish', id)
        assert through.call('loadBefore', oids[0], MAX_TID) == (b'a', t3, None)
        direct.call('ping')
        assert direct.call('loadBefore', oids[0], MAX_TID) == (b'a', t3, None)
        id = next(through.ids)
        through.begin(id)
        through.send_async(('deleteObject', oids[1], t1, id))
        through.call('vote', id)
        t4 = through.call('tpc_finish', id)
        assert error_of(through.call, 'loadBefore', oids[1], MAX_TID) == error_of(
            direct.call, 'loadBefore', oids[1], MAX_TID)
        t5 = p64(int.from_bytes(t4, 'big') + (1 << 32))
        id = next(through.ids)
        through.send_async(('tpc_begin', id, '', 'restored', {}, t5, ' '),
                           ('restorea', oids[2], t5, b'r', None, id))
        through.call('vote', id)
        assert through.call('tpc_finish', id) == t5
        assert through.call('loadBefore', oids[2], MAX_TID) == (b'r', t5, None)
        # what a pack complains of comes through, too: there is no root object
        assert error_of(through.call, 'pack', time.time(), True) == ('builtins.KeyError', (Z64,))


def test_ping_asks_the_server(server, encoding):
    """T65, server_sync: what was committed there before is known, and its invalidation was said. Python's server
    answers a ping before some of its invalidations."""
    base = server(base_configuration(encoding == 'M'))
    fanout = server(fanout_configuration(base.address, encoding == 'M'))
    with Wire(base.address, encoding) as direct, Wire(fanout.address, encoding) as through:
        serial = Z64
        for i in range(200):
            serial = direct.commit([(p64(1), serial, b'%d' % i)])
            through.call('ping')
            tid, oids = through.events[-1][3]
            assert (tid, list(oids)) == (serial, [p64(1)])
            assert through.call('loadBefore', p64(1), MAX_TID) == (b'%d' % i, serial, None)


def test_pack(chain, opened):
    base, fanout = chain
    db = opened(ZEO.DB(fanout.address))
    for i in range(5):
        with db.transaction() as c:
            c.root()['x'] = PersistentMapping(v=i)
    with Wire(fanout.address) as watcher, Wire(base.address) as direct:
        size = watcher.call('get_info')['size']
        db.pack(time.time() + 200)
        wait_until('the new size', lambda: watcher.call('get_info')['size'] < size)
        assert watcher.call('get_info')['size'] == direct.call('get_info')['size']
        assert [name for _, _, name, _ in watcher.events] == ['info']
        assert len(watcher.call('history', Z64, 10)) == 1
    assert _value(db, 'x') == 4


def test_conflicts_for_clients(server, encoding):
    """Where each server leaves conflicts to its clients, they come all the way down."""
    leave = 'client-conflict-resolution true'
    base = server(BASE % ('msgpack %s\n  %s' % (str(encoding == 'M').lower(), leave), 'Data.fs'))
    fanout = server(fanout_configuration(base.address, encoding == 'M', zeo=leave))
    with Wire(fanout.address, encoding) as w:
        t1 = w.commit([(p64(1), Z64, b'1'), (p64(2), Z64, b'1')])
        t2 = w.commit([(p64(1), t1, b'2')])
        id = next(w.ids)
        w.begin(id, [(p64(1), t1, b'mine'), (p64(2), t1, b'2')])
        conflicts = w.call('vote', id)
        assert [dict(c) for c in conflicts] == [
            {'oid': p64(1), 'serials': (t2, t1), 'data': b'mine'}]
        w.send_async(('storea', p64(1), t2, b'merged', id))
        assert list(w.call('vote', id)) in ([], [p64(1)])
        t3 = w.call('tpc_finish', id)
        assert w.call('loadBefore', p64(1), MAX_TID) == (b'merged', t3, None)
        assert w.call('loadBefore', p64(2), MAX_TID) == (b'2', t3, None)


def test_length_conflicts_are_resolved(chain):
    """By whoever can: counters that two clients have changed are merged on the way."""
    from BTrees.Length import Length
    base, fanout = chain
    one, two = ZEO.DB(fanout.address), ZEO.DB(base.address)
    try:
        with one.transaction() as c:
            c.root()['n'] = Length(0)
        tm = transaction.TransactionManager()
        mine = one.open(tm)
        wait_until('the object', lambda: 'n' in _root(two))
        n = mine.root()['n']
        n.change(5)
        with two.transaction() as c:
            c.root()['n'].change(7)
        tm.commit()
        tm.begin()
        assert n() == 12
        mine.close()
    finally:
        one.close()
        two.close()


def _root(db):
    with db.transaction() as c:
        return dict(c.root())


# --- a server that is away ---

def test_lost(server, upstream, opened):
    """What is in the cache is answered; the rest waits, and fails as a client's calls do."""
    base = upstream(base_configuration())
    fanout = server(fanout_configuration(base.address, wait_timeout=2))
    with Wire(fanout.address) as w:
        t1 = w.commit([(p64(1), Z64, b'one'), (p64(2), Z64, b'two')])
        base.kill()
        assert w.call('loadBefore', p64(1), MAX_TID) == (b'one', t1, None)
        assert w.call('lastTransaction') == t1
        start = time.monotonic()
        waiting = w.send('loadBefore', p64(77), MAX_TID)
        assert w.call('loadBefore', p64(2), MAX_TID) == (b'two', t1, None)  # nobody else waits
        with pytest.raises(WireError) as e:
            w.reply(waiting)
        assert e.value.name == 'ZEO.Exceptions.ClientDisconnected'
        assert 1.5 < time.monotonic() - start < 10
        id = next(w.ids)
        w.begin(id, [(p64(1), t1, b'uno')])
        with pytest.raises(WireError) as e:
            w.call('vote', id)
        assert e.value.name == 'ZEO.Exceptions.ClientDisconnected'
        for call in ('new_oids', 10), ('ping',):
            assert error_of(w.call, *call)[0] == 'ZEO.Exceptions.ClientDisconnected'
        base.start()
        # what waits when the server comes back goes on; nothing has changed: nobody is sent away
        id = next(w.ids)
        w.begin(id, [(p64(1), t1, b'uno')])
        vote = w.send('vote', id)
        assert list(w.reply(vote)) == []
        t2 = w.call('tpc_finish', id)
        assert w.call('loadBefore', p64(1), MAX_TID) == (b'uno', t2, None)


def test_changed_while_away(server, upstream, opened):
    """F3: who had looked before comes back and verifies; nothing that is old is called current."""
    base = upstream(base_configuration())
    cable = opened(Cable(base.address))
    fanout = server(fanout_configuration(cable.address))
    db = opened(ZEO.DB(fanout.address))
    with db.transaction() as c:
        c.root()['x'] = PersistentMapping(v=1)
        c.root()['y'] = PersistentMapping(v=1)
    with Wire(fanout.address) as w:
        registered = w.tid
        cable.cut()
        direct = ZEO.DB(base.address)
        for i in range(2, 5):
            with direct.transaction() as c:
                c.root()['x']['v'] = i
        direct.close()
        assert _root(db)['y']['v'] == 1
        cable.mend()
        assert w.closed()
    wait_until('the change', lambda: _value(db, 'x') == 4)
    assert _value(db, 'y') == 1
    with Wire(fanout.address) as w, Wire(base.address) as right:
        assert w.tid == right.tid
        tid, oids = w.call('getInvalidations', registered)
        assert (tid, sorted(oids)) == (w.tid, sorted(right.call('getInvalidations', registered)[1]))


def _value(db, key):
    try:
        with db.transaction() as c:
            return c.root()[key]['v']
    except Exception as e:  # its connection is being closed
        assert 'Disconnected' in type(e).__name__ or isinstance(e, (OSError, ZODB.POSException.POSError)), e
        return None


def test_finish_whose_answer_is_lost(server, upstream, opened):
    """The client learns that nobody knows; what was committed is seen afterwards."""
    base = upstream(base_configuration())
    cable = opened(Cable(base.address))
    fanout = server(fanout_configuration(cable.address))
    with Wire(fanout.address) as w:
        t1 = w.commit([(p64(1), Z64, b'one')])
        id = next(w.ids)
        w.begin(id, [(p64(1), t1, b'two')])
        w.call('vote', id)
        cable.cut()
        with pytest.raises(WireError) as e:
            w.call('tpc_finish', id)
        assert e.value.name == 'ZEO.Exceptions.ClientDisconnected'
        assert 'it may be' in e.value.data[0]
        cable.mend()
        wait_until('the server', lambda: error_of(w.call, 'new_oids', 1)[0] is not None)
    with Wire(fanout.address) as w, Wire(base.address) as right:
        assert w.call('loadBefore', p64(1), MAX_TID) == right.call('loadBefore', p64(1), MAX_TID)


def test_older_server(server, opened, tmp_path):
    """T5, T56: a server that was restored from an older backup is refused, until this one is restarted."""
    address = ('127.0.0.1', free_port())
    base = server(base_configuration(), address)
    fanout = server(fanout_configuration(address, wait_timeout=3))
    with Wire(fanout.address) as w:
        t1 = w.commit([(p64(1), Z64, b'one')])
        base.stop()
        shutil.copy(tmp_path / 'Data.fs', tmp_path / 'Old.fs')
        base.start()
        t2 = w.commit([(p64(1), t1, b'two'), (p64(2), Z64, b'new')])
        base.stop()
        server(base_configuration(file='Old.fs'), address)
        wait_until('the refusal', lambda: 'is behind what was shown of it' in fanout.text())
        with pytest.raises(WireError):
            w.call('loadBefore', p64(2), MAX_TID)
        assert w.call('lastTransaction') == t2
    assert fanout.stop() == 0
    fanout.start()
    with Wire(fanout.address) as w:
        assert w.tid == t1
        assert w.call('loadBefore', p64(1), MAX_TID) == (b'one', t1, None)


def test_stop_while_the_server_hangs(server, opened):
    base = server(base_configuration())
    fanout = server(fanout_configuration(base.address))
    with Wire(fanout.address) as w:
        w.commit([(p64(1), Z64, b'one')])
        freeze(base.process)
        try:
            for i in range(5):
                w.send('loadBefore', p64(70 + i), MAX_TID)
            w.begin(1000, [(p64(9), Z64, b'x')])
            w.send('vote', 1000)
            w.call('lastTransaction')
            start = time.monotonic()
            assert fanout.stop() == 0
            assert time.monotonic() - start < 15
        finally:
            base.process.send_signal(signal.SIGCONT)


# --- the start ---

def test_start_waits(server, programs):
    address = ('127.0.0.1', free_port())
    fanout = server(fanout_configuration(address, wait_timeout=30), start=False)
    fanout.start(wait=False)
    base = server(base_configuration(), address)
    fanout.wait_ready()
    with Wire(fanout.address) as w:
        assert w.commit([(p64(1), Z64, b'one')])
    base.stop()


def test_start_fails_without_server(server):
    fanout = server(fanout_configuration(('127.0.0.1', free_port()), wait_timeout=1), start=False)
    fanout.start(wait=False)
    assert fanout.process.wait(20) == 1
    assert 'timed out waiting for connection' in fanout.text()


def test_stop_while_it_waits(server):
    """T75"""
    fanout = server(fanout_configuration(('127.0.0.1', free_port()), wait_timeout=60), start=False)
    fanout.start(wait=False)
    wait_until('an attempt', lambda: 'Connection refused' in fanout.text())
    assert fanout.stop() == 0


def test_start_without_waiting(server):
    address = ('127.0.0.1', free_port())
    fanout = server(PYTHON_FANOUT.replace('</zeoclient>', '  wait off\n</zeoclient>') % text(address))
    server(base_configuration(), address)
    with Wire(fanout.address) as w:
        assert w.call('new_oids', 1)  # it waits for the server
    with Wire(fanout.address) as w:
        t1 = w.commit([(p64(1), Z64, b'one')])
        assert w.call('loadBefore', p64(1), MAX_TID) == (b'one', t1, None)


# --- the cache, and TLS ---

@pytest.mark.parametrize('options, file', [
    ('client main\n  var {dir}/var', 'var/main-1.zec'), ('cache-path {dir}/mine.zec', 'mine.zec')])
def test_cache_is_kept(server, tmp_path, options, file):
    """What was loaded before a restart is not asked for again, but what has changed meanwhile."""
    (tmp_path / 'var').mkdir()
    base = server(base_configuration())
    section = 'zeoclient' if 'var' in options else 'clientstorage'
    text_of_it = (f'%import ZEO\n<zeo>\n  address {{address}}\n</zeo>\n'
                  f'<{section} 1>\n  server {text(base.address)}\n  {options}\n</{section}>\n')
    fanout = server(text_of_it)
    n = 100

    def load_all(w):
        """The states; and what the base was asked for meanwhile, the probe perhaps included."""
        before = direct.call('server_status')['loads']
        found = [w.call('loadBefore', p64(i), MAX_TID) for i in range(1, n + 1)]
        return found, direct.call('server_status')['loads'] - before

    with Wire(base.address) as direct:
        serial = direct.commit([(p64(i), Z64, b'%d' % i) for i in range(1, n + 1)])
        with Wire(fanout.address) as w:
            w.call('ping')
            found, loads = load_all(w)
            assert loads >= n
        assert fanout.stop() == 0
        assert (tmp_path / file).exists()
        newer = direct.commit([(p64(7), serial, b'changed')])
        fanout.start()
        with Wire(fanout.address) as w:
            found[6] = (b'changed', newer, None)
            again, loads = load_all(w)
            assert again == found
            assert loads <= 2
        other = server(text_of_it, start=False).start(wait=False)
        assert other.process.wait(20) == 1
        assert file in other.text() and 'is locked by another process' in other.text()


@pytest.fixture(scope='module')
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp('pki'))


def tls(certificate, key, authenticate, *more):
    lines = (f'certificate {certificate}', f'key {key}', f'authenticate {authenticate}', *more)
    return '<ssl>\n    %s\n  </ssl>' % '\n    '.join(lines)


def test_tls_to_the_server(server, upstream, pki):
    def of(name):
        return pki.path(f'{name}.pem'), pki.path(f'{name}.key')

    base = upstream(base_configuration().replace(
        '</zeo>', tls(*of('server'), pki.path('client.pem')) + '\n</zeo>'), start=False)
    base.start(wait=False)
    listening(base)

    def fanout(name, *more, wait_timeout=20):
        return server(fanout_configuration(base.address, wait_timeout=wait_timeout).replace(
            '</clientstorage>', tls(*of(name), pki.path('server.pem'), *more) +
            '\n</clientstorage>'), start=False)

    good = fanout('client', 'server-hostname server.example.org').start()
    with Wire(good.address) as w:
        t1 = w.commit([(p64(1), Z64, b'one'), (p64(2), Z64, b'x' * 3000000)])
        assert w.call('loadBefore', p64(1), MAX_TID) == (b'one', t1, None)
        assert w.call('loadBefore', p64(2), MAX_TID) == (b'x' * 3000000, t1, None)
        base.kill()
        base.start(wait=False)
        # asked again when it is back, whenever the loss is noticed
        assert error_of(w.call, 'loadBefore', p64(77), MAX_TID)[0] == 'ZODB.POSException.POSKeyError'
        id = next(w.ids)
        w.begin(id, [(p64(1), t1, b'uno')])
        assert list(w.call('vote', id)) == []
        t2 = w.call('tpc_finish', id)
        assert w.call('loadBefore', p64(1), MAX_TID) == (b'uno', t2, None)
    for name, more in (('stranger', 'server-hostname server.example.org'),
                       ('client', 'server-hostname elsewhere.example.org')):
        bad = fanout(name, more, wait_timeout=2).start(wait=False)
        assert bad.process.wait(20) == 1
        assert 'timed out waiting for connection' in bad.text()


def listening(s):
    def answers():
        try:
            socket.create_connection(s.address).close()
            return True
        except OSError:
            return False
    wait_until('a listener', answers)


# --- who is whose client ---

def test_itself_is_refused(server, python_server):
    own = ('127.0.0.1', free_port())
    fanout = server(fanout_configuration(own), own, start=False)
    fanout.start(wait=False)
    assert fanout.process.wait(20) == 1
    assert 'is the address of this server itself' in fanout.text()


@pytest.mark.parametrize('between', ['zkrunzeo', 'python', 'nothing'])
def test_cycle_is_refused(server, python_server, opened, between):
    """F5: found by what comes back, whatever servers are in between."""
    first = ('127.0.0.1', free_port())
    second = ('127.0.0.1', free_port())
    no_wait = PYTHON_FANOUT.replace('</zeoclient>', '  wait off\n</zeoclient>')
    if between == 'nothing':
        cable = opened(Cable(first))
        second = cable.address
    servers = [server(no_wait % text(second), first)]
    if between == 'zkrunzeo':
        servers.append(server(no_wait % text(first), second))
    elif between == 'python':
        servers.append(python_server(PYTHON_FANOUT % text(first), second))
    wait_until('the refusal', lambda: any(
        'has it from this server' in s.text() for s in servers))
    with Wire(first) as w:
        w.socket.settimeout(60)
        with pytest.raises(WireError) as e:
            w.call('loadBefore', p64(1), MAX_TID)
        assert e.value.name in ('ZODB.POSException.StorageSystemError',
                                'ZEO.Exceptions.ClientDisconnected')


# --- others on it ---

def test_python_on_zkrunzeo(server, python_server, opened):
    """Python's fan-out on zkrunzeo, and zkrunzeo on that: three levels, stock clients below."""
    base = server(base_configuration())
    middle = python_server(PYTHON_FANOUT % text(base.address))
    last = server(fanout_configuration(middle.address))
    dbs = [opened(ZEO.DB(s.address)) for s in (base, middle, last)]
    for i, db in enumerate(dbs):
        with db.transaction() as c:
            c.root()[i] = PersistentMapping(v=i)
        for other in dbs:
            wait_until(f'{i}', lambda: i in _root(other))
            assert _value(other, i) == i


def test_demostorage_on_it(server, opened):
    """The base of a DemoStorage can be another server's."""
    base = server(base_configuration())
    with Wire(base.address) as w:
        t1 = w.commit([(p64(1), Z64, b'one'), (p64(2), Z64, b'two')])
    demo = server('<zeo>\n  address {address}\n</zeo>\n<demostorage 1>\n  <zeoclient>\n'
                  '    server %s\n  </zeoclient>\n</demostorage>\n' % text(base.address))
    with Wire(demo.address) as w:
        assert w.call('loadBefore', p64(1), MAX_TID) == (b'one', t1, None)
        t2 = w.commit([(p64(1), t1, b'uno')], [(p64(2), t1)])
        assert w.call('loadBefore', p64(1), MAX_TID) == (b'uno', t2, None)
        assert failing(w, [(p64(2), Z64, b'x')])[0] == 'ZODB.POSException.ConflictError'
        assert w.call('new_oids', 3)
    with Wire(base.address) as w:
        assert w.call('loadBefore', p64(1), MAX_TID) == (b'one', t1, None)


def test_changes_of_a_demostorage_cannot_be(server):
    base = server(base_configuration())
    demo = server('<zeo>\n  address {address}\n</zeo>\n<demostorage 1>\n  <zeoclient changes>\n'
                  '    server %s\n  </zeoclient>\n</demostorage>\n' % text(base.address), start=False)
    demo.start(wait=False)
    assert demo.process.wait(20) == 1
    assert "cannot be another server's" in demo.text()


# --- blobs ---

BLOBS = '<zeo>\n  address {address}\n</zeo>\n<filestorage 1>\n  path {dir}/Data.fs\n  blob-dir {dir}/blobs\n</filestorage>\n'
BLOB_FANOUT = ('<zeo>\n  address {address}\n  %s\n</zeo>\n<zeoclient 1>\n  server %s\n  blob-dir {dir}/%s\n'
               '</zeoclient>\n')


def read_blob(db, key):
    with db.transaction() as c:
        with c.root()[key].open() as f:
            return f.read()


def _last_tid(server):
    with Wire(server.address) as w:
        return w.call('lastTransaction')


def test_blobs(server, upstream, opened, tmp_path):
    """Two levels of fan-out; each end stores, the other one reads."""
    base = upstream(BLOBS)
    middle = server(BLOB_FANOUT % ('', text(base.address), 'middle'))
    last = server(BLOB_FANOUT % ('', text(middle.address), 'last'))
    dbs = []
    for i, s in enumerate((base, middle, last)):
        if dbs:  # a database that does not know of the root yet makes another one
            wait_until('the root', lambda: _last_tid(s) == _last_tid(base))
        dbs.append(opened(ZEO.DB(s.address, blob_dir=str(tmp_path / f'client{i}'))))
    contents = [random.Random(i).randbytes(1 + 700_000 * i) for i in range(3)]
    for i, db in enumerate(dbs):
        with db.transaction() as c:
            c.root()[i] = ZODB.blob.Blob(contents[i])
            c.root()[f'again {i}'] = ZODB.blob.Blob(contents[i] * 2)
        for other in dbs:
            wait_until(f'blob {i}', lambda: i in _root(other))
            assert read_blob(other, i) == contents[i]
            assert read_blob(other, f'again {i}') == contents[i] * 2
    with Wire(last.address) as w:
        info = w.call('get_info')
        assert ('ZODB.interfaces', 'IBlobStorage') in [tuple(i) for i in info['interfaces']]
        with pytest.raises(WireError) as e:
            w.call('sendBlob', p64(1), p64(1))
        assert e.value.name == 'ZODB.POSException.POSKeyError'
    # nothing is left of what was on its way
    assert last.stop() == 0
    assert middle.stop() == 0
    for folder in ('middle', 'last'):
        assert list((tmp_path / folder / 'tmp').iterdir()) == []


def test_blob_of_a_conflict(server, opened, tmp_path):
    """A vote that leaves a conflict to the client keeps the blob for the next one."""
    leave = 'client-conflict-resolution true'
    base = server(BLOBS.replace('</zeo>', f'  {leave}\n</zeo>'))
    fanout = server(BLOB_FANOUT % (leave, text(base.address), 'cache'))
    with Wire(fanout.address) as w:
        t1 = w.commit([(p64(1), Z64, b'1')])
        t2 = w.commit([(p64(1), t1, b'2')])
        id = next(w.ids)
        w.begin(id, [(p64(1), t1, b'mine'), (p64(5), Z64, b'blob')])
        w.send_async(('storeBlobStart',), ('storeBlobChunk', b'x' * 1000),
                     ('storeBlobEnd', p64(5), Z64, b'blob', id))
        assert [c['oid'] for c in w.call('vote', id)] == [p64(1)]
        w.send_async(('storea', p64(1), t2, b'merged', id))
        w.call('vote', id)
        tid = w.call('tpc_finish', id)
    with Wire(base.address) as w:
        assert w.call('loadBefore', p64(5), MAX_TID) == (b'blob', tid, None)
        w.call('sendBlob', p64(5), tid)
        chunks = [args[2] for _, _, name, args in w.events if name == 'receiveBlobChunk']
        assert b''.join(chunks) == b'x' * 1000


# --- servers that move ---

class Bank:
    """Transfers between accounts: whoever looks sees the same sum."""

    N = 6

    def __init__(self, address):
        self.db = ZEO.DB(address, wait_timeout=60)
        self.committed = 0
        self.failures = []

    def run(self, rng, until):
        tm = transaction.TransactionManager()
        c = self.db.open(tm)
        while not until.is_set():
            try:
                tm.begin()
                root = c.root()
                values = [root[i]['v'] for i in range(self.N)]
                assert sum(values) == 100 * self.N, values
                a, b = rng.sample(range(self.N), 2)
                root[a]['v'] -= 1
                root[b]['v'] += 1
                root[a]['n'] = root[a].get('n', 0) + 1
                tm.commit()
                self.committed += 1
            except (ZODB.POSException.POSError, ZEO.Exceptions.ClientDisconnected,
                    ZEO.Exceptions.ServerException):
                tm.abort()  # a conflict, or a server that is away: anything else is a failure
        tm.abort()
        c.close()

    def thread(self, rng, until):
        def run():
            try:
                self.run(rng, until)
            except BaseException as e:
                self.failures.append(e)
        t = threading.Thread(target=run)
        t.start()
        return t


def test_moved_under_load(server, kazoo, zookeeper, zk_path, opened):
    """The server with the data is killed and starts on other ports; clients are below a fan-out that finds it in
    ZooKeeper, and beside it."""
    seed = random.randrange(1 << 32)
    print('seed', seed)
    rng = random.Random(seed)

    def start_base():
        return server('<zeo>\n  address 127.0.0.1\n</zeo>\n<zookeeper>\n  connection %s\n  path %s\n'
                      '  session-timeout 4000\n</zookeeper>\n<filestorage 1>\n  path {dir}/Data.fs\n'
                      '</filestorage>\n' % (zookeeper, zk_path), start=False).start(wait=False)

    base = start_base()
    wait_until('the registration', lambda: kazoo.get_children(zk_path))
    fanout = server('%%import zc.zkzeo\n<zeo>\n  address {address}\n</zeo>\n<zkzeoclient 1>\n'
                    '  zookeeper %s\n  server %s\n</zkzeoclient>\n' % (zookeeper, zk_path))
    first = Bank(fanout.address)
    with first.db.transaction() as c:
        for i in range(Bank.N):
            c.root()[i] = PersistentMapping(v=100)
    banks = [first, Bank(fanout.address)]
    until = threading.Event()
    threads = [b.thread(random.Random(rng.random()), until) for b in banks]
    for _ in range(4):
        before = [b.committed for b in banks]
        wait_until('transfers', lambda: all(
            b.committed > n + 20 for b, n in zip(banks, before)) or any(b.failures for b in banks),
            60)
        base.kill()
        base = start_base()
    before = sum(b.committed for b in banks)
    wait_until('transfers', lambda: sum(b.committed for b in banks) > before + 20, 60)
    until.set()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    for b in banks:
        assert not b.failures, b.failures
    committed = sum(b.committed for b in banks)
    children = kazoo.get_children(zk_path)
    with banks[0].db.transaction() as c:
        n = sum(c.root()[i].get('n', 0) for i in range(Bank.N))
    assert n >= committed  # a commit whose answer was lost may have counted
    assert children
    for b in banks:
        b.db.close()


def test_registered_where_it_looks(server, kazoo, zookeeper, zk_path):
    fanout = server('%%import zc.zkzeo\n<zeo>\n  address {address}\n</zeo>\n<zookeeper>\n'
                    '  connection %s\n  path %s\n</zookeeper>\n<zkzeoclient 1>\n  zookeeper %s\n'
                    '  server %s/\n</zkzeoclient>\n' % (zookeeper, zk_path, zookeeper, zk_path),
                    start=False)
    fanout.start(wait=False)
    assert fanout.process.wait(20) == 1
    assert 'this server registers at' in fanout.text()
