"""Blobs: stock clients with a cache of their own and in the server's folder, beside ZODB's own reading of the
folder."""

import os
import pathlib
import resource
import threading

import pytest
import transaction
import ZODB
from wire import Closed, Wire, WireError, Z64, p64, wait_until
from ZODB.blob import Blob, BlobStorage, FilesystemHelper
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import load_current
from ZODB.utils import p64 as oid_bytes

ZEO_SECTION = '<zeo>\n  address {address}\n</zeo>\n'
FILE = ZEO_SECTION + '<filestorage 1>\n  path {dir}/Data.fs\n  blob-dir {dir}/blobs\n</filestorage>\n'
WRAPPED = (ZEO_SECTION + '<blobstorage 1>\n  blob-dir {dir}/blobs\n'
           '  <filestorage>\n    path {dir}/Data.fs\n  </filestorage>\n</blobstorage>\n')
MAPPING = (ZEO_SECTION + '<blobstorage 1>\n  blob-dir {dir}/blobs\n'
           '  <mappingstorage>\n  </mappingstorage>\n</blobstorage>\n')
MB = 1 << 20


@pytest.fixture
def database(storage, opened, tmp_path):
    """database(server, cache=NAME): a database of a stock client with its own blob cache, or with the server's
    folder when there is no name."""
    def make(server, cache=None):
        client = storage(server, blob_dir=str(tmp_path / (cache or 'blobs')),
                         shared_blob_dir=cache is None)
        return opened(ZODB.DB(client))
    return make


def put(db, blobs):
    """{key: content} as blobs of the root, in one transaction; its tid."""
    tm = transaction.TransactionManager()
    c = db.open(tm)
    try:
        for key, content in blobs.items():
            blob = c.root().get(key)
            if blob is None:
                blob = c.root()[key] = Blob()
            with blob.open('w') as f:
                f.write(content)
        tm.commit()
        return c.root()._p_serial
    finally:
        c.close()


def get(db, keys):
    c = db.open(transaction.TransactionManager())
    try:
        result = {}
        for key in keys:
            with c.root()[key].open() as f:
                result[key] = f.read()
        return result
    finally:
        c.close()


def files(folder):
    return sorted(p for p in pathlib.Path(folder).rglob('*.blob'))


def temporaries(tmp_path):
    return list((tmp_path / 'blobs').rglob('zkzeo-*'))


@pytest.mark.parametrize('layout', ['bushy', 'lawn'])
@pytest.mark.parametrize('shared', [False, True], ids=['sent', 'shared'])
def test_round_trip(server, database, tmp_path, layout, shared):
    if layout == 'lawn':
        FilesystemHelper(str(tmp_path / 'blobs'), 'lawn').create()
    contents = {'empty': b'', 'one': b'1', 'chunk': os.urandom(59000),
                'more': os.urandom(59001), 'large': os.urandom(3 * MB + 17)}
    s = server(FILE)
    put(database(s, None if shared else 'cache1'), contents)
    assert temporaries(tmp_path) == []
    assert get(database(s, None if shared else 'cache2'), contents) == contents
    assert (tmp_path / 'blobs' / '.layout').read_text() == layout
    assert s.stop() == 0
    # ZODB finds each file where it looks for it, as it would have left it
    helper = FilesystemHelper(str(tmp_path / 'blobs'))
    found = files(tmp_path / 'blobs')
    assert len(found) == len(contents)
    assert {p.stat().st_mode & 0o777 for p in found} == {0o444}
    db = ZODB.DB(FileStorage(str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'blobs')))
    assert get(db, contents) == contents
    assert {str(p) for p in found} == {
        helper.getBlobFilename(*helper.splitBlobFilename(str(p))) for p in found}
    db.close()


