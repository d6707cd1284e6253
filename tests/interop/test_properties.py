"""Random transactions, undos, restores, blobs and packs through several clients: what a model
says is there, Python's FileStorage has the same, and the file left behind is Python's.

A failure prints its seed; ZKZEO_SEED=... repeats it, ZKZEO_SEEDS=... says how many others to try.
"""

import os
import random
import time

import pytest
from persistent.TimeStamp import TimeStamp

from histories import History
from interop_files import fsrefs, fstest
from twins import asked, blob_files, outcome, same_files
from wire import MAX_TID, Wire, p64, u64, wait_until

CONFIGURATION = ('<zeo>\n  address {address}\n</zeo>\n'
                 '<filestorage 1>\n  path {dir}/Data.fs\n  %s\n</filestorage>\n')
STEPS = 120
CLIENTS = 3


def seeds():
    if 'ZKZEO_SEED' in os.environ:
        return [int(s) for s in os.environ['ZKZEO_SEED'].split(',')]
    return [random.randrange(1 << 32) for _ in range(int(os.environ.get('ZKZEO_SEEDS', 3)))]


@pytest.mark.parametrize('kind', ['plain', 'blobs'])
@pytest.mark.parametrize('number', range(len(seeds())))
def test_history(server, twin, storage, tmp_path, number, kind):
    seed = seeds()[number]
    print('ZKZEO_SEED =', seed)
    run(server, twin, storage, tmp_path, seed, kind == 'blobs', True)


def test_history_of_pythons_server(python_server, twin, storage, tmp_path):
    """The test itself: it must find nothing wrong with what it compares with."""
    seed = seeds()[0]
    print('ZKZEO_SEED =', seed)
    run(python_server, twin, storage, tmp_path, seed, True, False)


def run(server, twin, storage, tmp_path, seed, blobs, invalidates_all):
    rng = random.Random(seed)
    gc = rng.random() < 0.7
    keep_old = rng.random() < 0.5
    shared = blobs and rng.random() < 0.5
    options = f'pack-gc {str(gc).lower()}\n  pack-keep-old {str(keep_old).lower()}'
    fs_options = {'pack_gc': gc, 'pack_keep_old': keep_old}
    client_options = {}
    if blobs:
        options += '\n  blob-dir {dir}/blobs'
        fs_options['blob_dir'] = str(tmp_path / 'python-blobs')
        client_options = {'shared_blob_dir': shared}
    s = server(CONFIGURATION % options)

    def connected(n):
        folder = tmp_path / ('blobs' if shared else f'cache{n}')
        return storage(s, **client_options, **({'blob_dir': str(folder)} if blobs else {}))

    first = connected(0)
    t = twin(s, **fs_options)
    clients = [first] + [connected(n) for n in range(1, CLIENTS)]
    t.client = first
    copier = connected(CLIENTS)
    h = History(seed, blobs, extensions=rng.random() < 0.5)
    # Python's server does not tell clients what was restored
    h.invalidates_all = invalidates_all
    for step in range(STEPS):
        client = rng.choice(clients)
        # another client's commits have reached it
        client.ping()
        ops, tid = h.make(t.fs)
        # a client does not put into its cache what it restores itself
        result = t.commit(*ops, client=copier if tid else client, tid=tid, **h.metadata())
        if isinstance(result, bytes):
            h.committed(ops, result)
        if step % 30 == 29 or rng.random() < 0.02:
            pack(t, h, rng, client, tmp_path / 'Scratch.fs')
        if rng.random() < 0.1:
            check(t, h, s, rng.choice(clients), rng)
    clients.append(connected(CLIENTS + 1))
    for client in clients:
        check(t, h, s, client, rng)
    assert len(client) == len(t.fs)
    assert client.getSize() == t.fs.getSize()
    if blobs:
        compare_blobs(t.fs, tmp_path, strays=invalidates_all)
    for client in clients:
        client.close()
    assert s.stop() == 0
    t.fs.close()
    path = tmp_path / 'Data.fs'
    same_files(path, tmp_path / 'Python.fs')
    assert fstest(path) == []
    assert fsrefs(path) == ''
    assert stray(tmp_path) == []


def pack(t, h, rng, client, scratch):
    when = rng.choice(['now', 'past', 'past', 'future'])
    if when == 'past':
        when = TimeStamp(rng.choice(h.log[-40:])[0]).timeTime()
    else:
        when = time.time() + (86400 if when == 'future' else 0)
    if not h.can_pack(t.fs, when, scratch):
        when = time.time()
    t.pack(when, client=client)
    h.packed(t.fs)


def check(t, h, s, client, rng):
    """What the model says, and what Python says, the server says, too."""
    client.ping()
    if not h.invalidates_all:  # Python's server answers a ping before it has told of everything
        wait_until('the last transaction', lambda: client.lastTransaction() == t.fs.lastTransaction())
    assert client.lastTransaction() == t.fs.lastTransaction()
    with Wire(s.address) as w:
        for n in range(h.last_oid + 1):
            check_object(t, h, w, client, p64(n))
        for n in rng.sample(range(h.last_oid + 1), min(5, h.last_oid)):
            oid = p64(n)
            tid = rng.choice(h.log)[0]
            assert asked(w, 'history', oid, 10) == outcome(t.fs.history, oid, 10)
            assert asked(w, 'loadSerial', oid, tid) == outcome(t.fs.loadSerial, oid, tid)
            for before in tid, p64(u64(tid) + 1):
                assert asked(w, 'loadBefore', oid, before) == outcome(
                    t.fs.loadBefore, oid, before)
    first, last = rng.choice([(0, -20), (0, 100), (3, 8)])
    assert client.undoLog(first, last) == t.fs.undoLog(first, last)
    assert [(x.tid, x.status) for x in client.iterator()] == [
        (x.tid, x.status) for x in t.fs.iterator()]


def check_object(t, h, w, client, oid):
    assert asked(w, 'loadBefore', oid, MAX_TID) == outcome(t.fs.loadBefore, oid, MAX_TID)
    assert asked(w, 'getTid', oid) == outcome(t.fs.getTid, oid)
    if oid not in h.current:
        assert asked(w, 'loadBefore', oid, MAX_TID)[0] == 'POSKeyError'
        return
    data, serial, end = w.call('loadBefore', oid, MAX_TID)
    assert (data, end) == (h.current[oid], None)
    if h.invalidates_all:
        assert client.load(oid) == (data, serial)
    if (oid, serial) in h.blob_log:
        with client.openCommittedBlobFile(oid, serial) as f:
            assert f.read() == h.blob_log[oid, serial]


def compare_blobs(fs, folder, strays):
    """The same files. Python leaves one behind where an undo of a blob has failed."""
    tids = {t.tid.hex() for t in fs.iterator()}

    def known(name):
        return name.rpartition('/0x')[2].removesuffix('.blob') in tids

    found, expected = blob_files(folder / 'blobs'), blob_files(folder / 'python-blobs')
    assert not strays or all(map(known, found))
    assert {k: v for k, v in found.items() if known(k)} == {
        k: v for k, v in expected.items() if known(k)}


def stray(folder):
    """What a server should not leave beside its files."""
    expected = {'Data.fs', 'Data.fs.index', 'Data.fs.lock', 'Data.fs.old', 'Data.fs.tmp'}
    return sorted(p.name for p in folder.glob('Data.fs*') if p.name not in expected)
