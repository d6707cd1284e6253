"""Storages that are driven alike, operation by operation: a server's client, and Python's
FileStorage, which says what is right. And records, made by hand."""

import base64
import collections
import io
import os
import pathlib
import re

from ZEO.Exceptions import ServerException
from ZODB._compat import HIGHEST_PROTOCOL
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.serialize import referencesf
from zodbpickle.pickle import Pickler

from wire import Z64, WireError, p64, u64

# Operations of a transaction.
Store = collections.namedtuple('Store', 'oid serial data')
Blob = collections.namedtuple('Blob', 'oid serial data content')
Undo = collections.namedtuple('Undo', 'tid')
Delete = collections.namedtuple('Delete', 'oid serial')
Check = collections.namedtuple('Check', 'oid serial')
Restore = collections.namedtuple('Restore', 'oid tid data prev_txn')


class Reference:
    """A reference in a record: what ZODB calls a persistent id."""

    def __init__(self, pid):
        self.pid = pid


def strong(oid, cls=True):
    return Reference((oid, _class('persistent.mapping', 'PersistentMapping')) if cls else oid)


def weak(oid, database=None):
    return Reference(['w', (oid, database) if database else (oid,)])


def foreign(oid, database, cls=True):
    if cls:
        return Reference(['m', (database, oid, _class('persistent.mapping', 'PersistentMapping'))])
    return Reference(['n', (database, oid)])


def _class(module, name):
    return getattr(__import__(module, fromlist=[name]), name)


def record(state, cls=('persistent.mapping', 'PersistentMapping'), protocol=HIGHEST_PROTOCOL):
    """A data record: the class, and the state with its references."""
    f = io.BytesIO()
    p = Pickler(f, protocol)
    p.persistent_id = lambda x: x.pid if isinstance(x, Reference) else None
    p.dump(_class(*cls))
    p.dump(state)
    return f.getvalue()


def mapping(value, *references):
    """A record that says `value` and refers to oids or References."""
    refs = [strong(r) if isinstance(r, bytes) else r for r in references]
    return record({'data': {'value': value, 'refs': refs}})


def blob_record():
    return record(None, ('ZODB.blob', 'Blob'))


def undo_id(tid):
    """What undoLog calls `id`."""
    return base64.encodebytes(tid).rstrip()


def _temporary(storage, content):
    folder = storage.temporaryDirectory()
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, 'uploaded')
    with open(path, 'wb') as f:
        f.write(content)
    return path


def apply(storage, op, t):
    if isinstance(op, Store):
        storage.store(op.oid, op.serial, op.data, '', t)
    elif isinstance(op, Blob):
        path = _temporary(storage, op.content)
        storage.storeBlob(op.oid, op.serial, op.data, path, '', t)
    elif isinstance(op, Undo):
        storage.undo(undo_id(op.tid), t)
    elif isinstance(op, Delete):
        storage.deleteObject(op.oid, op.serial, t)
    elif isinstance(op, Check):
        storage.checkCurrentSerialInTransaction(op.oid, op.serial, t)
    else:
        storage.restore(op.oid, op.tid, op.data, '', op.prev_txn, t)


def as_a_server_does(ops):
    """The operations that a ZEO server makes of a client's: a blob is stored as an object at its
    place, and after everything else with its content, the last one first (T52)."""
    for op in ops:
        yield Store(op.oid, op.serial, op.data) if isinstance(op, Blob) else op
    for op in reversed(ops):
        if isinstance(op, Blob):
            yield op


def commit(storage, ops=(), tid=None, status=' ', user='', description='', extension=None):
    """Commit the operations; the tid, or whatever it fails with."""
    t = TransactionMetaData(user, description, extension or {})
    storage.tpc_begin(t, tid, status)
    try:
        for op in (as_a_server_does(ops) if isinstance(storage, FileStorage) else ops):
            apply(storage, op, t)
        storage.tpc_vote(t)
        return storage.tpc_finish(t)
    except BaseException:
        storage.tpc_abort(t)
        raise


def serial_of(storage, oid):
    """What a store has to name; also of an object that exists no more."""
    if isinstance(storage, FileStorage):
        pos = storage._index_get(oid, 0)
        return storage._read_data_header(pos, oid).tid if pos else Z64
    try:
        return storage.getTid(oid)
    except POSKeyError:
        return Z64


def store(storage, *oids_and_data, **kw):
    """Commit what is to be the newest revision of objects; the tid."""
    return commit(storage, [Store(oid, serial_of(storage, oid), data)
                            for oid, data in oids_and_data], **kw)


def outcome(f, *args):
    """What a call answers, or the exception it ends with, comparable."""
    try:
        return f(*args)
    except Exception as e:
        return _shown(e)