@pytest.mark.parametrize('encoding', ['Z', 'M'])
def test_messages(server, wires, encoding):
    """T52: the blob's record is a second one; what sendBlob sends, byte for byte."""
    s = server(FILE.replace('</zeo>', f'  msgpack {"on" if encoding == "M" else "off"}\n</zeo>'))
    w = wires(s, encoding=encoding)
    oid, content = p64(1), os.urandom(2 * 59000 + 1)
    w.call('tpc_begin', 1, b'', b'', {})
    w.send_async(('storea', oid, Z64, b'data', 1), ('storeBlobStart',),
                 ('storeBlobChunk', content[:70000]), ('storeBlobChunk', content[70000:]),
                 ('storeBlobEnd', oid, Z64, b'data', 1))
    assert list(w.call('vote', 1)) == []
    tid = w.call('tpc_finish', 1)
    w.events.clear()
    assert w.call('sendBlob', oid, tid) is None
    assert [(id, flag, name) for id, flag, name, _ in w.events] == [
        (0, 1, 'receiveBlobStart'), *[(0, 1, 'receiveBlobChunk')] * 3, (0, 1, 'receiveBlobStop')]
    assert all(tuple(args[:2]) == (oid, tid) for *_, args in w.events)
    chunks = [args[2] for _, _, name, args in w.events if name == 'receiveBlobChunk']
    assert [len(c) for c in chunks] == [59000, 59000, 1]
    assert b''.join(chunks) == content
    for missing in ((oid, p64(1)), (p64(2), tid), (oid, b'\x7f' + b'\xff' * 7)):
        with pytest.raises(WireError) as e:
            w.call('sendBlob', *missing)
        assert e.value.name == 'ZODB.POSException.POSKeyError'


def interfaces(storage):
    import zope.interface
    return [(i.__module__, i.__name__) for i in zope.interface.providedBy(storage).__iro__]


@pytest.mark.parametrize('configuration, make', [
    (FILE, lambda d: FileStorage(f'{d}/Python.fs', blob_dir=f'{d}/python')),
    (WRAPPED, lambda d: BlobStorage(f'{d}/python', FileStorage(f'{d}/Python.fs'))),
    (MAPPING, lambda d: BlobStorage(f'{d}/python', MappingStorage())),
], ids=['filestorage', 'blobstorage', 'mapping'])
def test_interfaces(server, wires, opened, tmp_path, configuration, make):
    """T57"""
    info = wires(server(configuration)).call('get_info')
    assert [tuple(i) for i in info['interfaces']] == interfaces(opened(make(tmp_path)))


def test_no_blobs(server, wires):
    w = wires(server(FILE.replace('  blob-dir {dir}/blobs\n', '')))
    for call in (('storeBlobStart',), ('sendBlob', p64(1), p64(1))):
        with pytest.raises(WireError) as e:
            w.call(*call)
        assert e.value.name == 'ZODB.POSException.Unsupported'


@pytest.mark.parametrize('configuration', [FILE, MAPPING], ids=['filestorage', 'mapping'])
def test_large_ones_side_by_side(server, database, tmp_path, configuration):
    """T14: two in one transaction, of two clients at once."""
    s = server(configuration)
    contents = [{(n, k): os.urandom(8 * MB) for k in 'ab'} for n in range(2)]
    # each its own object to write to: the root is not what this is about
    put(database(s, 'cache0'), {key: b'' for c in contents for key in c})
    errors = []

    def store(n):
        try:
            put(database(s, f'cache{n + 1}'), contents[n])
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=store, args=(n,)) for n in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert errors == []
    expected = {**contents[0], **contents[1]}
    assert get(database(s, 'cache3'), expected) == expected
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize('shared', [False, True], ids=['sent', 'shared'])
@pytest.mark.parametrize('voted', [False, True], ids=['stored', 'voted'])
def test_abort(server, storage, tmp_path, shared, voted):
    """T13: what was sent goes."""
    s = server(FILE)
    client = storage(s, blob_dir=str(tmp_path / ('blobs' if shared else 'cache')),
                     shared_blob_dir=shared)
    t = TransactionMetaData()
    client.tpc_begin(t)
    (tmp_path / 'content').write_bytes(b'x' * MB)
    client.storeBlob(client.new_oid(), Z64, b'data', str(tmp_path / 'content'), '', t)
    if voted:
        client.tpc_vote(t)
        assert temporaries(tmp_path) != []
    client.tpc_abort(t)
    client.sync()
    wait_until('no file is left',
               lambda: not temporaries(tmp_path) and not [*(tmp_path / 'blobs').rglob('*.tmp*')])
    assert files(tmp_path / 'blobs') == []


@pytest.mark.parametrize('after', ['chunk', 'end', 'vote'])
def test_disconnect(server, wires, tmp_path, after):
    s = server(FILE)
    w = wires(s)
    w.call('tpc_begin', 1, b'', b'', {})
    w.send_async(('storeBlobStart',), ('storeBlobChunk', b'x' * MB))
    wait_until('a file', lambda: temporaries(tmp_path))
    if after != 'chunk':
        w.send_async(('storeBlobEnd', p64(1), Z64, b'data', 1))
    if after == 'vote':
        w.call('vote', 1)
    w.close()
    wait_until('no file is left', lambda: not temporaries(tmp_path))
    assert files(tmp_path / 'blobs') == []


