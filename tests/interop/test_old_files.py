"""Files as ZODB wrote them before: Python 2's pickles, the magic number of Python 2, transactions undone in
place, no index. Built byte by byte from docs/format.md, then opened, served and packed beside Python."""

import shutil
import struct

import pytest
from persistent.TimeStamp import TimeStamp
from ZODB.FileStorage import FileStorage
from ZODB.serialize import referencesf

from interop_files import fstest
from twins import same_files
from wire import MAX_TID, Wire, p64

CONFIGURATION = ('<zeo>\n  address {address}\n</zeo>\n'
                 '<filestorage 1>\n  path {dir}/Data.fs\n</filestorage>\n')
OIDS = [p64(n) for n in range(6)]


class Writer:
    """A file, transaction by transaction."""

    def __init__(self, path, magic):
        self.file = open(path, 'wb')
        self.pos = self.file.write(magic)
        self.last = {}
        self.n = 0

    def write(self, *records, status=b' ', user=b'', description=b'', extension=b''):
        """Records: (oid, data), or (oid, offset) for a back-pointer; the offsets of the records."""
        self.n += 1
        tid = TimeStamp(2004, 2, 29, 12, self.n, 7.5).raw()
        head = 23 + len(user) + len(description) + len(extension)
        body, offsets = b'', []
        for oid, data in records:
            at = self.pos + head + len(body)
            back = isinstance(data, int)
            body += struct.pack('>8s8sQQHQ', oid, tid, self.last.get(oid, 0), self.pos, 0,
                                0 if back else len(data))
            body += struct.pack('>Q', data) if back else data
            offsets.append(at)
        if status != b'u':
            self.last.update(zip([oid for oid, _ in records], offsets))
        length = head + len(body)
        self.file.write(struct.pack('>8sQcHHH', tid, length, status, len(user),
                                    len(description), len(extension)))
        self.file.write(user + description + extension + body + struct.pack('>Q', length))
        self.pos += length + 8
        return offsets


def short(text):
    """A Python 2 string."""
    return b'U' + bytes([len(text)]) + text


def reference(oid):
    return b'(' + oid + b'cpersistent.mapping\nPersistentMapping\ntQ'


# How a class and its references were pickled: (class, start of the state, an oid).
ZODB3 = (b'(cpersistent.mapping\nPersistentMapping\nNt.', b'}(U\x04data}(', short)
ZODB4 = (b'\x80\x02cpersistent.mapping\nPersistentMapping\nq\x01.', b'\x80\x02}q\x02(U\x04data}q\x03(',
         short)
ZODB5 = (b'\x80\x03cpersistent.mapping\nPersistentMapping\nq\x01.',
         b'\x80\x03}q\x02(X\x04\x00\x00\x00data}q\x03(', lambda oid: b'C\x08' + oid)


def record(kind, *oids, weak=(), value=b'x'):
    head, state, oid_of = kind
    items = b''.join(short(b'r%d' % n) + reference(oid_of(oid)) for n, oid in enumerate(oids))
    items += b''.join(short(b'w%d' % n) + b'](' + short(b'w') + b'(' + oid_of(oid) + b'teQ'
                      for n, oid in enumerate(weak))
    return head + state + items + short(b'value') + short(value) + b'uu.'


def make(path, kind, magic, undone=False):
    w = Writer(path, magic)
    w.write((OIDS[0], record(kind, OIDS[1])), user=b'caf\xc3\xa9', description=b'first')
    w.write((OIDS[1], record(kind, OIDS[2], weak=[OIDS[4]])), (OIDS[2], record(kind)),
            extension=b'}q\x01U\x04tagsq\x02K\x05s.')
    w.write((OIDS[3], record(kind, OIDS[4])), (OIDS[4], record(kind)), description=b'garbage')
    if undone:
        w.write((OIDS[5], record(kind)), status=b'u', description=b'undone in place')
    else:
        w.n += 1
    two, = w.write((OIDS[2], record(kind, value=b'changed')))
    w.write((OIDS[2], record(kind, value=b'changed again')))
    w.write((OIDS[2], two), description=b'undo')
    w.file.close()


