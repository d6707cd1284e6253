"""Packs: the file Python's pack makes, in the background, and nothing lost when they fail."""

import os
import random
import shutil
import subprocess
import threading
import time

import pytest
from persistent.TimeStamp import TimeStamp
from ZODB.FileStorage import FileStorage
from ZODB.serialize import referencesf

from histories import History
from interop_files import fsrefs, fstest
from test_datafs import MAKERS
from twins import (Undo, commit, foreign, mapping, oids, outcome, parse_file, same_files, store,
                   strong, tids_of, weak)
from wire import MAX_TID, Z64, Closed, Wire, WireError, p64, wait_until

CONFIGURATION = ('<zeo>\n  address {address}\n</zeo>\n'
                 '<filestorage 1>\n  path {dir}/Data.fs\n  %s\n</filestorage>\n')
A, B, C, D, E, F, G, H = oids(8)


def serving(storage=''):
    return CONFIGURATION % storage


def data(n, *references):
    return mapping(n, *references)


def a_moment():
    """A time between two transactions."""
    time.sleep(0.01)
    now = time.time()
    time.sleep(0.01)
    return now


def moment(tid):
    """The time of a transaction."""
    return TimeStamp(tid).timeTime()


def leftovers(folder):
    """Files of a data file that are not its own."""
    known = {'Data.fs', 'Data.fs.index', 'Data.fs.lock', 'Data.fs.old', 'Data.fs.tmp'}
    return sorted(p.name for p in folder.glob('Data.fs*') if p.name not in known)


# --- the same file as Python's ---

def make_random(path):
    """Garbage, cycles, undos and deletions."""
    fs = FileStorage(str(path))
    h = History(7, extensions=False, twice=False)
    for _ in range(200):
        ops, tid = h.make(fs)
        result = outcome(lambda: commit(fs, ops, tid=tid))
        if isinstance(result, bytes):
            h.committed(ops, result)
    return fs


def make_packed_once(path):
    fs = make_random(path)
    fs.pack(moment(tids_of(path)[60]), referencesf)
    store(fs, (Z64, data('after', A)))
    return fs


PACKED = {**MAKERS, 'random': make_random, 'packed once': make_packed_once}