def test_abort_of_what_is_not_complete(server, wires, tmp_path):
    w = wires(server(FILE))
    w.call('tpc_begin', 1, b'', b'', {})
    w.send_async(('storeBlobStart',), ('storeBlobChunk', b'x' * MB))
    w.call('tpc_abort', 1)
    wait_until('no file is left', lambda: not temporaries(tmp_path))
    w.call('tpc_begin', 2, b'', b'', {})
    w.send_async(('storeBlobStart',), ('storeBlobChunk', b'next'),
                 ('storeBlobEnd', p64(1), Z64, b'data', 2))
    w.call('vote', 2)
    w.call('tpc_finish', 2)
    assert [p.read_bytes() for p in files(tmp_path / 'blobs')] == [b'next']


def test_no_room_for_a_blob(server, wires, tmp_path):
    """It is told at vote, and what was written is given back."""
    s = server(FILE)
    resource.prlimit(s.pid, resource.RLIMIT_FSIZE, (2 * MB, 2 * MB))
    w = wires(s)
    w.call('tpc_begin', 1, b'', b'', {})
    w.send_async(('storeBlobStart',), *[('storeBlobChunk', b'x' * 59000)] * 100,
                 ('storeBlobEnd', p64(1), Z64, b'data', 1))
    with pytest.raises(WireError) as e:
        w.call('vote', 1)
    assert 'cannot write' in str(e.value.data)
    assert temporaries(tmp_path) == []
    w.call('tpc_begin', 2, b'', b'', {})
    w.send_async(('storeBlobStart',), ('storeBlobChunk', b'fits'),
                 ('storeBlobEnd', p64(1), Z64, b'data', 2))
    w.call('vote', 2)
    w.call('tpc_finish', 2)
    assert [p.read_bytes() for p in files(tmp_path / 'blobs')] == [b'fits']


@pytest.mark.parametrize('name', ['../x.tmp', '/etc/x.tmp', 'x', 'x.tmp--', 'a/b.tmp', '.tm', ''])
def test_shared_names(server, wires, name):
    w = wires(server(FILE))
    w.call('tpc_begin', 1, b'', b'', {})
    with pytest.raises(WireError) as e:
        w.call('storeBlobShared', p64(1), Z64, b'data', name, 1)
    assert e.value.name == 'builtins.ValueError'


@pytest.mark.parametrize('kind', ['missing', 'symlink', 'folder', 'fifo'])
def test_shared_file_that_is_none(server, wires, tmp_path, kind):
    w = wires(server(FILE))
    path = pathlib.Path(FilesystemHelper(str(tmp_path / 'blobs')).getPathForOID(p64(1), True))
    if kind == 'symlink':
        (path / 'x.tmp').symlink_to('/etc/passwd')
    elif kind == 'folder':
        (path / 'x.tmp').mkdir()
    elif kind == 'fifo':
        os.mkfifo(path / 'x.tmp')
    w.call('tpc_begin', 1, b'', b'', {})
    w.call('storeBlobShared', p64(1), Z64, b'data', 'x.tmp', 1)
    with pytest.raises(WireError):
        w.call('vote', 1)
    assert files(tmp_path / 'blobs') == []


@pytest.mark.parametrize('calls', [
    [('storeBlobChunk', b'x')], [('storeBlobStart',), ('storeBlobStart',)],
    [('storeBlobStart',), ('storeBlobChunk', 'text')], [('storeBlobEnd', p64(1), Z64, b'', 1)],
    [('storeBlobStart',), ('storeBlobEnd', p64(1), Z64, b'data', 'another')],
], ids=['chunk', 'twice', 'text', 'end', 'transaction'])
def test_out_of_order(server, wires, tmp_path, calls):
    """R11: it costs that connection."""
    s = server(FILE)
    w = wires(s)
    w.call('tpc_begin', 1, b'', b'', {})
    w.send_async(*calls)
    assert w.closed()
    wires(s).call('lastTransaction')
    wait_until('no file is left', lambda: not temporaries(tmp_path))


def memory_kb(pid):
    for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith('VmRSS'):
            return int(line.split()[1])