KINDS = {'3 on Python 2': (ZODB3, b'FS21'), '4 on Python 2': (ZODB4, b'FS21'),
         '5 on Python 3': (ZODB5, b'FS30'), '6 on Python 3': (ZODB5, b'FS30')}


@pytest.fixture(params=KINDS, ids=lambda name: f'ZODB {name}')
def old(request, tmp_path):
    """(the file that is served, a copy for Python)"""
    kind, magic = KINDS[request.param]
    make(tmp_path / 'Data.fs', kind, magic)
    (tmp_path / 'python').mkdir()
    for_python = tmp_path / 'python' / 'Data.fs'
    shutil.copy(tmp_path / 'Data.fs', for_python)
    with_magic(for_python, b'FS30')
    return tmp_path / 'Data.fs', for_python, magic


def with_magic(path, magic):
    """Python 3's FileStorage refuses a file of Python 2's for its first four bytes alone."""
    with open(path, 'r+b') as f:
        before = f.read(4)
        f.seek(0)
        f.write(magic)
    return before


def outcome(call, *args):
    try:
        return call(*args)
    except KeyError:
        return KeyError


def test_old_file(server, storage, old):
    path, copy, magic = old
    s = server(CONFIGURATION)
    client = storage(s)
    fs = FileStorage(str(copy))
    assert client.lastTransaction() == fs.lastTransaction()
    assert len(client) == len(fs) == 5
    for oid in OIDS:
        assert outcome(client.load, oid) == outcome(fs.load, oid)
        assert outcome(client.history, oid, 9) == outcome(fs.history, oid, 9)
    assert client.load(OIDS[2])[0].endswith(b'changed' + b'uu.')
    assert ([(t.tid, t.status, t.user, t.description, t.extension, [
                (r.oid, r.tid, r.data, r.data_txn) for r in t]) for t in client.iterator()]
            == [(t.tid, t.status, t.user, t.description, t.extension, [
                (r.oid, r.tid, r.data, r.data_txn) for r in t]) for t in fs.iterator()])
    assert client.undoLog(0, 20) == fs.undoLog(0, 20)
    time = TimeStamp(2004, 2, 29, 12, 6, 30).timeTime()
    client.pack(time, wait=True)
    fs.pack(time, referencesf)
    client.close()
    client = storage(s)  # whose cache is empty
    for oid in OIDS:
        assert outcome(client.load, oid) == outcome(fs.load, oid)
    assert outcome(client.load, OIDS[3]) is KeyError  # nothing refers to it
    client.close()
    assert s.stop() == 0
    fs.close()
    assert with_magic(path, b'FS30') == magic
    same_files(path, copy)
    assert fstest(path) == []


def test_commit_to_an_old_file(server, storage, old):
    path, _, magic = old
    s = server(CONFIGURATION)
    with Wire(s.address) as w:
        data, serial, _ = w.call('loadBefore', OIDS[0], MAX_TID)
        new = w.commit([(OIDS[0], serial, data)])
    assert s.stop() == 0
    assert with_magic(path, b'FS30') == magic
    assert fstest(path) == []
    fs = FileStorage(str(path), read_only=True)
    assert fs.load(OIDS[0]) == (data, new)
    fs.close()


def test_undone_in_place(server, storage, tmp_path):
    """A status that ZODB wrote long ago: its records count for nothing. ZODB 6.4 cannot iterate over one."""
    make(tmp_path / 'Data.fs', *KINDS['4 on Python 2'], undone=True)
    s = server(CONFIGURATION)
    client = storage(s)
    with pytest.raises(KeyError):
        client.load(OIDS[5])
    assert [len(list(t)) for t in client.iterator()] == [1, 2, 2, 1, 1, 1]
    assert 'undone in place' not in [t['description'].decode() for t in client.undoLog(0, 20)]
    before = [client.load(oid) for oid in OIDS[:3]]
    client.pack(wait=True)
    assert [client.load(oid) for oid in OIDS[:3]] == before
    assert [len(list(t)) for t in client.iterator()] == [1, 1, 1]
    client.close()
    assert s.stop() == 0