def pack_times(path):
    tids = tids_of(path)
    chosen = tids[:1] + tids[3:-1:max(len(tids) // 4, 1)] + tids[-2:]
    times = [moment(t) + 0.001 * (n % 2) for n, t in enumerate(chosen)]
    return [86400.0 * 365 * 30, *times, time.time(), time.time() + 86400]


def by_python(path, t, gc, keep_old):
    """Pack; the failure, if Python has one."""
    fs = FileStorage(str(path), pack_gc=gc, pack_keep_old=keep_old)
    try:
        fs.pack(t, referencesf)
    except Exception as e:
        return f'{type(e).__name__}: {e}'
    finally:
        fs.close()


def is_complete(path):
    """Does everything that a record of a file refers to have a record?"""
    records = [r for t in parse_file(path) for r in t.records]
    return {ref for r in records if r.data for ref in referencesf(r.data)} <= {
        r.oid for r in records}


@pytest.mark.parametrize('kind', PACKED)
@pytest.mark.parametrize('gc', [True, False])
def test_same_as_python(server, storage, tmp_path, kind, gc):
    """Of every file at every time. Where Python fails or loses objects, it is done well."""
    path = tmp_path / 'Original.fs'
    PACKED[kind](path).close()
    times = pack_times(path)
    configuration = '<zeo>\n  address {address}\n</zeo>\n'
    for n, _ in enumerate(times):
        shutil.copy(path, tmp_path / f'{n}.fs')
        shutil.copy(path, tmp_path / f'python{n}.fs')
        configuration += (f'<filestorage {n}>\n  path {{dir}}/{n}.fs\n  pack-gc {gc}\n'
                          f'  pack-keep-old {bool(n % 2)}\n</filestorage>\n')
    s = server(configuration)
    for n, t in enumerate(times):
        a = storage(s, storage=str(n), wait_timeout=60)
        expected = by_python(tmp_path / f'python{n}.fs', t, gc, bool(n % 2))
        result = outcome(a.pack, t)
        a.close()
        ours, pythons = tmp_path / f'{n}.fs', tmp_path / f'python{n}.fs'
        if expected is None and (not gc or is_complete(pythons)):
            assert result is None
            same_files(ours, pythons)
        elif is_complete(path) and gc:
            assert is_complete(ours)
        old, expected_old = (tmp_path / f'{name}{n}.fs.old' for name in ('', 'python'))
        if expected is None:
            assert old.exists() == expected_old.exists()
        if old.exists():
            assert old.read_bytes() == path.read_bytes()
        assert fstest(ours) == []
        assert not (tmp_path / f'{n}.fs.pack').exists()
    assert s.stop() == 0
    for n, _ in enumerate(times):
        FileStorage(str(tmp_path / f'{n}.fs')).close()


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
    assert leftovers(tmp_path) == []


def test_empty(peers_twin):
    t = peers_twin
    assert t.pack(time.time()) is None
    t.store((Z64, data(1)))


@pytest.mark.parametrize('when', [
    0, -1, 1, -2208988800, 253402300799, 1e10, 1e300, -1e300, float('inf'), float('nan'), 2 ** 31])
def test_times(peer, storage, when):
    """Whatever the time, there is an answer, and what is current stays."""
    a = storage(peer(serving()))
    store(a, (Z64, data(1)))
    tid = store(a, (Z64, data(2)))
    outcome(a.pack, when)
    assert a.loadBefore(Z64, MAX_TID) == (data(2), tid, None)
    store(a, (Z64, data(3)))


@pytest.mark.parametrize('when', ['now', b'x', None, (1,)])
def test_no_times(server, wires, when):
    s = server(serving())
    with wires(s) as w:
        w.commit([(Z64, Z64, data(1))])
        with pytest.raises(WireError):
            w.call('pack', when, True)
        assert w.call('pack', 1, True) is None


def test_redundant(peers_twin):
    t = peers_twin
    t.store((Z64, data(0)))
    for n in range(10):
        last = t.store((Z64, data(n)))
    early = moment(last) - 0.001
    now = a_moment()
    for when in now, now, early, now + 1, now:
        t.pack(when)
    t.store((Z64, data('x')))
    t.pack(now)
    t.pack(a_moment())
    assert [x.status for x in t.client.iterator()] == ['p']


def test_kinds_of_references(peers_twin):
    """Strong ones are followed, with and without a class; weak ones and those to other databases
    are not."""
    t = peers_twin
    t.store((Z64, data(0, A, strong(B, False), weak(C), foreign(D, 'other'), weak(E, 'other'),
                       foreign(F, 'other', False))),
            (A, data('by class', G)), (B, data('bare')), (C, data('weakly')),
            *[(oid, data('of another database')) for oid in (D, E, F)],
            (G, data('further', H)), (H, data('a cycle', G, Z64)))
    t.pack(a_moment())
    there = [oid for oid in oids(8) if outcome(t.client.getTid, oid)[0] != 'POSKeyError']
    assert there == [A, B, G, H]


def test_dangling_reference(peers_twin):
    """T53: what is referred to and is not there is a KeyError, and nothing changes."""
    t = peers_twin
    t.store((Z64, data(0, A)), (B, data(1)))
    t.store((Z64, data(0, A)))
    failed = outcome(t.client.pack, a_moment())
    expected = outcome(t.fs.pack, a_moment(), referencesf)
    assert failed[0] == expected[0] == 'KeyError', (failed, expected)
    assert t.client.load(B)[0] == data(1)
    t.store((A, data(2)))
    t.pack(a_moment())


def test_weird_records(peers_twin):
    """Records that are no pickles of ZODB: as referencesf sees them."""
    t = peers_twin
    t.store((Z64, data(0, A)), (A, data(1)))
    for bad in b'x', b'', b'\x80\x03.', b'garbage' * 10:
        if bad:
            t.store((B, bad))
    when = a_moment()
    results = {outcome(t.client.pack, when) is None, outcome(t.fs.pack, when, referencesf) is None}
    assert results == {True}


def test_undo_across_a_pack(server, storage, tmp_path):
    """What Python cannot do: without garbage collection, back-pointers over the pack time."""
    a = storage(server(serving('pack-gc false')))
    store(a, (A, data(1)))
    first = store(a, (A, data(2)))
    when = a_moment()
    undone = commit(a, [Undo(first)])
    store(a, (B, data(1)))
    a.pack(when)
    assert a.loadBefore(A, MAX_TID) == (data(1), undone, None)
    again = commit(a, [Undo(undone)])
    assert a.load(A) == (data(2), again)
    assert fstest(tmp_path / 'Data.fs') == []


def test_garbage_that_comes_back(server, storage, tmp_path):
    """What Python loses: what objects refer to that were garbage at the time of the pack and were
    brought back by an undo later."""
    a = storage(server(serving()))
    store(a, (Z64, data(0, A)), (A, data(1, B)), (B, data(2)))
    unlinked = store(a, (Z64, data(0)))
    changed = store(a, (A, data('changed')))
    when = a_moment()
    commit(a, [Undo(changed)])
    commit(a, [Undo(unlinked)])
    a.pack(when)
    with Wire(a._addr if isinstance(a._addr, tuple) else a._addr[0]) as w:
        assert w.call('loadBefore', A, MAX_TID)[0] == data(1, B)
        assert w.call('loadBefore', B, MAX_TID)[0] == data(2)
    a.close()
    assert fsrefs(tmp_path / 'Data.fs') == ''


def test_read_only_clients_pack(peer, storage):
    """A read-only client may; a read-only storage cannot."""
    s = peer(serving())
    a = storage(s)
    for n in range(3):
        store(a, (Z64, data(n)))
    when = a_moment()
    b = storage(s, read_only=True)
    b.pack(when)
    assert [t.status for t in b.iterator()] == ['p']
    a.close()
    b.close()
    assert s.stop() == 0
    r = peer(serving('read-only true'))
    b = storage(r, read_only=True)
    assert outcome(b.pack, time.time())[0] == 'ReadOnlyError'


def test_not_waited_for(peer, storage, tmp_path):
    a = storage(peer(serving()))
    for n in range(5):
        store(a, (Z64, data(n)))
    when = a_moment()
    assert a.pack(when, wait=False) is None
    wait_until('it is packed', lambda: len(list(a.iterator())) == 1)
    wait_until('the size is told', lambda: a.getSize() == (tmp_path / 'Data.fs').stat().st_size)


def test_info_to_all(peer, storage):
    """T57: sizes and lengths are pushed to everybody after a pack."""
    s = peer(serving())
    a, b = storage(s), storage(s)
    for n in range(5):
        store(a, (Z64, data(n)), (p64(n + 1), data('garbage')))
    before = a.getSize(), len(a)
    a.pack(a_moment())
    wait_until('both know', lambda: len(b) == len(a) == 1 and b.getSize() == a.getSize())
    assert before[0] > b.getSize() and before[1] == 6


# --- slow packs, while others work ---

def fill(a, n=40, size=50000):
    """A database with garbage, of some 2 n size bytes."""
    rng = random.Random(5)
    news = oids(n)
    store(a, (Z64, data(0, *news[:n // 2])), *[(oid, data(rng.randbytes(size))) for oid in news])
    store(a, *[(oid, data(rng.randbytes(size))) for oid in news[:n // 2]])
    return news


@pytest.fixture
def slow(server, storage, tmp_path):
    """A server whose pack takes some seconds, and its objects."""
    s = server(serving('pack-bandwidth 2MB'))
    a = storage(s)
    fill(a, 40, 50000)
    a.close()
    return s


def packing(s, when, results):
    def run():
        with Wire(s.address) as w:
            try:
                results.append(w.call('pack', when, True))
            except (WireError, Closed) as e:
                results.append(e)
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_while_others_work(slow, storage, tmp_path):
    """R8: loads, commits and iterations go on during a pack, and nothing of them is lost."""
    s = slow
    a = storage(s)
    it = a.iterator()
    first = next(it)
    when = a_moment()
    results, committed, slowest = [], {}, 0
    thread = packing(s, when, results)
    with Wire(s.address) as w:
        n = 0
        while thread.is_alive():
            n += 1
            oid = p64(1 + n % 30)
            begin = time.monotonic()
            serial = w.call('getTid', oid)
            value = data(f'during {n}' * (n % 50))
            committed[oid] = w.commit([(oid, serial, value)]), value
            assert w.call('loadBefore', oid, MAX_TID)[:2] == committed[oid][::-1]
            slowest = max(slowest, time.monotonic() - begin)
        assert results == [None]
        for oid, (tid, value) in committed.items():
            assert w.call('loadBefore', oid, MAX_TID)[:2] == (value, tid)
    assert n > 20
    assert slowest < 5
    assert [t.tid for t in it] != [] and first.tid < committed[p64(1)][0]
    a.close()
    assert s.stop() == 0
    assert fstest(tmp_path / 'Data.fs') == []
    assert fsrefs(tmp_path / 'Data.fs') == ''
    assert leftovers(tmp_path) == []
    fs = FileStorage(str(tmp_path / 'Data.fs'))
    for oid, (tid, value) in committed.items():
        assert fs.load(oid) == (value, tid)
    fs.close()


def test_a_second_pack_and_undo_log_during_a_pack(slow, wires, tmp_path):
    s = slow
    results = []
    with wires(s) as w:
        thread = packing(s, a_moment(), results)
        wait_until('the pack has begun', lambda: (tmp_path / 'Data.fs.pack').exists())
        with pytest.raises(WireError) as e:
            w.call('pack', time.time(), True)
        assert e.value.name == 'ZODB.FileStorage.FileStorage.FileStorageError'
        assert tuple(e.value.data) == ('Already packing',)
        with pytest.raises(WireError) as e:
            w.call('undoLog', 0, -20)
        assert e.value.name == 'ZODB.POSException.UndoError'
        assert e.value.data['_reason'] == (
            'Undo is currently disabled for database maintenance.<p>')
        with pytest.raises(WireError):
            w.call('undoInfo', 0, -20, None)
        thread.join()
        assert results == [None]
        assert w.call('undoLog', 0, -20) in ([], ())


def test_undo_during_a_pack(slow, storage):
    """Undo of what is behind pack time."""
    s = slow
    a = storage(s)
    store(a, (Z64, data(0, *oids(10))))
    when = a_moment()
    results = []
    changed = [store(a, (oid, data('changed'))) for oid in oids(10)]
    before = {oid: a.loadBefore(oid, tid)[0] for oid, tid in zip(oids(10), changed)}
    thread = packing(s, when, results)
    undone = [commit(a, [Undo(tid)]) for tid in changed]
    assert thread.is_alive()
    thread.join()
    assert results == [None]
    for oid, tid in zip(oids(10), undone):
        assert a.load(oid) == (before[oid], tid)
    commit(a, [Undo(undone[3])])
    assert a.load(oids(10)[3])[0] == data('changed')


def test_stop_during_a_pack(slow, tmp_path):
    """It does not wait for the pack, and leaves no trace of it."""
    s = slow
    results = []
    before = (tmp_path / 'Data.fs').read_bytes()
    thread = packing(s, a_moment(), results)
    wait_until('the pack has begun', lambda: (tmp_path / 'Data.fs.pack').exists())
    begin = time.monotonic()
    assert s.stop() == 0
    assert time.monotonic() - begin < 10
    thread.join()
    assert results != [None]
    assert (tmp_path / 'Data.fs').read_bytes() == before
    assert leftovers(tmp_path) == []


def test_kill_during_a_pack(slow, tmp_path):
    """Killed at any time: nothing lost, and no file left that needs a person."""
    s = slow
    path = tmp_path / 'Data.fs'
    rng = random.Random()
    for n in range(3):
        results = []
        before = path.read_bytes()
        thread = packing(s, a_moment(), results)
        wait_until('the pack has begun', lambda: (tmp_path / 'Data.fs.pack').exists())
        time.sleep(rng.random() * 0.5)  # the moment is the test
        s.kill()
        thread.join()
        s.start()
        assert path.read_bytes() == before
        assert leftovers(tmp_path) == []
    with Wire(s.address) as w:
        assert len(w.call('loadBefore', A, MAX_TID)[0]) > 50000
    assert s.stop() == 0


# --- when there is no room ---

@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip('a file system cannot be mounted here')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def test_disk_full(server, storage, small_disk):
    """T23: the storage stays as it is and goes on, the .pack file goes."""
    s = server(serving().replace('{dir}', str(small_disk)))
    a = storage(s)
    news = fill(a, 80, 40000)
    before = (small_disk / 'Data.fs').read_bytes()
    assert len(before) > 3 << 20
    result = outcome(a.pack, a_moment())
    assert result[0] == 'OSError' and 'No space left' in result[1]
    assert (small_disk / 'Data.fs').read_bytes() == before
    assert leftovers(small_disk) == []
    assert 'No space left' in s.text()
    tid = store(a, (news[0], data('after')))
    assert a.load(news[0]) == (data('after'), tid)
    a.close()
    assert s.stop() == 0
    assert fstest(small_disk / 'Data.fs') == []


def test_file_size_limit(programs, start_server, storage, tmp_path, free_address):
    """The same where only a limit of the process stops it."""
    path = tmp_path / 'Data.fs'
    fs = FileStorage(str(path))
    news = fill(fs, 20, 40000)
    for n in range(3):
        store(fs, (news[0], data('x' * 500)))
    fs.close()
    before = path.read_bytes()
    configuration = tmp_path / 'conf'
    configuration.write_text(serving().replace('{address}', '%s:%d' % free_address)
                             .replace('{dir}', str(tmp_path)))
    limit = 300000
    s = start_server(['sh', '-c', f'ulimit -f {limit // 512}; trap "" XFSZ; exec "$0" "$@"',
                      programs / 'zkrunzeo', '-C', configuration], free_address)
    a = storage(s)
    result = outcome(a.pack, a_moment())
    assert 'File too large' in result[1]
    a.close()
    assert s.stop() == 0
    assert path.read_bytes() == before
    assert leftovers(tmp_path) == []


# --- what an earlier one left ---

def test_start_with_a_pack_file(server, storage, tmp_path):
    """A .pack beside a Data.fs was not finished: it is no danger."""
    s = server(serving())
    a = storage(s)
    for n in range(3):
        tid = store(a, (Z64, data(n)))
    a.close()
    assert s.stop() == 0
    (tmp_path / 'Data.fs.pack').write_bytes(b'FS30 half of a pack')
    s.start()
    a = storage(s)
    assert a.load(Z64) == (data(2), tid)
    a.pack(a_moment())
    a.close()
    assert s.stop() == 0
    assert leftovers(tmp_path) == []
    assert len(parse_file(tmp_path / 'Data.fs')) == 1


@pytest.mark.parametrize('suffix', ['.pack', '.old'])
def test_start_without_a_data_file(server, storage, tmp_path, suffix):
    """T67: never a new, empty file in the place of a database."""
    s = server(serving())
    a = storage(s)
    store(a, (Z64, data(1)))
    a.close()
    assert s.stop() == 0
    os.rename(tmp_path / 'Data.fs', tmp_path / f'Data.fs{suffix}')
    s.start(wait=False)
    assert s.process.wait(30) != 0
    assert f'Data.fs{suffix}' in s.text()
    assert not (tmp_path / 'Data.fs').exists()