def test_client_that_does_not_read(server, wires, database):
    """R9: what it asked for is not read into memory; others go on."""
    s = server(FILE)
    db = database(s, 'cache')
    tid = put(db, {'large': os.urandom(64 * MB)})
    oid = oid_bytes(1)
    w = wires(s)
    before = memory_kb(s.pid)
    for _ in range(20):
        w.send('sendBlob', oid, tid)
    other = wires(s)
    for _ in range(100):
        other.call('loadBefore', p64(0), b'\x7f' + b'\xff' * 7)
    assert get(database(s, 'cache2'), ['large'])['large'][:1] != b''
    assert memory_kb(s.pid) - before < 32 << 10
    w.close()
    assert s.stop() == 0


def test_not_in_the_page_cache(server, database, tmp_path):
    """What has to come from the disk arrives as well as what has not."""
    s = server(FILE)
    content = os.urandom(4 * MB + 5)
    put(database(s, 'cache'), {'large': content})
    os.sync()
    for path in files(tmp_path / 'blobs'):
        with open(path, 'rb') as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert get(database(s, 'cache2'), ['large']) == {'large': content}


@pytest.mark.parametrize('doing', ['sending', 'receiving', 'voted'])
def test_stop_meanwhile(server, wires, database, tmp_path, doing):
    s = server(FILE)
    tid = put(database(s, 'cache'), {'large': os.urandom(16 * MB)})
    w = wires(s)
    if doing == 'sending':
        w.send('sendBlob', oid_bytes(1), tid)
        w.receive()
    else:
        w.call('tpc_begin', 1, b'', b'', {})
        w.send_async(('storeBlobStart',), ('storeBlobChunk', b'x' * 2 * MB))
        wait_until('a file', lambda: temporaries(tmp_path))
    if doing == 'voted':
        w.send_async(('storeBlobEnd', p64(9), Z64, b'data', 1))
        w.call('vote', 1)
    assert s.stop() == 0
    assert temporaries(tmp_path) == []
    assert len(files(tmp_path / 'blobs')) == 1


def test_vanishes_while_it_is_sent(server, wires, database):
    s = server(FILE)
    tid = put(database(s, 'cache'), {'large': os.urandom(8 * MB)})
    for _ in range(20):
        w = wires(s)
        w.send('sendBlob', oid_bytes(1), tid)
        w.receive()
        w.close()
    wait_until('its files are closed', lambda: not [
        fd for fd in os.listdir(f'/proc/{s.pid}/fd')
        if os.path.islink(f'/proc/{s.pid}/fd/{fd}')
        and os.readlink(f'/proc/{s.pid}/fd/{fd}').endswith('.blob')])


def test_undo(server, database, tmp_path):
    s = server(FILE)
    db = database(s, 'cache')
    for content in (b'one', b'two', b'three'):
        put(db, {'blob': content})
    for expected in (b'two', b'three', b'two'):  # an undo, and undos of undos
        tm = transaction.TransactionManager()
        db.undo(db.undoLog(0, 1)[0]['id'], tm.get())
        tm.commit()
        assert get(database(s, f'cache-{os.urandom(4).hex()}'), ['blob']) == {'blob': expected}
    assert s.stop() == 0
    python = ZODB.DB(FileStorage(str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'blobs')))
    assert get(python, ['blob']) == {'blob': b'two'}
    python.close()


@pytest.mark.parametrize('keep_old', [True, False], ids=['keep', 'drop'])
def test_pack(server, database, tmp_path, keep_old):
    s = server(FILE.replace('</filestorage>',
                            f'  pack-keep-old {"on" if keep_old else "off"}\n</filestorage>'))
    db = database(s, 'cache')
    for content in (b'one', b'two', b'three'):
        put(db, {'blob': content, 'garbage': content})
    tm = transaction.TransactionManager()
    c = db.open(tm)
    del c.root()['garbage']
    tm.commit()
    c.close()
    assert len(files(tmp_path / 'blobs')) == 6
    db.pack()
    wait_until('the pack has ended', lambda: len(files(tmp_path / 'blobs')) == 1)
    assert get(database(s, 'cache2'), ['blob']) == {'blob': b'three'}
    wait_until('the list is gone', lambda: not (tmp_path / 'blobs' / '.removed').exists())
    old = tmp_path / 'blobs.old'
    if keep_old:
        wait_until('the old ones', lambda: len(files(old)) == 6)
        assert (old / '.layout').read_text() == 'bushy'
    else:
        assert not old.exists()
    # of the object that is gone the folders are, too
    assert len([p for p in (tmp_path / 'blobs').rglob('0x*') if p.is_dir()]) == 8