def _shown(e):
    e = _original(e)
    # a missing blob is told with a path: what is before the oid's folder is not compared
    return type(e).__name__, re.sub(r'(No blob file at ).*?(?=/0x)', r'\1', str(e))


def asked(w, *call):
    """A server's answer to a Wire, as outcome() has it."""
    try:
        return w.call(*call)
    except WireError as e:
        return _shown(e)


def _original(e):
    """What the server raised, where the client has no class for it."""
    if not isinstance(e, (ServerException, WireError)):
        return e
    name, state = e.args
    cls = _class(*name.rsplit('.', 1))
    if not isinstance(state, dict):
        return cls(*state)
    original = cls.__new__(cls)
    original.__dict__.update(state)
    return original


# --- what there is in a file ---

Transaction = collections.namedtuple(
    'Transaction', 'tid status user description extension records')
Record = collections.namedtuple('Record', 'oid tid prev data back')


def parse_file(path):
    """The transactions of a data file. `prev` and `back` are places of records, as (number of
    the transaction, number of the record in it), or None; data is None where there is `back`."""
    content = open(path, 'rb').read()
    assert content[:4] in (b'FS21', b'FS30')
    places = {0: None}
    found = []
    pos = 4
    while pos < len(content):
        tid, length = content[pos:pos + 8], u64(content[pos + 8:pos + 16])
        status = content[pos + 16:pos + 17].decode()
        sizes = [int.from_bytes(content[pos + i:pos + i + 2], 'big') for i in (17, 19, 21)]
        at = pos + 23
        texts = []
        for size in sizes:
            texts.append(content[at:at + size])
            at += size
        records = []
        end = pos + length
        while at < end:
            oid, rtid = content[at:at + 8], content[at + 8:at + 16]
            prev, tloc = u64(content[at + 16:at + 24]), u64(content[at + 24:at + 32])
            assert tloc == pos, f'{path}: {at}: the record says {tloc} for {pos}'
            assert content[at + 32:at + 34] == b'\0\0'
            size = u64(content[at + 34:at + 42])
            places[at] = len(found), len(records)
            at += 42
            data, back = content[at:at + size], None
            if not size:
                size = 8
                data, back = None, u64(content[at:at + 8])
            records.append((oid, rtid, prev, data, back))
            at += size
        assert at == end and u64(content[end:end + 8]) == length, f'{path}: {pos}: lengths'
        found.append((tid, status, *texts, records))
        pos = end + 8
    assert pos == len(content)
    return [Transaction(*t[:5], [Record(oid, tid, places[prev], data,
                                        places[back] if back is not None else None)
                                 for oid, tid, prev, data, back in t[5]])
            for t in found]


def same_files(path, expected):
    """Byte by byte; a difference is shown as that of records."""
    if open(path, 'rb').read() != open(expected, 'rb').read():
        found, wanted = parse_file(path), parse_file(expected)
        for n, (a, b) in enumerate(zip(found, wanted)):
            assert a == b, f'transaction {n}'
        assert len(found) == len(wanted)
        raise AssertionError('the same records, and not the same bytes')


def tids_of(path):
    return [t.tid for t in parse_file(path)]


def blob_files(folder):
    """{file: content} of a blob directory, temporary files and locks aside."""
    found = {}
    for path in pathlib.Path(folder).rglob('*.blob'):
        found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def oids(n, first=1):
    return [p64(i) for i in range(first, first + n)]


class Twin:
    """Does everything at a client's storage and at a FileStorage of Python's own, with the tids
    the server gave; whatever fails must fail at both, and alike."""

    def __init__(self, client, fs):
        self.client = client
        self.fs = fs

    def commit(self, *ops, client=None, **kw):
        """The tid, or the failure as outcome() shows it."""
        result = outcome(lambda: commit(self.client if client is None else client, ops, **kw))
        if isinstance(result, bytes):
            kw['tid'] = result
        expected = outcome(lambda: commit(self.fs, ops, **kw))
        assert result == expected, f'{result}\n{expected}\n{ops}'
        return result

    def store(self, *oids_and_data, **kw):
        """Store new revisions of objects."""
        tid = self.commit(*[Store(oid, serial_of(self.fs, oid), data)
                            for oid, data in oids_and_data], **kw)
        assert isinstance(tid, bytes), tid
        return tid

    def undo(self, *tids, **kw):
        return self.commit(*map(Undo, tids), **kw)

    def pack(self, t, client=None):
        """What both say of it."""
        result = outcome((self.client if client is None else client).pack, t)
        expected = outcome(self.fs.pack, t, referencesf)
        assert result == expected
        return result