def test_restart_reads_the_saved_index(server, database, tmp_path):
    """T27: two records of an object in its last transaction do not make it doubtful."""
    s = server(FILE)
    put(database(s, 'cache'), {'blob': b'x'})
    assert s.stop() == 0
    s.start()
    assert 'Ignoring index' not in s.text()


@pytest.mark.parametrize('damage, text', [
    (lambda d: d.write_text('x'), 'Not a directory'),
    (lambda d: (d.mkdir(), (d / '.layout').write_text('zeocache')), "its layout is 'zeocache'"),
    (lambda d: (d.mkdir(), (d / '.layout').mkdir()), 'Is a directory'),
], ids=['file', 'cache', 'marker'])
def test_refused_at_start(server, tmp_path, damage, text):
    """T25"""
    damage(tmp_path / 'blobs')
    s = server(FILE, start=False)
    with pytest.raises(AssertionError, match='ended with'):
        s.start()
    assert text in s.text()


def test_folder_of_two_storages(server):
    second = '<filestorage 2>\n  path {dir}/Other.fs\n  blob-dir {dir}/blobs\n</filestorage>\n'
    s = server(FILE + second, start=False)
    with pytest.raises(AssertionError, match='ended with'):
        s.start()
    assert 'another storage uses it' in s.text()


def test_create_starts_empty(server, database, tmp_path):
    s = server(FILE)
    put(database(s, 'cache'), {'blob': b'x'})
    assert s.stop() == 0
    (tmp_path / 'Data.fs').unlink()
    s = server(FILE.replace('</filestorage>', '  create on\n</filestorage>'))
    assert files(tmp_path / 'blobs') == []
    assert s.stop() == 0


def test_read_only(server, database, storage, tmp_path):
    s = server(FILE)
    tid = put(database(s, 'cache'), {'blob': b'content'})
    assert s.stop() == 0
    (tmp_path / 'blobs' / 'tmp').rmdir()
    s = server(FILE.replace('</filestorage>', '  read-only on\n</filestorage>'))
    client = storage(s, blob_dir=str(tmp_path / 'cache2'), read_only=True)
    data, serial = load_current(client, oid_bytes(1))
    assert serial == tid
    with client.openCommittedBlobFile(oid_bytes(1), serial) as f:
        assert f.read() == b'content'
    with pytest.raises(POSKeyError):
        client.loadBlob(oid_bytes(1), p64(77))
    assert not (tmp_path / 'blobs' / 'tmp').exists()


@pytest.mark.timeout(240)
def test_kill_rounds(server, wires, tmp_path):
    """kill -9 while blobs are stored: what was acknowledged is there, and no file of what never was."""
    s = server(FILE, start=False)
    acknowledged = {}
    for number in range(30):
        s.start()
        assert temporaries(tmp_path) == []
        stop = threading.Event()

        def commit(n, s=s, stop=stop, number=number):
            oid, serial = p64(1000 * (number + 1) + n), Z64
            try:
                with Wire(s.address) as w:
                    for i in range(100000):
                        content = b'%d-%d-%d' % (number, n, i) * 5000
                        w.call('tpc_begin', 1, b'', b'', {})
                        w.send_async(('storeBlobStart',), ('storeBlobChunk', content),
                                     ('storeBlobEnd', oid, serial, b'data', 1))
                        w.call('vote', 1)
                        serial = w.call('tpc_finish', 1)
                        acknowledged[oid, serial] = content
                        if i == n + 2:
                            stop.set()
            except (Closed, OSError):
                pass

        threads = [threading.Thread(target=commit, args=(n,)) for n in range(3)]
        for t in threads:
            t.start()
        stop.wait(20)
        s.kill()
        for t in threads:
            t.join()
    s.start()
    assert temporaries(tmp_path) == []
    assert s.stop() == 0
    helper = FilesystemHelper(str(tmp_path / 'blobs'))
    for (oid, tid), content in acknowledged.items():
        with open(helper.getBlobFilename(oid, tid), 'rb') as f:
            assert f.read() == content
    fs = FileStorage(str(tmp_path / 'Data.fs'), read_only=True)
    records = {(r.oid, t.tid) for t in fs.iterator() for r in t}
    fs.close()
    assert {helper.splitBlobFilename(str(p)) for p in files(tmp_path / 'blobs')} == records
    assert len(acknowledged) > 90
